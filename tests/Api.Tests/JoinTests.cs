using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using Api.Nodes;
using Contracts;
using Microsoft.AspNetCore.SignalR;
using Npgsql;
using Xunit;

namespace Api.Tests;

/// <summary>How a machine becomes a node.</summary>
public sealed class JoinTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static readonly Guid _me = Guid.NewGuid(), _other = Guid.NewGuid();

    [Theory]
    // A fresh token.
    [InlineData(null, false, null, null, JoinDecision.Step.Create)]
    [InlineData(null, true, null, null, JoinDecision.Step.Create)]
    [InlineData(null, false, "other", NodePhase.Unreachable, JoinDecision.Step.NodeExists)]
    [InlineData(null, false, "me", NodePhase.Ready, JoinDecision.Step.NodeExists)]
    [InlineData(null, true, "other", NodePhase.Ready, JoinDecision.Step.NodeInUse)]
    [InlineData(null, true, "other", NodePhase.Cordoned, JoinDecision.Step.NodeInUse)]
    [InlineData(null, true, "nobody", NodePhase.Ready, JoinDecision.Step.NodeInUse)]
    [InlineData(null, true, "other", NodePhase.Unreachable, JoinDecision.Step.TakeOver)]
    [InlineData(null, true, "nobody", NodePhase.Joining, JoinDecision.Step.TakeOver)]
    [InlineData(null, true, "me", NodePhase.Ready, JoinDecision.Step.Renew)]
    // A used one.
    [InlineData("me", false, "me", NodePhase.Joining, JoinDecision.Step.Renew)]
    [InlineData("me", false, "me", NodePhase.Ready, JoinDecision.Step.Renew)]
    [InlineData("me", true, "other", NodePhase.Unreachable, JoinDecision.Step.TokenUsed)]
    [InlineData("me", true, "nobody", NodePhase.Unreachable, JoinDecision.Step.TokenUsed)]
    [InlineData("me", false, null, null, JoinDecision.Step.TokenUsed)]
    [InlineData("other", true, "other", NodePhase.Unreachable, JoinDecision.Step.TokenUsed)]
    [InlineData("other", true, "me", NodePhase.Unreachable, JoinDecision.Step.TokenUsed)]
    public void Decision_Table(string? usedBy, bool mayReplace, string? node, NodePhase? phase, JoinDecision.Step expected) =>
        Assert.Equal(expected, JoinDecision.Of(Who(usedBy), mayReplace, _me, node is null ? null : new(Who(node), phase!.Value)));

    private static Guid? Who(string? who) => who switch { "me" => _me, "other" => _other, _ => null };

    private async Task<string> TokenAsync(string name, bool replace = false)
    {
        using var client = service.Client();
        using var response = await client.PostAsJsonAsync("/v1/nodes/join-tokens", new { name, replace });
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<JoinTokenView>())!.Token;
    }

    private async Task<HttpResponseMessage> TryJoinAsync(string token, object body)
    {
        using var client = service.Factory.CreateClient();
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        return await client.PostAsJsonAsync("/v1/nodes/join", body);
    }

    private async Task<NodeJoined> JoinAsync(string token, Guid installation)
    {
        using var response = await TryJoinAsync(token, new { installation });
        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<NodeJoined>())!;
    }

    private async Task<string> RefusalAsync(string token, Guid installation)
    {
        using var response = await TryJoinAsync(token, new { installation });
        return $"{(int)response.StatusCode} {await response.CodeAsync()}";
    }

    private StandInNode Machine(string token, Guid installation) => new(service.Factory, token, 0) { Installation = installation };

    private async Task<NodeView> NodeAsync(Guid id)
    {
        using var client = service.Client();
        return (await client.GetFromJsonAsync<NodeView>($"/v1/nodes/{id}"))!;
    }

    private async Task ExecuteAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(service.ConnectionString);
        await connection.OpenAsync();
