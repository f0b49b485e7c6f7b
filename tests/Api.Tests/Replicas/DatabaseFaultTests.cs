using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests.Replicas;

/// <summary>The database goes away, comes back, and is slow, under load.</summary>
public sealed class DatabaseFaultTests(ITestOutputHelper output) : IAsyncLifetime
{
    private readonly PostgresServer _database = new();
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync() => _database.InitializeAsync();

    public ValueTask DisposeAsync() => _database.DisposeAsync();

    [Fact]
    public async Task Database_WhenItIsKilledAndRestartedUnderLoad_LosesNothing_AndNobodySeesMoreThan503()
    {
        await using var service = await LoadedService.StartAsync(_database, replicas: 2);
        service.Begin();
        await service.LivedAsync(2);
        await _database.KillAsync();
        await Eventually.Async(() => service.Clients.All(c => c.Unavailable.Contains("database_unavailable")), "users are told", LoadedService.Patience);
        await _database.StartAsync();
        await service.LivedAsync(3);
        // Told to end, it says so to each connection.
        await _database.RestartAsync();
        await service.LivedAsync(3);
        await _database.RestartAtOnceAsync();
        await service.LivedAsync(3);
        output.WriteLine(await service.NothingIsLostAsync());
    }

    [Theory]
    [InlineData("Options=-c statement_timeout=1500")]
    [InlineData("Command Timeout=2")]
    public async Task Database_WhenATableIsLocked_RequestsAre503InTime_AndEverythingGoesOnAfterwards(string limit)
    {
        await using var service = await LoadedService.StartAsync(_database, replicas: 1, ("ConnectionStrings__Sandbox", $"{_database.ConnectionString};{limit}"));
        service.Begin();
        await service.LivedAsync(2);
        foreach (var table in (string[])["sandboxes", "devices", "events", "webhook_deliveries"])
        {
            await using var source = NpgsqlDataSource.Create(_database.ConnectionString + ";Pooling=false");
            await using (var connection = await source.OpenConnectionAsync(Ct))
            {
                await using var transaction = await connection.BeginTransactionAsync(Ct);
#pragma warning disable CA2100 // Names of the test's own.
                await using var command = new NpgsqlCommand($"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE", connection, transaction);
#pragma warning restore CA2100
                await command.ExecuteNonQueryAsync(Ct);
                // Whoever asks is told in time, whatever else waits for the table.
                using var refused = await service.AskForAsync(table);
                Assert.Equal("503 database_unavailable", await refused.AnswerAsync());
                Assert.NotNull(refused.Headers.RetryAfter);
                await transaction.RollbackAsync(Ct);
            }
            await service.LivedAsync(1);
        }
        output.WriteLine(await service.NothingIsLostAsync());
    }
}
