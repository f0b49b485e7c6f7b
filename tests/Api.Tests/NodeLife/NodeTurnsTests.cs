using System.Net;
using Npgsql;
using Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.NodeLife;

/// <summary>A replica of the tests has 15 connections of the database.</summary>
public sealed class NodeTurnsTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private const int Nodes = 20, AtOnce = 5;

    [Fact]
    public async Task Get_WhileMoreNodesReportThanThereAreConnections_IsAnswered()
    {
        using var client = service.Client();
        var nodes = new List<StandInNode>();
        for (var i = 0; i < Nodes; i++) nodes.Add((await service.JoinAsync($"n{i}", service.Factory)).Node);
        await using (var holder = new NpgsqlConnection(service.ConnectionString))
        {
            await holder.OpenAsync(Ct);
            await using var transaction = await holder.BeginTransactionAsync(Ct);
            await using (var hold = new NpgsqlCommand("SELECT id FROM nodes FOR UPDATE", holder, transaction)) await hold.ExecuteNonQueryAsync(Ct);
            var reports = nodes.ConvertAll(node => node.SyncAsync());
            await Eventually.Async(async () => await WaitingAsync() >= AtOnce, "reports wait for their rows");
            for (var i = 0; i < 2 * Nodes; i++)
            {
                using var answer = await client.GetAsync("/v1/sandboxes", Ct);
                Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            }
            Assert.Equal(AtOnce, await WaitingAsync());
            await transaction.CommitAsync(Ct);
            await Task.WhenAll(reports);
        }
        foreach (var node in nodes) await node.DisposeAsync();
    }

    private Task<long> WaitingAsync() =>
        service.ScalarAsync("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%nodes%'");
}