#pragma warning disable CA2100 // Texts of the tests themselves.
        await using var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        await command.ExecuteNonQueryAsync();
    }

    [Fact]
    public async Task Join_WithAToken_BecomesANodeThatReports()
    {
        var (token, installation) = (await TokenAsync("joins"), Guid.NewGuid());
        var joined = await JoinAsync(token, installation);
        Assert.Equal(("joins", NodePhase.Joining), (joined.Name, (await NodeAsync(joined.NodeId)).Phase));
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM events WHERE subject_id = '{joined.NodeId}' AND reason = 'NodeCreated'"));
        Assert.Equal(0, await service.ScalarAsync($"SELECT (SELECT count(*) FROM join_tokens t WHERE t::text LIKE '%{token[4..]}%') + (SELECT count(*) FROM nodes n WHERE n::text LIKE '%{joined.Token[4..]}%')"));

        await using (var other = Machine(joined.Token, Guid.NewGuid()))
            Assert.Contains("node_is_another_machine", (await Assert.ThrowsAsync<HubException>(other.StartAsync)).Message, StringComparison.Ordinal);
        await using var node = Machine(joined.Token, installation);
        await node.StartAsync();
        Assert.Equal(NodePhase.Ready, (await NodeAsync(joined.NodeId)).Phase);
    }

    [Fact]
    public async Task Join_AgainByTheSameMachine_RotatesItsToken_AndByAnotherIsRefused()
    {
        var (token, installation) = (await TokenAsync("again"), Guid.NewGuid());
        var first = await JoinAsync(token, installation);
        var second = await JoinAsync(token, installation);
        Assert.Equal(first.NodeId, second.NodeId);
        await using (var lost = Machine(first.Token, installation))
            await Assert.ThrowsAsync<HttpRequestException>(lost.StartAsync);
        await using var node = Machine(second.Token, installation);
        await node.StartAsync();
        Assert.Equal("409 join_token_used", await RefusalAsync(token, Guid.NewGuid()));
        await node.SyncAsync();
        Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM nodes WHERE name = 'again'"));
    }

    [Fact]
    public async Task Join_WhenManyMachinesShowOneToken_OneBecomesTheNode()
    {
        var token = await TokenAsync("contested");
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(async _ =>
        {
            using var response = await TryJoinAsync(token, new { installation = Guid.NewGuid() });
            return response.StatusCode == HttpStatusCode.Created ? "joined" : await response.CodeAsync();
        }));
        Assert.Equal((1, 7), (answers.Count(a => a == "joined"), answers.Count(a => a == "join_token_used")));
        Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM nodes WHERE name = 'contested'"));
    }

    [Fact]
    public async Task Join_WhenTheTokenIsNone_Returns401()
    {
        var (expired, good) = (await TokenAsync("late"), await TokenAsync("good"));
        await ExecuteAsync("UPDATE join_tokens SET expires_at = now() - interval '1 second' WHERE name = 'late'");
        var nodes = await service.ScalarAsync("SELECT count(*) FROM nodes");
        foreach (var bad in (string[])[expired, "sbj_", "sbj_" + new string('A', 43), good + "A", "sbj_" + new string('x', 4000), good[4..], service.AdminKey, service.NodeToken])
            Assert.Equal("401 join_token_invalid", await RefusalAsync(bad, Guid.NewGuid()));
        Assert.Equal(nodes, await service.ScalarAsync("SELECT count(*) FROM nodes"));
        // And it is good for nothing else.
        using var client = service.Factory.CreateClient();
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", good);
        foreach (var path in (string[])["/v1/nodes", "/v1/nodes/join-tokens", $"{NodeProtocol.HubPath}/negotiate?negotiateVersion=1"])
        {
            using var response = path.EndsWith("nodes", StringComparison.Ordinal) ? await client.GetAsync(path) : await client.PostAsJsonAsync(path, new { name = "x" });
            Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
        }
        await JoinAsync(good, Guid.NewGuid());
    }

    [Fact]
    public async Task Join_WhenTheBodyNamesNoInstallation_Returns422_AndTheTokenIsStillGood()
    {
        var token = await TokenAsync("bodies");
        foreach (var (body, answer) in (IEnumerable<(object, string)>)[(new { }, "422 validation_failed"), (new { installation = Guid.Empty }, "422 validation_failed"), (new { installation = "me" }, "400 invalid_request"), (new { installation = Guid.NewGuid(), name = "x" }, "400 invalid_request")])
        {
            using var response = await TryJoinAsync(token, body);
            Assert.Equal(answer, $"{(int)response.StatusCode} {await response.CodeAsync()}");
        }
        await JoinAsync(token, Guid.NewGuid());
    }

    [Fact]
    public async Task Replace_WhenTheNodeReports_IsRefused_AndAfterwardsItIsTheOtherMachine()
    {
        using var client = service.Client();
        var (old, next) = (Guid.NewGuid(), Guid.NewGuid());
        var early = await TokenAsync("replaced");
        var joined = await JoinAsync(await TokenAsync("replaced"), old);
        await using var machine = Machine(joined.Token, old);
        await machine.StartAsync();

        using (var refused = await client.PostAsJsonAsync("/v1/nodes/join-tokens", new { name = "replaced" }))
            Assert.Equal((HttpStatusCode.Conflict, "node_exists"), (refused.StatusCode, await refused.CodeAsync()));
        Assert.Equal("409 node_exists", await RefusalAsync(early, next));
        var replace = await TokenAsync("replaced", replace: true);
        Assert.Equal("409 node_in_use", await RefusalAsync(replace, next));
        await machine.SyncAsync();

        await ExecuteAsync("UPDATE nodes SET phase = 'Unreachable' WHERE name = 'replaced'");
        var taken = await JoinAsync(replace, next);
        var view = await NodeAsync(taken.NodeId);
        Assert.Equal((joined.NodeId, NodePhase.Joining, null), (taken.NodeId, view.Phase, view.Facts));
        // By long polling each request shows the token, which is worth nothing any more.
        await Assert.ThrowsAsync<HttpRequestException>(machine.SyncAsync);
        await using var newcomer = Machine(taken.Token, next);
        await newcomer.StartAsync();
        Assert.Equal(NodePhase.Ready, (await NodeAsync(taken.NodeId)).Phase);
        // The first machine's join token was redeemed by it: it cannot come back by it.
        Assert.Equal("409 join_token_used", await RefusalAsync(replace, old));
    }

    [Fact]
    public async Task JoinTokens_WhenThereAreTooMany_AreRefusedUntilOneExpires()
    {
        using var client = service.Client();
        await ExecuteAsync($"INSERT INTO join_tokens (id, name, token_sha256, replace, created_at, expires_at) SELECT gen_random_uuid(), 'many', decode(md5('many' || n), 'hex'), false, now(), now() + interval '1 hour' FROM generate_series(1, {NodeJoining.MaxTokens - 1} - (SELECT count(*) FROM join_tokens WHERE expires_at > now() AND used_by IS NULL)) n");
        try
        {
            await TokenAsync("the-last");
            using (var refused = await client.PostAsJsonAsync("/v1/nodes/join-tokens", new { name = "onemore" }))
                Assert.Equal((HttpStatusCode.Conflict, "too_many_join_tokens"), (refused.StatusCode, await refused.CodeAsync()));
            await ExecuteAsync("UPDATE join_tokens SET expires_at = now() - interval '1 second' WHERE name = 'many'");
            await TokenAsync("onemore");
            Assert.Equal(0, await service.ScalarAsync("SELECT count(*) FROM join_tokens WHERE name = 'many'"));
        }
        finally
        {
            await ExecuteAsync("DELETE FROM join_tokens WHERE name = 'many'");
        }
    }
}
