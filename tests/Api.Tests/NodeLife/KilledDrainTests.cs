using System.Net.Http.Json;
using Api.Tests.Replicas;
using Contracts;
using Npgsql;
using Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.NodeLife;

/// <summary>The API is killed while it drains a node, between one sandbox and the next.</summary>
public sealed class KilledDrainTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private const int Sandboxes = 4;

    [Fact]
    public async Task Drain_WhenTheApiIsKilledMidway_IsDoneOnceAllTheSame()
    {
        await using var api = await ReplicaProcess.StartAsync(service.ConnectionString + ";Maximum Pool Size=15");
        using var admin = api.Client(service.AdminKey);
        var node = await NodeAsync();
        var ids = new List<Guid>();
        for (var n = 0; n < Sandboxes; n++) ids.Add((await admin.AskAsync(new { name = $"s{n}", image = "guest", restart = new { policy = "onFailure" } })).Id);
        foreach (var id in ids)
        {
            await node.PlannedAsync(id);
            await node.SayAsync(id, VmState.Running);
        }
        var host = (await admin.GetFromJsonAsync<Page<NodeView>>("/v1/nodes", Ct))!.Items.Single().Id;

        // It has told the owners of two, and dies at the third.
        await KillAtAsync(ids[2], 3600, async () => Assert.Equal("1 1 0 0", string.Join(" ", await CountsAsync("sandbox.nodeDraining", "NodeDraining"))));
        await Eventually.Async(async () => (await CountsAsync("sandbox.nodeDraining", "NodeDraining")).All(c => c == 1), "each is told", ReplicaProcess.Patience);

        // It has stopped the first, and dies at the second.
        await KillAtAsync(ids[1], 0, async () => Assert.Equal("1 0 0 0", string.Join(" ", await CountsAsync("sandbox.phaseChanged", "NodeDrained"))));
        await Eventually.Async(async () => (await CountsAsync("sandbox.phaseChanged", "NodeDrained")).All(c => c == 1), "each is stopped", ReplicaProcess.Patience);

        await node.DisposeAsync();
        await using var again = await NodeAsync();
        foreach (var id in ids)
        {
            again.Sandboxes[id] = node.Sandboxes[id];
            await again.SyncAsync();
            await again.SayAsync(id, VmState.Stopped);
        }
        await Eventually.Async(async () => (await admin.NodeAsync(host)).Drain is { DrainedAt: not null, Remaining: 0 }, "it is empty", ReplicaProcess.Patience);
        foreach (var id in ids)
        {
            // Another drain tells anew: what was stored is one of each.
            Assert.Equal((1, 1), ((await admin.EventsAsync(id, "sandbox.nodeDraining")).Count, (await admin.EventsAsync(id, "sandbox.phaseChanged")).Count(e => e.Reason == "NodeDrained" && e.Message.Contains("shall be", StringComparison.Ordinal))));
            await Eventually.Async(async () => await admin.FindAsync(id) is { Phase: Phase.Pending, Desired: DesiredState.Running }, "it waits for another node", ReplicaProcess.Patience);
        }
        Assert.Single(await admin.EventsAsync(host, "node.drained"));

        async Task<StandInNode> NodeAsync()
        {
            var made = new StandInNode(new Uri(api.Url), service.NodeToken, 0) { Installation = service.Installation };
            await made.StartAsync();
            return made;
        }

        async Task<int[]> CountsAsync(string type, string reason)
        {
            var counts = new List<int>();
            foreach (var id in ids) counts.Add((await admin.EventsAsync(id, type)).Count(e => e.Reason == reason));
            return [.. counts];
        }

        // Whoever holds a row's lock stops the drain there, and what is before it is stored.
        async Task KillAtAsync(Guid sandbox, int deadlineSeconds, Func<Task> assertMidway)
        {
            await using var source = NpgsqlDataSource.Create(service.ConnectionString + ";Pooling=false");
            await using var connection = await source.OpenConnectionAsync(Ct);
            await using var transaction = await connection.BeginTransactionAsync(Ct);
            await using (var command = new NpgsqlCommand("SELECT 1 FROM sandboxes WHERE id = $1 FOR UPDATE", connection, transaction) { Parameters = { new() { Value = sandbox } } }) await command.ExecuteNonQueryAsync(Ct);
            await admin.DoAsync("POST", $"/v1/nodes/{host}/drain", new { deadlineSeconds });
            await Eventually.Async(async () => await service.ScalarAsync("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%UPDATE sandboxes%'") > 0, "the drain waits", ReplicaProcess.Patience);
            await assertMidway();
            await api.KillAsync();
            await transaction.RollbackAsync(Ct);
            await api.StartAsync();
        }
    }
}
