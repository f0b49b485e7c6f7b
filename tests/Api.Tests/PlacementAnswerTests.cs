using System.Net;
using System.Net.Http.Json;
using System.Text.RegularExpressions;
using Api.Sandboxes;
using Contracts;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Placement asked for its reasons, nodes that take nothing new, and leases that are changed.</summary>
public sealed partial class PlacementAnswerTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [GeneratedRegex("\"([A-Z][A-Za-z]+)\"")]
    private static partial Regex Code { get; }

    private static async Task<PlacementView> TryAsync(HttpClient client, object body)
    {
        using var response = await client.PostAsJsonAsync("/v1/placements", body, Ct);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<PlacementView>(Ct))!;
    }

    private static async Task<NodeView> CordonAsync(HttpClient client, string verb)
    {
        var node = (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes", Ct))!.Items.Single();
        using var response = await client.PostAsync($"/v1/nodes/{node.Id}/{verb}", null, Ct);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<NodeView>(Ct))!;
    }

    [Fact]
    public void Reasons_OfEveryRule_AreInTheTable()
    {
        var source = File.ReadLines(Path.Combine(Surroundings.Repository, "api/Sandboxes/Placement.cs")).Where(line => !line.Contains("///", StringComparison.Ordinal));
        var codes = Code.Matches(string.Join('\n', source)).Select(m => m.Groups[1].Value).ToHashSet();
        Assert.True(codes.Count > 8);
        Assert.Equal(codes.Order(), PlacementReasons.All.Keys.Order());
    }

    [Fact]
    public async Task Placements_OfWhatFitsAndWhatDoesNot_SayByWhichRule_AndCreateNothing()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        using var foreign = service.ClientOf((await service.TenantAsync("asks")).Secret);
        var fits = await TryAsync(client, new { image = "guest", accelerators = new[] { new { @class = "edu", count = 2 } } });
        Assert.Equal((true, "standin", 0), (fits.Fits, fits.Node, fits.Refusals.Count));
        var devices = await TryAsync(client, new { image = "guest", accelerators = new[] { new { @class = "edu", count = 3 } } });
        Assert.Equal((false, "NotEnoughDevices", 1), (devices.Fits, devices.Refusals.Single().Reason, devices.Refusals.Single().Nodes));
        Assert.Equal("NotEnoughDevices", devices.Nodes!.Single().Reason);
        Assert.Equal("OtherNodeWanted", (await TryAsync(client, new { image = "guest", node = "elsewhere" })).Refusals.Single().Reason);
        Assert.Equal("NotEnoughMemory", (await TryAsync(client, new { image = "guest", memoryMib = 1_048_576 })).Refusals.Single().Reason);
        // Nodes are no tenant's business; the counts are.
        var told = await TryAsync(foreign, new { image = "guest", memoryMib = 1_048_576 });
        Assert.Equal((null, null, "NotEnoughMemory"), (told.Node, told.Nodes, told.Refusals.Single().Reason));
        Assert.Empty((await client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes", Ct))!.Items);
        using var bad = await client.PostAsJsonAsync("/v1/placements", new { image = "guest", vcpus = 0 }, Ct);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, bad.StatusCode);
    }

    [Fact]
    public async Task Placements_OfWhatACreationRefuses_AreRefusedAlike()
    {
        await using var node = await service.NodeAsync();
        using var client = service.ClientOf((await service.TenantAsync("alike", new { maxSandboxes = 5, maxDevices = new { edu = 2 } })).Secret);
        async Task<(int Status, string Said)> AskAsync(string path, object body)
        {
            using var response = await client.PostAsJsonAsync(path, body, Ct);
            var problem = System.Text.Json.Nodes.JsonNode.Parse(await response.Content.ReadAsStringAsync(Ct))!;
            return ((int)response.StatusCode, $"{problem["code"]} {problem["detail"]} {problem["errors"]?.ToJsonString()}");
        }
        (await client.PostAsJsonAsync("/v1/sandboxes", new { name = "there", image = "guest", node = "nowhere" }, Ct)).EnsureSuccessStatusCode().Dispose();
        foreach (var (body, status, code) in new (object, int, string)[]
        {
            (new { name = "a", image = "guest", accelerators = new[] { new { @class = "edu", count = 3 } } }, 409, "quota_exceeded"),
            (new { name = "a", image = "nosuch" }, 422, "image_not_found"),
            (new { name = "a", image = "guest", accelerators = new[] { new { @class = "nosuch" } } }, 422, "device_class_not_found"),
            (new { name = "a", image = "guest", priority = 1 }, 422, "validation_failed"),
            (new { name = "a", image = "guest", faultStorm = new { perSecond = 1, action = "Quarantine" } }, 403, "forbidden"),
            (new { name = "there", image = "guest" }, 409, "name_taken"),
        })
        {
            var (created, tried) = (await AskAsync("/v1/sandboxes", body), await AskAsync("/v1/placements", body));
            Assert.Equal(created, tried);
            Assert.Equal((status, code), (tried.Status, tried.Said.Split(' ')[0]));
        }
        // Before any node has told what it has, that is the reason.
        await service.ExecuteAsync("UPDATE nodes SET facts = NULL");
        foreach (var path in (string[])["/v1/sandboxes", "/v1/placements"]) Assert.Contains("No node has joined yet", (await AskAsync(path, new { name = "a", image = "nosuch" })).Said, StringComparison.Ordinal);
        await node.SyncAsync();
    }

    [Fact]
    public async Task Placement_OfOneThatHasEnded_IsJudgedAsIfItWereStarted_AndOfALostOneSaysSo()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        var id = (await client.CreateAsync("ends")).Id;
        await Eventually.Async(async () => (await client.FindAsync(id))!.NodeId is not null, "it is placed");
        async Task<PlacementView> AskAsync() => (await client.GetFromJsonAsync<PlacementView>($"/v1/sandboxes/{id}/placement", Ct))!;
        async Task<int> CountAsync(string filter) => (await client.GetFromJsonAsync<Page<SandboxView>>($"/v1/sandboxes?{filter}", Ct))!.Items.Count(s => s.Id == id);
        Assert.Equal((1, 1, 0), (await CountAsync("node=standin"), await CountAsync($"node={(await client.FindAsync(id))!.NodeId}"), await CountAsync("node=elsewhere")));
        await service.ExecuteAsync($"UPDATE sandboxes SET phase = 'Lost' WHERE id = '{id}'");
        var lost = await AskAsync();
        Assert.Equal((false, "standin"), (lost.Fits, lost.Node));
        Assert.Contains("It is Lost", lost.Message, StringComparison.Ordinal);
        await service.ExecuteAsync($"UPDATE sandboxes SET phase = 'Stopped', desired = 'Stopped' WHERE id = '{id}'");
        var fits = await AskAsync();
        Assert.True(fits.Fits);
        Assert.StartsWith("It is Stopped. If it were started now: 1 of 1", fits.Message, StringComparison.Ordinal);
        await service.ExecuteAsync($"UPDATE sandboxes SET memory_mib = 1048576 WHERE id = '{id}'");
        var full = await AskAsync();
        Assert.Equal((false, "NotEnoughMemory"), (full.Fits, full.Refusals.Single().Reason));
        Assert.Equal(Phase.Stopped, (await client.FindAsync(id))!.Phase);
        (await client.DeleteAsync($"/v1/sandboxes/{id}", Ct)).EnsureSuccessStatusCode().Dispose();
        await node.SyncAsync();
        await node.SayAsync(id, VmState.Absent);
    }

    [Fact]
    public async Task Cordon_LetsTheNodeTakeNothingNew_AlsoAfterItsSilence()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        var running = (await client.CreateAsync("stays")).Id;
        await Eventually.Async(async () => (await client.FindAsync(running))!.NodeId is not null, "it is placed");
        Assert.Equal(NodePhase.Cordoned, (await CordonAsync(client, "cordon")).Phase);
        Assert.Equal(NodePhase.Cordoned, (await CordonAsync(client, "cordon")).Phase);
        var waiting = (await client.CreateAsync("waits")).Id;
        await Eventually.Async(async () => (await client.FindAsync(waiting))!.Conditions.Any(c => c.Reason == "NodeCordoned"), "it is refused");
        var answer = (await client.GetFromJsonAsync<PlacementView>($"/v1/sandboxes/{waiting}/placement", Ct))!;
        Assert.Equal((false, "NodeCordoned"), (answer.Fits, answer.Refusals.Single().Reason));
        Assert.Equal((true, "standin"), (await client.GetFromJsonAsync<PlacementView>($"/v1/sandboxes/{running}/placement", Ct)) is { } there ? (there.Fits, there.Node) : default);
        // As when it was silent for long.
        await service.ExecuteAsync("UPDATE nodes SET phase = 'Unreachable'");
        await node.SyncAsync();
        Assert.Equal(NodePhase.Cordoned, (await client.GetFromJsonAsync<Page<NodeView>>("/v1/nodes", Ct))!.Items.Single().Phase);
        Assert.Equal(NodePhase.Ready, (await CordonAsync(client, "uncordon")).Phase);
        await Eventually.Async(async () => (await client.FindAsync(waiting))!.NodeId is not null, "it is placed once the node is uncordoned");
        foreach (var id in (Guid[])[running, waiting])
        {
            (await client.DeleteAsync($"/v1/sandboxes/{id}", Ct)).EnsureSuccessStatusCode().Dispose();
            await node.SyncAsync();
            await node.SayAsync(id, VmState.Absent);
        }
    }

    [Fact]
    public async Task Lease_IsWarnedOfOnce_CanBeChanged_AndEndsWhenItSays()
    {
        await using var node = await service.NodeAsync();
        var time = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var replica = service.NewReplica().WithWebHostBuilder(b => b.ConfigureTestServices(s => s.AddSingleton<TimeProvider>(time)));
        using var client = service.ClientOf((await service.TenantAsync("leases", replica: replica)).Secret, replica);
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", new { name = "leased", image = "guest", node = "nowhere", lease = new { ttlSeconds = 3600, onExpiry = "Stop" } }, Ct);
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync(Ct));
        var id = (await response.Content.ReadFromJsonAsync<SandboxView>(Ct))!.Id;
        async Task<int> CountAsync() => (await client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={id}&type=sandbox.leaseExpiring&limit=1000", Ct))!.Items.Count;
        async Task PassAsync()
        {
            var expiry = replica.Services.GetRequiredService<LeaseExpiry>();
            await Eventually.Async(() => { expiry.Wake(); return expiry.LastPassAt == time.GetUtcNow(); }, "leases were looked at");
        }
        // The scheduler may have written to the sandbox at the same moment: then the next look tells.
        Task WarnedAsync(int times) => Eventually.Async(async () => { await PassAsync(); return await CountAsync() == times; }, $"it is warned of {times} times");
        await PassAsync();
        Assert.Equal(0, await CountAsync());
        time.Advance(TimeSpan.FromSeconds(3600 - 300));
        await WarnedAsync(1);
        time.Advance(TimeSpan.FromSeconds(1));
        await PassAsync();
        Assert.Equal(1, await CountAsync());
        using (var set = await client.PutAsJsonAsync($"/v1/sandboxes/{id}/lease", new { ttlSeconds = 600 }, Ct))
        {
            Assert.Equal(HttpStatusCode.OK, set.StatusCode);
            var lease = (await set.Content.ReadFromJsonAsync<SandboxView>(Ct))!.Lease!;
            Assert.Equal(LeaseEnd.Stop, lease.OnExpiry);
            Assert.InRange((lease.ExpiresAt!.Value - time.GetUtcNow()).TotalSeconds, 599, 600);
        }
        time.Advance(TimeSpan.FromSeconds(301));
        await WarnedAsync(2);
        Assert.Equal(DesiredState.Running, (await client.FindAsync(id))!.Desired);
        using (var removed = await client.DeleteAsync($"/v1/sandboxes/{id}/lease", Ct))
            Assert.Null((await removed.Content.ReadFromJsonAsync<SandboxView>(Ct))!.Lease);
        time.Advance(TimeSpan.FromHours(1));
        await PassAsync();
        Assert.Equal(DesiredState.Running, (await client.FindAsync(id))!.Desired);
        (await client.PutAsJsonAsync($"/v1/sandboxes/{id}/lease", new { ttlSeconds = 60, onExpiry = "Delete" }, Ct)).EnsureSuccessStatusCode().Dispose();
        time.Advance(TimeSpan.FromSeconds(61));
        await PassAsync();
        await Eventually.Async(async () => await client.FindAsync(id) is null, "it is deleted");
        using var bad = await client.PutAsJsonAsync($"/v1/sandboxes/{Guid.NewGuid()}/lease", new { ttlSeconds = 59 }, Ct);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, bad.StatusCode);
    }
}
