using Api.Nodes;
using Contracts;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.NodeLife;

/// <summary>A node that was away, and what was deleted meanwhile.</summary>
public sealed class ReturnTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Fact]
    public async Task Node_ThatComesBackWithDeletedSandboxes_EndsThem_AndOnlyThenAreTheirDevicesFree()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.Replica(time);
        using var admin = service.Client(replica);
        using var tenant = service.Client(replica);
        var (node, host, token) = await service.JoinAsync("returns", replica, edu: 3);
        var (one, two) = ((await tenant.CreateAsync("one", edu: 1)).Id, (await tenant.CreateAsync("two", edu: 1)).Id);
        foreach (var id in (Guid[])[one, two])
        {
            await node.PlannedAsync(id);
            await node.SayAsync(id, VmState.Running);
        }
        var held = node.Held.Where(h => h.Value is not null).ToDictionary(h => h.Key, h => h.Value!.Value);
        await node.DisposeAsync();
        // Twice: the replica waits a silence after its own start.
        time.Advance(NodeWatch.Silence + TimeSpan.FromSeconds(1));
        await Eventually.Async(async () => (await admin.NodeAsync(host)).Phase == NodePhase.Unreachable && (await tenant.FindAsync(one))!.Phase == Phase.Lost, "its silence is noticed", TimeSpan.FromSeconds(60));

        using (var deleted = await tenant.DeleteAsync($"/v1/sandboxes/{one}")) Assert.Equal("202", await deleted.AnswerAsync());
        using (var deleted = await tenant.DeleteAsync($"/v1/sandboxes/{two}")) Assert.Equal("202", await deleted.AnswerAsync());
        var waits = (await tenant.CreateAsync("waits", edu: 3)).Id;
        await replica.PassAsync<Api.Sandboxes.SandboxScheduler>(time);
        Assert.All(new[] { one, two }, id => Assert.Equal(Phase.Deleting, tenant.FindAsync(id).GetAwaiter().GetResult()!.Phase));
        await AssertHeldAsync(held);

        // It is back, and both guests run as if nothing had been.
        await using var back = new StandInNode(replica, token, 3, overWebSocket: true) { Installation = node.Installation };
        foreach (var (id, seen) in node.Sandboxes) back.Sandboxes[id] = seen;
        foreach (var (device, id) in held) back.Held[device] = id;
        // And one that no row tells of, as after the database was restored.
        var unknown = Guid.NewGuid();
        back.Sandboxes[unknown] = back.Sandboxes[one] with { Id = unknown };
        back.Held[back.Held.Single(h => h.Value is null).Key] = unknown;
        await back.StartAsync();
        Assert.Equal(new[] { one, two }.Order().Select(id => (id, DesiredState.Deleted)), back.Plan.Sandboxes.Select(s => (s.Id, s.Desired)).OrderBy(s => s.Id));
        Assert.Equal(NodePhase.Ready, (await admin.NodeAsync(host)).Phase);
        await AssertHeldAsync(held);
        Assert.DoesNotContain(await admin.DevicesAsync(), d => d.NodeId == host && d.Phase == DevicePhase.Available);

        // The first has ended, and its device is cleaned still.
        back.KeepsDevices = true;
        await back.SayAsync(one, VmState.Absent);
        Assert.Null(await tenant.FindAsync(one));
        Assert.Single(await tenant.EventsAsync(one, "sandbox.deleted"));
        Assert.Equal(Phase.Deleting, (await tenant.FindAsync(two))!.Phase);
        Assert.DoesNotContain(await admin.DevicesAsync(), d => d.NodeId == host && d.Phase == DevicePhase.Available);

        // Clean: it alone is free. What waits for all three waits on.
        back.Sandboxes.Remove(one);
        foreach (var device in held.Where(h => h.Value == one).Select(h => h.Key)) back.Held[device] = null;
        await back.SyncAsync();
        Assert.Equal(held.Single(h => h.Value == one).Key, Assert.Single(await admin.DevicesAsync(), d => d.NodeId == host && d.Phase == DevicePhase.Available).Address);
        Assert.Equal(Phase.Pending, (await tenant.FindAsync(waits))!.Phase);

        back.KeepsDevices = false;
        await back.SayAsync(two, VmState.Absent);
        back.Sandboxes.Clear();
        foreach (var device in back.Held.Keys.ToList()) back.Held[device] = null;
        await back.SyncAsync();
        await back.PlannedAsync(waits);
        Assert.Equal(3, back.Plan.Sandboxes.Single().Spec.Devices.Count);
        Assert.Null(await tenant.FindAsync(two));

        async Task AssertHeldAsync(IReadOnlyDictionary<string, Guid> by) =>
            Assert.Equal(by.OrderBy(h => h.Key), (await admin.DevicesAsync()).Where(d => d.NodeId == host && d.SandboxId is not null).ToDictionary(d => d.Address, d => d.SandboxId!.Value).OrderBy(h => h.Key));
    }
}
