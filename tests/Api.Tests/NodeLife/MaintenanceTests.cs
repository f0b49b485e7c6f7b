using Api.Nodes;
using Contracts;
using Microsoft.Extensions.Time.Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.NodeLife;

/// <summary>A drain that is taken back, and a node in maintenance.</summary>
public sealed class MaintenanceTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Fact]
    public async Task Drain_WhenEndedBefore_StopsNothing()
    {
        await using var replica = service.NewReplica();
        var (node, host, _) = await service.JoinAsync("ended", replica);
        await using var _1 = node;
        using var admin = service.Client(replica);
        var id = (await admin.AskAsync(new { name = "goes-on", image = "guest", node = "ended" })).Id;
        await node.PlannedAsync(id);
        await node.SayAsync(id, VmState.Running);
        await admin.DoAsync("POST", $"/v1/nodes/{host}/cordon");
        await admin.DoAsync("POST", $"/v1/nodes/{host}/drain", new { deadlineSeconds = 3600 });
        var ended = await admin.DoAsync("DELETE", $"/v1/nodes/{host}/drain");
        Assert.Equal((NodePhase.Cordoned, null), (ended.Phase, ended.Drain));
        await replica.PassAsync<NodeDrains>();
        Assert.Equal((DesiredState.Running, Phase.Running), ((await admin.FindAsync(id))!.Desired, (await admin.FindAsync(id))!.Phase));
    }

    [Fact]
    public async Task Maintenance_NeedsAnEmptyNode_AndItsSilenceIsNoNews()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.Replica(time);
        var (node, host, _) = await service.JoinAsync("kept", replica);
        await using var _1 = node;
        using var admin = service.Client(replica);
        var id = (await admin.AskAsync(new { name = "in-the-way", image = "guest", node = "kept" })).Id;
        await node.PlannedAsync(id);
        await node.SayAsync(id, VmState.Running);
        Assert.Equal("409 node_not_empty", await admin.TryAsync("POST", $"/v1/nodes/{host}/maintenance", new { }));
        var asked = await admin.DoAsync("POST", $"/v1/nodes/{host}/maintenance", new { drain = new { deadlineSeconds = 0 } });
        Assert.Equal((NodePhase.Draining, true, null), (asked.Phase, asked.Drain!.ThenMaintenance, asked.MaintenanceSince));
        await replica.PassAsync<NodeDrains>(time);
        await node.SayAsync(id, VmState.Stopped);
        await replica.PassAsync<NodeDrains>(time);
        var kept = await admin.NodeAsync(host);
        Assert.Equal(NodePhase.Maintenance, kept.Phase);
        Assert.NotNull(kept.MaintenanceSince);
        Assert.Equal("409 node_in_maintenance", await admin.TryAsync("POST", $"/v1/nodes/{host}/drain"));

        var before = (await admin.EventsAsync(host, "node.phaseChanged")).Count;
        time.Advance(TimeSpan.FromHours(1));
        await replica.PassAsync<NodeWatch>(time);
        Assert.Equal((NodePhase.Maintenance, before), ((await admin.NodeAsync(host)).Phase, (await admin.EventsAsync(host, "node.phaseChanged")).Count));
        // It reports and still takes nothing.
        await node.SyncAsync();
        Assert.Equal(NodePhase.Maintenance, (await admin.NodeAsync(host)).Phase);
        time.Advance(TimeSpan.FromHours(1));
        Assert.Equal(NodePhase.Unreachable, (await admin.DoAsync("DELETE", $"/v1/nodes/{host}/maintenance")).Phase);
        await node.SyncAsync();
        var back = await admin.NodeAsync(host);
        Assert.Equal((NodePhase.Ready, null, null), (back.Phase, back.Drain, back.MaintenanceSince));
    }
}
