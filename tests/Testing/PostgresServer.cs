using Xunit;

namespace Testing;

/// <summary>A PostgreSQL server of the test class's own, to be killed and restarted. Its port stays the same over restarts.
/// Its database is empty: whoever needs tables migrates it.</summary>
public sealed class PostgresServer : IAsyncLifetime
{
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(90);
    private readonly string _directory = Surroundings.NewDirectory("postgres");

    /// <summary>Whether a commit waits for the disk, as in production; tests need not.</summary>
    public bool Durable { get; init; }

    private string Cluster => Path.Combine(_directory, "pg");

    public string ConnectionFile => Path.Combine(_directory, "connection");

    public string ConnectionString => File.ReadAllText(ConnectionFile).Trim();

    public async ValueTask InitializeAsync() => await StartAsync();

    public Task StartAsync() => RunAsync("start");

    public Task StopAsync() => RunAsync("stop");

    public Task RestartAsync() => RunAsync("restart");

    /// <summary>Without a word to those who are connected, and with recovery at the start: <c>pg_ctl restart -m immediate</c>.</summary>
    public Task RestartAtOnceAsync() => RunAsync("restart-at-once");

    /// <summary>SIGKILL to the server, as the kernel's out-of-memory killer would do it.</summary>
    public Task KillAsync() => RunAsync("kill");

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        Directory.Delete(_directory, recursive: true);
    }

    private async Task RunAsync(string action)
    {
        await using var script = ProcessUnderTest.Start(
            Path.Combine(Surroundings.Repository, "deploy/dev/postgres.sh"), [action, Cluster],
            new Dictionary<string, string?> { ["SANDBOX_POSTGRES_FSYNC"] = Durable ? "on" : "off" });
        var status = await script.WaitForExitAsync(_deadline);
        if (status != 0)
            throw new InvalidOperationException($"postgres.sh {action} ended with {status}: {script.Output}");
    }
}
