using System.Net.Http.Json;
using Api.Nodes;
using Contracts;
using Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.NodeLife;

/// <summary>A node that is emptied, the only one.</summary>
public sealed class DrainTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static readonly DateTimeOffset _now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Theory]
    // What is not there, or ends already, is nobody's news.
    [InlineData(Phase.Pending, DesiredState.Running, false, RestartWhen.Always, false, 99, "")]
    [InlineData(Phase.Stopped, DesiredState.Stopped, false, RestartWhen.Always, false, 99, "")]
    [InlineData(Phase.Failed, DesiredState.Running, false, RestartWhen.Always, false, 99, "")]
    [InlineData(Phase.Deleting, DesiredState.Deleted, false, RestartWhen.Never, false, 99, "remains")]
    [InlineData(Phase.Stopping, DesiredState.Stopped, false, RestartWhen.Always, false, 99, "remains")]
    // Before the deadline it is told once, and goes on.
    [InlineData(Phase.Running, DesiredState.Running, false, RestartWhen.Never, false, -1, "remains tell")]
    [InlineData(Phase.Scheduled, DesiredState.Running, false, RestartWhen.Never, false, -1, "remains tell")]
    [InlineData(Phase.Running, DesiredState.Running, true, RestartWhen.Always, false, -1, "remains")]
    // From the deadline on it is stopped, and moves if it may.
    [InlineData(Phase.Running, DesiredState.Running, true, RestartWhen.Never, false, 0, "remains stop")]
    [InlineData(Phase.Lost, DesiredState.Running, true, RestartWhen.Never, false, 1, "remains stop")]
    [InlineData(Phase.Booting, DesiredState.Running, false, RestartWhen.OnFailure, false, 0, "remains tell stop moves")]
    [InlineData(Phase.Running, DesiredState.Running, true, RestartWhen.Always, false, 1, "remains stop moves")]
    [InlineData(Phase.Running, DesiredState.Running, true, RestartWhen.Always, true, 1, "remains stop")]
    public void Decision_Table(Phase phase, DesiredState desired, bool told, RestartWhen restart, bool wantsThisNode, int afterDeadlineSeconds, string expected)
    {
        var drain = new NodeDrain(Guid.NewGuid(), _now.AddHours(-1), _now, null, false, null);
        var step = DrainDecision.Of(drain, phase, desired, told ? drain.Id : Guid.NewGuid(), restart, wantsThisNode, _now.AddSeconds(afterDeadlineSeconds));
        Assert.Equal(expected, string.Join(' ', new[] { (step.Remains, "remains"), (step.Tell, "tell"), (step.Stop, "stop"), (step.Moves, "moves") }.Where(s => s.Item1).Select(s => s.Item2)));
    }

    [Fact]
    public async Task Drain_TellsOwnersOnce_StopsAtTheDeadline_AndMovesWhatMayBeRestarted_WithTwoReplicas()
    {
        await using var node = await service.NodeAsync();
        await using var second = service.NewReplica();
        using var other = second.CreateClient();
        using var admin = service.Client();
        using var tenant = service.ClientOf((await service.TenantAsync("drained")).Secret);
        var stays = (await tenant.CreateAsync("stays")).Id;
        var moves = (await tenant.AskAsync(new { name = "moves", image = "guest", restart = new { policy = "onFailure" } })).Id;
        foreach (var id in (Guid[])[stays, moves])
        {
            await node.PlannedAsync(id);
            await node.SayAsync(id, VmState.Running);
        }
        var host = (await admin.GetFromJsonAsync<Page<NodeView>>("/v1/nodes", Ct))!.Items.Single().Id;
        Assert.Equal("422 validation_failed", await admin.TryAsync("POST", $"/v1/nodes/{host}/drain", new { deadlineSeconds = -1 }));
        var drained = await admin.DoAsync("POST", $"/v1/nodes/{host}/drain", new { deadlineSeconds = 3600, reason = "New firmware." });
        Assert.Equal((NodePhase.Draining, 2, "New firmware.", null), (drained.Phase, drained.Drain!.Remaining, drained.Drain.Reason, drained.Drain.DrainedAt));
        Assert.Equal(3600, (drained.Drain.Deadline - drained.Drain.StartedAt).TotalSeconds);
        foreach (var id in (Guid[])[stays, moves])
            await Eventually.Async(async () => (await tenant.EventsAsync(id, "sandbox.nodeDraining")).Count == 1, "its owner is told");
        Assert.Contains("New firmware.", (await tenant.EventsAsync(stays, "sandbox.nodeDraining"))[0].Message, StringComparison.Ordinal);
        await service.Factory.PassAsync<NodeDrains>();
        Assert.All((await node.SyncAsync()).Sandboxes, s => Assert.Equal(DesiredState.Running, s.Desired));
        // It takes nothing new.
        var waits = (await tenant.CreateAsync("waits")).Id;
        await Eventually.Async(async () => (await tenant.FindAsync(waits))!.Conditions.Any(c => c.Reason == "NodeDraining"), "the rule is named");

        await admin.DoAsync("POST", $"/v1/nodes/{host}/drain", new { deadlineSeconds = 0 });
        foreach (var id in (Guid[])[stays, moves])
            await Eventually.Async(async () => await tenant.FindAsync(id) is { Phase: Phase.Stopping, Failure.Reason: "NodeDrained" }, "it is stopped");
        await second.PassAsync<NodeDrains>();
        await node.SyncAsync();
        // Until its node says that it has ended it waits for no other.
        Assert.Equal((Phase.Stopping, null), ((await tenant.FindAsync(moves))!.Phase, (await tenant.FindAsync(moves))!.Restart!.At));
        Assert.Null((await admin.NodeAsync(host)).Drain!.DrainedAt);
        await node.SayAsync(stays, VmState.Stopped);
        await node.SayAsync(moves, VmState.Stopped);
        await Eventually.Async(async () => await tenant.FindAsync(moves) is { Phase: Phase.Pending, Desired: DesiredState.Running }, "it waits for another node");
        var ended = (await tenant.FindAsync(stays))!;
        Assert.Equal((Phase.Stopped, "NodeDrained"), (ended.Phase, ended.Failure?.Reason));
        Assert.NotEmpty(ended.Failure!.Remedy);
        await Eventually.Async(async () => (await admin.NodeAsync(host)).Drain is { DrainedAt: not null, Remaining: 0 }, "it is empty");
        await second.PassAsync<NodeDrains>();
        Assert.Single(await admin.EventsAsync(host, "node.drained"));
        foreach (var id in (Guid[])[stays, moves]) Assert.Single(await tenant.EventsAsync(id, "sandbox.nodeDraining"));

        var back = await admin.DoAsync("POST", $"/v1/nodes/{host}/uncordon");
        Assert.Equal((NodePhase.Ready, null), (back.Phase, back.Drain));
        await node.PlannedAsync(moves, 2);
        Assert.Equal(0, (await tenant.FindAsync(moves))!.Restart!.Restarts);
    }
}
