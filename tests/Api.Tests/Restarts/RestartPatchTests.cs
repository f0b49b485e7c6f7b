using System.Net;
using System.Net.Http.Json;
using System.Text;
using Api.Tests.NodeLife;
using Contracts;
using Testing;
using Xunit;

namespace Api.Tests.Restarts;

/// <summary>A restart policy that is set, changed and removed while the sandbox lives.</summary>
public sealed class RestartPatchTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static async Task<HttpResponseMessage> PatchAsync(HttpClient client, Guid id, string patch, string? match = "*")
    {
        using var request = new HttpRequestMessage(HttpMethod.Patch, $"/v1/sandboxes/{id}") { Content = new StringContent(patch, Encoding.UTF8, "application/merge-patch+json") };
        if (match is not null) request.Headers.TryAddWithoutValidation("If-Match", match);
        return await client.SendAsync(request, Ct);
    }

    private static async Task<SandboxView> PatchedAsync(HttpClient client, Guid id, string patch)
    {
        using var response = await PatchAsync(client, id, patch);
        Assert.True(response.StatusCode == HttpStatusCode.OK, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<SandboxView>(Ct))!;
    }

    [Fact]
    public async Task Patch_OfThePolicy_HoldsFromTheNextEndOn_AndIsToldAndAudited()
    {
        await using var replica = service.NewReplica();
        var (node, _, _) = await service.JoinAsync("patched", replica);
        await using var _1 = node;
        using var client = service.Client(replica);
        var id = (await client.AskAsync(new { name = "patched", image = "guest", node = "patched", labels = new { a = "b" } })).Id;
        await node.PlannedAsync(id);
        await node.SayAsync(id, VmState.Running);
        Assert.False(node.Plan.Sandboxes.Single(s => s.Id == id).EndsUnready);

        var set = await PatchedAsync(client, id, """{ "restart": { "policy": "onFailure", "maxRestarts": 3 } }""");
        Assert.Equal(new RestartView(RestartWhen.OnFailure, 3, 10, 0, null), set.Restart);
        Assert.Equal("b", set.Labels["a"]);
        // Merged: what is not named stays.
        Assert.Equal(new RestartView(RestartWhen.OnFailure, 3, 300, 0, null), (await PatchedAsync(client, id, """{ "restart": { "backoffSeconds": 300 } }""")).Restart);
        Assert.Equal(new RestartView(RestartWhen.OnFailure, null, 300, 0, null), (await PatchedAsync(client, id, """{ "restart": { "maxRestarts": null } }""")).Restart);
        // The same again is no change.
        Assert.Equal(new RestartView(RestartWhen.OnFailure, null, 300, 0, null), (await PatchedAsync(client, id, """{ "restart": { "backoffSeconds": 300 } }""")).Restart);
        await node.SyncAsync();
        Assert.True(node.Plan.Sandboxes.Single(s => s.Id == id).EndsUnready);

        await node.SayAsync(id, VmState.Failed, NodeCalls.Broke);
        Assert.NotNull((await client.FindAsync(id))!.Restart!.At);
        // What was due is due no more.
        Assert.Null((await PatchedAsync(client, id, """{ "restart": null }""")).Restart);
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM sandboxes WHERE id = '{id}' AND (restart_at IS NOT NULL OR restart IS NOT NULL)"));
        Assert.Equal(["RestartPolicySet", "RestartPolicySet", "RestartPolicySet", "RestartDue", "RestartPolicyRemoved"], (await client.EventsAsync(id, "sandbox.restartChanged")).Select(e => e.Reason));
        Assert.Equal(4, await service.ScalarAsync($"SELECT count(*) FROM audit_entries WHERE subject_id = '{id}' AND action = 'PATCH /v1/sandboxes/{{id}}'"));
    }

    [Fact]
    public async Task Patch_ByAVersionThatIsNoMore_OrWithout_ChangesNothing()
    {
        using var client = service.Client();
        await using var node = await service.NodeAsync();
        var made = await client.CreateAsync("versions");
        await Eventually.Async(async () => (await client.FindAsync(made.Id))!.Phase == Phase.Scheduled, "it is placed");
        using (var none = await PatchAsync(client, made.Id, """{ "restart": { "policy": "always" } }""", match: null)) Assert.Equal("428 precondition_required", await none.AnswerAsync());
        using (var old = await PatchAsync(client, made.Id, """{ "restart": { "policy": "always" } }""", match: "\"1\"")) Assert.Equal("412 precondition_failed", await old.AnswerAsync());
        Assert.Null((await client.FindAsync(made.Id))!.Restart);
    }

    [Theory]
    [InlineData("""{ "restart": { "maxRestarts": 3 } }""", "422 validation_failed")]
    [InlineData("""{ "restart": { "policy": "always", "backoffSeconds": 301 } }""", "422 validation_failed")]
    [InlineData("""{ "restart": { "policy": "sometimes" } }""", "400 invalid_request")]
    [InlineData("""{ "restart": { "policy": "always", "often": true } }""", "400 invalid_request")]
    [InlineData("""{ "restart": 5 }""", "400 invalid_request")]
    public async Task Patch_WhenThePolicyIsWrong_IsRefused(string patch, string answer)
    {
        using var client = service.Client();
        await using var node = await service.NodeAsync();
        var id = await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'wrong'") == 0 ? (await client.CreateAsync("wrong")).Id : (await client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes", Ct))!.Items.Single(s => s.Name == "wrong").Id;
        using var refused = await PatchAsync(client, id, patch);
        Assert.Equal(answer, await refused.AnswerAsync());
    }
}
