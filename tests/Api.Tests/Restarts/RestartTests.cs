using System.Net;
using System.Net.Http.Json;
using Api.Sandboxes;
using Api.Tests.NodeLife;
using Contracts;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;
using static Api.Tests.NodeLife.NodeCalls;

namespace Api.Tests.Restarts;

/// <summary>What has ended is started again by its policy, and nothing else is.</summary>
public sealed class RestartTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Fact]
    public async Task Failure_IsStartedAgainAfterItsBackoff_UntilItsPolicyIsExhausted_OnceByTwoReplicas()
    {
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.Replica(time);
        await using var second = service.Replica(time);
        using var other = second.CreateClient();
        var (node, _, _) = await service.JoinAsync("backs-off", replica);
        await using var _1 = node;
        using var client = service.Client(replica);
        var made = await client.AskAsync(new { name = "fails", image = "guest", node = "backs-off", restart = new { policy = "onFailure", maxRestarts = 2, backoffSeconds = 20 } });
        Assert.Equal(new RestartView(RestartWhen.OnFailure, 2, 20, 0, null), made.Restart);
        var id = made.Id;
        for (var restart = 0; restart < 2; restart++)
        {
            await node.PlannedAsync(id, restart + 1);
            await node.SayAsync(id, VmState.Running);
            await node.SayAsync(id, VmState.Failed, Broke);
            var failed = (await client.FindAsync(id))!;
            var delay = 20 << restart;
            Assert.Equal((Phase.Failed, "VmmExited", restart), (failed.Phase, failed.Failure?.Reason, failed.Restart!.Restarts));
            Assert.InRange((failed.Restart.At!.Value - time.GetUtcNow()).TotalSeconds, delay - 1, delay);
            await node.PassTimeAsync(time, delay - 1);
            await replica.PassAsync<SandboxRestarts>();
            Assert.Equal(Phase.Failed, (await client.FindAsync(id))!.Phase);
            await node.PassTimeAsync(time, 1);
            await Eventually.Async(async () => await client.FindAsync(id) is { Restart: { At: null } now, Failure: null } && now.Restarts == restart + 1, "it is started again");
        }
        await node.PlannedAsync(id, 3);
        await node.SayAsync(id, VmState.Failed, Broke);
        await node.PassTimeAsync(time, 400);
        await second.PassAsync<SandboxRestarts>();
        Assert.Equal((Phase.Failed, 2, null), ((await client.FindAsync(id))!.Phase, (await client.FindAsync(id))!.Restart!.Restarts, (await client.FindAsync(id))!.Restart!.At));
        Assert.Equal(["RestartDue", "RestartDue", "RestartsExhausted"], (await client.EventsAsync(id, "sandbox.restartChanged")).Select(e => e.Reason));
        Assert.Equal(2, (await client.EventsAsync(id, "sandbox.phaseChanged")).Count(e => e.Reason == "RestartedByPolicy"));
        // A user's start counts anew.
        (await client.PostAsync($"/v1/sandboxes/{id}/start", null, Ct)).EnsureSuccessStatusCode().Dispose();
        Assert.Equal(0, (await client.FindAsync(id))!.Restart!.Restarts);
    }

    [Fact]
    public async Task Stop_OfAUser_IsNoRestart_AndEndsOneThatIsDue()
    {
        await using var replica = service.NewReplica();
        var (node, _, _) = await service.JoinAsync("stops", replica);
        await using var _1 = node;
        using var client = service.Client(replica);
        var id = (await client.AskAsync(new { name = "stopped", image = "guest", node = "stops", restart = new { policy = "always", backoffSeconds = 300 } })).Id;
        await node.PlannedAsync(id);
        await node.SayAsync(id, VmState.Running);
        (await client.PostAsync($"/v1/sandboxes/{id}/stop", null, Ct)).EnsureSuccessStatusCode().Dispose();
        await node.SyncAsync();
        await node.SayAsync(id, VmState.Stopped);
        Assert.Equal((Phase.Stopped, null), ((await client.FindAsync(id))!.Phase, (await client.FindAsync(id))!.Restart!.At));
        Assert.Equal("409 wrong_phase", await client.TryAsync("POST", $"/v1/sandboxes/{id}/stop"));

        (await client.PostAsync($"/v1/sandboxes/{id}/start", null, Ct)).EnsureSuccessStatusCode().Dispose();
        await node.PlannedAsync(id, 2);
        // It powers itself off: its policy is always.
        await node.SayAsync(id, VmState.Stopped);
        Assert.NotNull((await client.FindAsync(id))!.Restart!.At);
        Assert.Equal("202", await client.TryAsync("POST", $"/v1/sandboxes/{id}/stop"));
        var stopped = (await client.FindAsync(id))!;
        Assert.Equal((Phase.Stopped, DesiredState.Stopped, null), (stopped.Phase, stopped.Desired, stopped.Restart!.At));
    }

    [Fact]
    public async Task Restart_WhenTheProjectsQuotaIsFull_Waits()
    {
        await using var replica = service.NewReplica();
        var (node, _, _) = await service.JoinAsync("full", replica);
        await using var _1 = node;
        var tenant = await service.TenantAsync("tight", new { maxVcpus = 1 }, replica);
        using var client = service.ClientOf(tenant.Secret, replica);
        var id = (await client.AskAsync(new { name = "first", image = "guest", node = "full", restart = new { policy = "always", backoffSeconds = 1 } })).Id;
        await node.PlannedAsync(id);
        await node.SayAsync(id, VmState.Stopped);
        // Its vCPU is free while it waits, and another takes it.
        await service.ExecuteAsync($"UPDATE sandboxes SET restart_at = now() + interval '1 hour' WHERE id = '{id}'");
        await client.AskAsync(new { name = "second", image = "guest", node = "nowhere" });
        await service.ExecuteAsync($"UPDATE sandboxes SET restart_at = now() WHERE id = '{id}'");
        await Eventually.Async(async () => (await client.EventsAsync(id, "sandbox.restartChanged")).Any(e => e.Reason == "QuotaExceeded"), "it is told");
        var waits = (await client.FindAsync(id))!;
        Assert.Equal(Phase.Stopped, waits.Phase);
        Assert.True(waits.Restart!.At > TimeProvider.System.GetUtcNow().AddSeconds(60));
    }

    [Theory]
    [InlineData("""{ }""", "restart.policy")]
    [InlineData("""{ "policy": "onFailure", "maxRestarts": -1 }""", "restart.maxRestarts")]
    [InlineData("""{ "policy": "onFailure", "maxRestarts": 1001 }""", "restart.maxRestarts")]
    [InlineData("""{ "policy": "always", "backoffSeconds": 0 }""", "restart.backoffSeconds")]
    [InlineData("""{ "policy": "always", "backoffSeconds": 301 }""", "restart.backoffSeconds")]
    public async Task Create_WhenThePolicyIsWrong_Returns422(string policy, string field)
    {
        using var client = service.Client();
        using var content = new StringContent($$"""{"name":"wrong","image":"guest","restart":{{policy}}}""", System.Text.Encoding.UTF8, "application/json");
        using var response = await client.PostAsync("/v1/sandboxes", content, Ct);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, response.StatusCode);
        Assert.Contains($"\"{field}\"", await response.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
    }
}
