using Api.Faults;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests.Faults;

public sealed class FaultPartitionsTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private async Task<long> CountAsync(string table) => await service.ScalarAsync($"SELECT count(*) FROM pg_inherits WHERE inhparent = '{table}'::regclass");

    private static async Task PassAsync(NpgsqlDataSource source, TimeSpan later, FaultRetention retention)
    {
        using var partitions = new FaultPartitions(source, new FakeTimeProvider(TimeProvider.System.GetUtcNow() + later), retention, NullLogger<FaultPartitions>.Instance);
        await partitions.StartAsync(CancellationToken.None);
        await Eventually.Async(() => partitions.LastPassAt is not null, "a pass ended");
        await partitions.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task Partitions_WhenDaysPass_AreMadeAheadAndDroppedByTheirRetention()
    {
        using var started = service.Client();
        await using var source = NpgsqlDataSource.Create(service.ConnectionString);
        await Eventually.Async(async () => await CountAsync("fault_minutes") == 5, "two days before, today, two ahead");
        Assert.Equal(5, await CountAsync("fault_samples"));
        var retention = new FaultRetention(2, 30);
        await PassAsync(source, TimeSpan.FromDays(10), retention);
        await PassAsync(source, TimeSpan.FromDays(10), retention);
        Assert.Equal((5, 10), (await CountAsync("fault_samples"), await CountAsync("fault_minutes")));
        await PassAsync(source, TimeSpan.FromDays(40), retention);
        // Of the first five days none is left, of the second five those from the tenth day on: three.
        Assert.Equal((5, 8), (await CountAsync("fault_samples"), await CountAsync("fault_minutes")));
    }
}
