using Testing;
using Xunit;

namespace Api.Tests.Replicas;

/// <summary>Two replicas, then three, on one database under load; one after the other is killed and comes back.</summary>
public sealed class KilledReplicasTests(ITestOutputHelper output) : IAsyncLifetime
{
    private readonly PostgresServer _database = new();

    public ValueTask InitializeAsync() => _database.InitializeAsync();

    public ValueTask DisposeAsync() => _database.DisposeAsync();

    [Fact]
    public async Task Replicas_WhenOneAfterTheOtherIsKilledUnderLoad_LoseNothing()
    {
        await using var service = await LoadedService.StartAsync(_database, replicas: 2);
        service.Begin();
        await service.LivedAsync(2);
        var kills = 0;
        foreach (var replicas in (int[])[2, 3])
        {
            while (service.Replicas.Count < replicas) await service.AddReplicaAsync();
            foreach (var replica in service.Replicas.ToList())
            {
                await replica.KillAsync();
                kills++;
                await service.LivedAsync(2);
                await replica.StartAsync();
                await service.LivedAsync(1);
            }
        }
        output.WriteLine($"{kills} kills: {await service.NothingIsLostAsync()}");
    }
}
