using System.Net;
using System.Net.Http.Json;
using Api.Nodes;
using Api.Sandboxes;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.NodeLife;

/// <summary>A node that is taken out of service.</summary>
public sealed class DecommissionTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Fact]
    public async Task Decommission_OfAnEmptyNode_RefusesItsTokenWithACode_AndKeepsItsHistory()
    {
        var (node, id, token) = await service.JoinAsync("empty", service.Factory);
        await using var _1 = node;
        using var admin = service.Client();
        var ended = (await admin.AskAsync(new { name = "ended", image = "guest", node = "empty", accelerators = new[] { new { @class = "edu", count = 1 } } })).Id;
        await node.PlannedAsync(ended);
        await node.SayAsync(ended, VmState.Running);
        Assert.Equal("409 node_not_empty", await admin.TryAsync("DELETE", $"/v1/nodes/{id}"));
        Assert.Equal("409 node_reports", await admin.TryAsync("DELETE", $"/v1/nodes/{id}?force=true"));
        await node.SayAsync(ended, VmState.Failed, Broke);
        Assert.Equal("204", await admin.TryAsync("DELETE", $"/v1/nodes/{id}"));

        Assert.Equal("404 node_not_found", await admin.TryAsync("GET", $"/v1/nodes/{id}"));
        Assert.DoesNotContain(await admin.DevicesAsync(), d => d.NodeId == id);
        var kept = (await admin.FindAsync(ended))!;
        Assert.Equal((Phase.Failed, "VmmExited", null), (kept.Phase, kept.Failure?.Reason, kept.NodeId));
        Assert.Contains("node_decommissioned", (await Assert.ThrowsAsync<HubException>(node.SyncAsync)).Message, StringComparison.Ordinal);
        using (var machine = service.ClientOf(token))
            Assert.Equal("401 node_decommissioned", await machine.TryAsync("POST", "/hubs/node/negotiate?negotiateVersion=1"));
        Assert.NotEmpty(await admin.EventsAsync(id, "node.joined"));
        Assert.Single(await admin.EventsAsync(id, "node.decommissioned"));
        // Its name is free, and its machine may come back as another node.
        var (again, other, _) = await service.JoinAsync("empty", service.Factory, installation: node.Installation);
        await using var _2 = again;
        Assert.NotEqual(id, other);
    }

    [Fact]
    public async Task Decommission_ByForce_OfASilentNode_FailsWhatWasLost_AndItsPolicyStartsItElsewhere()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.Replica(time);
        var (node, id, _) = await service.JoinAsync("gone", replica);
        await using var _1 = node;
        using var admin = service.Client(replica);
        var plain = (await admin.AskAsync(new { name = "plain", image = "guest", node = "gone" })).Id;
        var again = (await admin.AskAsync(new { name = "again", image = "guest", node = "gone", restart = new { policy = "onFailure" } })).Id;
        var doomed = (await admin.AskAsync(new { name = "doomed", image = "guest", node = "gone" })).Id;
        foreach (var sandbox in (Guid[])[plain, again, doomed])
        {
            await node.PlannedAsync(sandbox);
            await node.SayAsync(sandbox, VmState.Running);
        }
        time.Advance(TimeSpan.FromHours(1));
        await replica.PassAsync<NodeWatch>(time);
        Assert.Equal((NodePhase.Unreachable, Phase.Lost), ((await admin.NodeAsync(id)).Phase, (await admin.FindAsync(again))!.Phase));
        // As long as its node may come back with it, a lost one is not started elsewhere.
        await replica.PassAsync<SandboxRestarts>(time);
        Assert.Equal((Phase.Lost, null), ((await admin.FindAsync(again))!.Phase, (await admin.FindAsync(again))!.Restart!.At));
        (await admin.DeleteAsync($"/v1/sandboxes/{doomed}", Ct)).Dispose();
        Assert.Equal("409 node_not_empty", await admin.TryAsync("DELETE", $"/v1/nodes/{id}"));
        Assert.Equal("204", await admin.TryAsync("DELETE", $"/v1/nodes/{id}?force=true"));

        Assert.Null(await admin.FindAsync(doomed));
        Assert.Equal((Phase.Failed, "NodeDecommissioned"), ((await admin.FindAsync(plain))!.Phase, (await admin.FindAsync(plain))!.Failure?.Reason));
        Assert.Null((await admin.FindAsync(plain))!.Restart);
        Assert.NotNull((await admin.FindAsync(again))!.Restart!.At);
        time.Advance(TimeSpan.FromSeconds(RestartDecision.DefaultBackoffSeconds));
        await Eventually.Async(async () => await admin.FindAsync(again) is { Phase: Phase.Pending, Restart: { Restarts: 1, At: null } }, "it waits to be placed");
    }
}
