using System.Globalization;
using Npgsql;
using Xunit;

namespace Testing.Tests;

/// <summary>deploy/dev/postgres.sh with a real server.</summary>
public sealed class PostgresTests(PostgresServer server) : IClassFixture<PostgresServer>
{
    private string PidFile => Path.Combine(Path.GetDirectoryName(server.ConnectionFile)!, "pg", "postmaster.pid");

    [Fact]
    public async Task Start_WhenItRunsAlready_KeepsTheServer()
    {
        var before = await File.ReadAllTextAsync(PidFile, TestContext.Current.CancellationToken);
        await server.StartAsync();
        Assert.Equal(before, await File.ReadAllTextAsync(PidFile, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Start_AfterKill_KeepsPortAndCommittedData()
    {
        var connection = server.ConnectionString;
        await ScalarAsync("CREATE TABLE kept_after_kill AS SELECT 7 AS number");
        await server.KillAsync();
        await Assert.ThrowsAnyAsync<NpgsqlException>(() => ScalarAsync("SELECT 1"));
        await server.StartAsync();
        Assert.Equal(connection, server.ConnectionString);
        Assert.Equal(7, await ScalarAsync("SELECT number FROM kept_after_kill"));
    }

    [Fact]
    public async Task Start_WhenPidFileNamesAnotherProcess_Starts()
    {
        await server.KillAsync();
        var lines = await File.ReadAllLinesAsync(PidFile, TestContext.Current.CancellationToken);
        lines[0] = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        await File.WriteAllLinesAsync(PidFile, lines, TestContext.Current.CancellationToken);
        await server.StartAsync();
        Assert.Equal(1, await ScalarAsync("SELECT 1"));
    }

    [Fact]
    public async Task Start_WhenConnectionFileIsLost_WritesItAgain()
    {
        var connection = server.ConnectionString;
        File.Delete(server.ConnectionFile);
        await server.StartAsync();
        Assert.Equal(connection, server.ConnectionString);
    }

    [Fact]
    public void Start_Always_ConnectionFileIsForItsOwnerOnly()
    {
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(server.ConnectionFile));
    }

    [Fact]
    public async Task Login_AsSuperuser_IsRefused()
    {
        var superuser = new NpgsqlConnectionStringBuilder(server.ConnectionString) { Username = "postgres", Database = "postgres", Pooling = false };
        await using var connection = new NpgsqlConnection(superuser.ConnectionString);
        var refusal = await Assert.ThrowsAsync<PostgresException>(() => connection.OpenAsync(TestContext.Current.CancellationToken));
        Assert.Equal(PostgresErrorCodes.InvalidPassword, refusal.SqlState);
    }

    private async Task<object?> ScalarAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(
            new NpgsqlConnectionStringBuilder(server.ConnectionString) { Pooling = false }.ConnectionString);
        await connection.OpenAsync(TestContext.Current.CancellationToken);
#pragma warning disable CA2100 // Literals of this file.
        await using var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        return await command.ExecuteScalarAsync(TestContext.Current.CancellationToken);
    }
}

public sealed class PostgresFixtureTests(PostgresFixture first) : IClassFixture<PostgresFixture>
{
    [Fact]
    public async Task Database_OfAnotherClass_IsAnotherAndMigrated()
    {
        var second = new PostgresFixture();
        await second.InitializeAsync();
        await using (var connection = new NpgsqlConnection(second.ConnectionString))
        {
            await connection.OpenAsync(TestContext.Current.CancellationToken);
            await using var command = new NpgsqlCommand("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", connection);
            Assert.True((long)(await command.ExecuteScalarAsync(TestContext.Current.CancellationToken))! > 0);
        }
        await second.DisposeAsync();
        Assert.NotEqual(first.ConnectionString, second.ConnectionString);
        await using var gone = new NpgsqlConnection(second.ConnectionString);
        var refusal = await Assert.ThrowsAsync<PostgresException>(() => gone.OpenAsync(TestContext.Current.CancellationToken));
        Assert.Equal(PostgresErrorCodes.InvalidCatalogName, refusal.SqlState);
    }
}
