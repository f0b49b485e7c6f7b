using System.Net;
using System.Net.Http.Json;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.NodeLife;

/// <summary>Another token for a node, and the end of one.</summary>
public sealed class CredentialTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    /// <summary>The status, and the code of a refusal.</summary>
    private async Task<string> ShowAsync(string token)
    {
        using var machine = service.ClientOf(token);
        return await machine.TryAsync("POST", "/hubs/node/negotiate?negotiateVersion=1");
    }

    private static Task<string> FetchAsync(StandInNode node) => node.Connection.InvokeAsync<string>(NodeProtocol.RenewToken, Ct);

    private StandInNode Again(string token, StandInNode node) => new(service.Factory, token, 2) { Installation = node.Installation };

    [Fact]
    public async Task Rotation_LeavesOneGoodTokenAtEachPoint()
    {
        var (node, id, old) = await service.JoinAsync("rotates", service.Factory);
        await using var _1 = node;
        using var admin = service.Client();
        Assert.False(node.Plan.RenewToken);
        Assert.NotNull((await admin.DoAsync("POST", $"/v1/nodes/{id}/credentials/rotate")).RotationWantedAt);
        Assert.True((await node.SyncAsync()).RenewToken);

        // Fetched twice, for the first answer was lost: the first is worth nothing, and the old one is good.
        var lost = await FetchAsync(node);
        var next = await FetchAsync(node);
        Assert.Equal("401 unauthenticated", await ShowAsync(lost));
        Assert.Equal("200", await ShowAsync(old));
        Assert.True((await node.SyncAsync()).RenewToken);

        // Its first use makes it the only one; it is the same after a crash right then.
        Assert.Equal("200", await ShowAsync(next));
        Assert.Equal(("200", "401 node_token_replaced"), (await ShowAsync(next), await ShowAsync(old)));
        await using var again = Again(next, node);
        await again.StartAsync();
        Assert.False(again.Plan.RenewToken);
        var view = await admin.NodeAsync(id);
        Assert.Equal((NodePhase.Ready, null), (view.Phase, view.RotationWantedAt));
        // What is still open by the old one ends.
        Assert.Contains("node_token_replaced", (await Assert.ThrowsAsync<HubException>(node.SyncAsync)).Message, StringComparison.Ordinal);
        Assert.Equal(["RotationWanted", "TokenReplaced"], (await admin.EventsAsync(id, "node.credentialsChanged")).Select(e => e.Reason));
        foreach (var secret in (string[])[old, next])
            Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM audit_entries a WHERE a::text LIKE '%{secret[4..]}%'"));
    }

    [Fact]
    public async Task Rotation_WhenTheFetchedTokenIsNotUsedInTime_TheOldOneStays()
    {
        var (node, id, old) = await service.JoinAsync("late", service.Factory);
        await using var _1 = node;
        var next = await FetchAsync(node);
        await service.ExecuteAsync($"UPDATE nodes SET next_token_until = now() - interval '1 second' WHERE id = '{id}'");
        Assert.Equal(("401 unauthenticated", "200"), (await ShowAsync(next), await ShowAsync(old)));
        await node.SyncAsync();
    }

    [Fact]
    public async Task Rotation_WhenTwoConnectionsUseItFirst_IsOne()
    {
        var (node, id, _) = await service.JoinAsync("races", service.Factory);
        await using var _1 = node;
        using var admin = service.Client();
        await node.SyncAsync();
        var next = await FetchAsync(node);
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => ShowAsync(next)));
        Assert.All(answers, a => Assert.Equal("200", a));
        Assert.Single(await admin.EventsAsync(id, "node.credentialsChanged"));
        // Nobody wished it, so the node's plan is the same: what is open by the old token ends all the same.
        Assert.Contains("node_token_replaced", (await Assert.ThrowsAsync<HubException>(node.SyncAsync)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RenewToken_OfWhatIsNotTheNodesMachine_IsRefused()
    {
        var (node, _, token) = await service.JoinAsync("owned", service.Factory);
        await using var _1 = node;
        await using var other = new StandInNode(service.Factory, token, 2);
        await Assert.ThrowsAsync<HubException>(other.StartAsync);
        Assert.Contains("not_yet", (await Assert.ThrowsAsync<HubException>(() => FetchAsync(other))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Revocation_CountsAtOnce_AndAJoinTokenLetsTheMachineInAgain()
    {
        var (node, id, old) = await service.JoinAsync("revoked", service.Factory);
        await using var _1 = node;
        using var admin = service.Client();
        var next = await FetchAsync(node);
        await admin.DoAsync("DELETE", $"/v1/nodes/{id}/credentials");
        Assert.Equal(("401 node_token_revoked", "401 node_token_revoked"), (await ShowAsync(old), await ShowAsync(next)));
        // The report says nothing new, and is not answered all the same.
        Assert.Contains("node_token_revoked", (await Assert.ThrowsAsync<HubException>(node.SyncAsync)).Message, StringComparison.Ordinal);
        var (again, same, _) = await service.JoinAsync("revoked", service.Factory, installation: node.Installation, replace: true);
        await using var _2 = again;
        Assert.Equal(id, same);
    }

    [Fact]
    public async Task Revocation_AlsoEndsTheJoinTokensOfBefore()
    {
        using var admin = service.Client();
        async Task<string> TokenAsync(string name, bool replace)
        {
            using var response = await admin.PostAsJsonAsync("/v1/nodes/join-tokens", new { name, replace });
            return (await response.Content.ReadFromJsonAsync<JoinTokenView>())!.Token;
        }
        async Task<string> JoinAsync(string token, Guid machine)
        {
            using var worker = service.Factory.CreateClient();
            worker.DefaultRequestHeaders.Authorization = new("Bearer", token);
            using var response = await worker.PostAsJsonAsync("/v1/nodes/join", new { installation = machine });
            return await response.AnswerAsync();
        }
        var (used, installation) = (await TokenAsync("kept-out", false), Guid.NewGuid());
        Assert.Equal(["201", "201"], [await JoinAsync(used, installation), await JoinAsync(used, installation)]);
        var (spare, others) = (await TokenAsync("kept-out", true), await TokenAsync("another", false));
        var id = (await admin.GetFromJsonAsync<Page<NodeView>>("/v1/nodes?name=kept-out"))!.Items.Single().Id;
        await admin.DoAsync("DELETE", $"/v1/nodes/{id}/credentials");
        Assert.Equal(["401 join_token_invalid", "401 join_token_invalid", "201"], [await JoinAsync(used, installation), await JoinAsync(spare, installation), await JoinAsync(others, Guid.NewGuid())]);
        Assert.Equal("201", await JoinAsync(await TokenAsync("kept-out", true), installation));
    }
}
