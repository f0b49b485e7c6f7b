using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Api.Sandboxes;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.EntityFrameworkCore;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Who is placed first, beside whom and with which devices, by requests and one stand-in node.</summary>
public sealed class PlacementOrderTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private static async Task<SandboxView> CreateAsync(HttpClient client, object body)
    {
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", body, Ct);
        Assert.True(response.StatusCode == HttpStatusCode.Created, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<SandboxView>(Ct))!;
    }

    private static object Asks(string name, int edu = 1, int priority = 0) => new { name, image = "guest", priority, accelerators = new[] { new { @class = "edu", count = edu } } };

    private static async Task<string?> ReasonAsync(HttpClient client, object body)
    {
        using var response = await client.PostAsJsonAsync("/v1/placements", body, Ct);
        Assert.True(response.StatusCode == HttpStatusCode.OK, await response.Content.ReadAsStringAsync(Ct));
        return (await response.Content.ReadFromJsonAsync<PlacementView>(Ct))!.Refusals.SingleOrDefault()?.Reason;
    }

    private static async Task<HttpResponseMessage> PatchAsync(HttpClient client, string url, object patch)
    {
        using var request = new HttpRequestMessage(HttpMethod.Patch, url) { Content = new StringContent(JsonSerializer.Serialize(patch), Encoding.UTF8, "application/merge-patch+json") };
        request.Headers.TryAddWithoutValidation("If-Match", "*");
        return await client.SendAsync(request, Ct);
    }

    private static async Task PlacedAsync(HttpClient client, Guid id) => await Eventually.Async(async () => (await client.FindAsync(id))!.Phase == Phase.Scheduled, "it is placed");

    private static async Task RefusedAsync(HttpClient client, Guid id, string reason) =>
        await Eventually.Async(async () => (await client.FindAsync(id))!.Conditions.Any(c => c is { Type: ConditionType.Placed, Status: ConditionStatus.False } && c.Reason == reason), $"it waits: {reason}");

    private static async Task EndAsync(HttpClient client, StandInNode node, params Guid[] ids)
    {
        foreach (var id in ids)
        {
            (await client.DeleteAsync($"/v1/sandboxes/{id}", Ct)).EnsureSuccessStatusCode().Dispose();
            await node.SyncAsync();
            if (node.Plan.Sandboxes.Any(s => s.Id == id)) await node.SayAsync(id, VmState.Absent);
        }
    }

    [Fact]
    public async Task Priority_PlacesWhoCameLaterFirst_AndCanBeChangedWhileItWaits()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        var holder = (await CreateAsync(client, Asks("holder", 2))).Id;
        await PlacedAsync(client, holder);
        var (first, second, third) = (await CreateAsync(client, Asks("first", 2)), await CreateAsync(client, Asks("second", 2, 5)), await CreateAsync(client, Asks("third", 2)));
        Assert.Equal((0, 5), (first.Priority, second.Priority));
        foreach (var waits in (SandboxView[])[first, second, third]) await RefusedAsync(client, waits.Id, "NoFreeDevice");
        using (var raised = await PatchAsync(client, $"/v1/sandboxes/{third.Id}", new { priority = 7 }))
            Assert.Equal(7, (await raised.Content.ReadFromJsonAsync<SandboxView>(Ct))!.Priority);
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM events WHERE subject_id = '{third.Id}' AND type = 'sandbox.priorityChanged'"));
        await RefusedAsync(client, third.Id, "NoFreeDevice");
        var before = holder;
        foreach (var next in (Guid[])[third.Id, second.Id, first.Id])
        {
            await EndAsync(client, node, before);
            await PlacedAsync(client, next);
            await node.SyncAsync();
            await node.SayAsync(next, VmState.Running);
            before = next;
        }
        await EndAsync(client, node, before);
    }

    [Fact]
    public async Task Priority_AboveWhatTheProjectMay_IsRefused_UntilTheServiceAllowsIt()
    {
        await using var node = await service.NodeAsync();
        using var admin = service.Client();
        var tenant = await service.TenantAsync("ordinary");
        using var client = service.ClientOf(tenant.Secret);
        var low = await CreateAsync(client, new { name = "low", image = "guest", priority = -100, node = "nowhere" });
        Assert.Equal(-100, low.Priority);
        foreach (var url in (string[])["/v1/sandboxes", "/v1/placements"])
            foreach (var priority in (int[])[1, 101, -101])
            {
                using var refused = await client.PostAsJsonAsync(url, new { name = "high", image = "guest", priority }, Ct);
                Assert.Equal("422 validation_failed", await refused.AnswerAsync());
            }
        using (var raised = await PatchAsync(client, $"/v1/sandboxes/{low.Id}", new { priority = 1 })) Assert.Equal("422 validation_failed", await raised.AnswerAsync());
        using (var tooHigh = await PatchAsync(admin, $"/v1/projects/{tenant.Project}", new { quotas = new { maxPriority = 101 } })) Assert.Equal("422 validation_failed", await tooHigh.AnswerAsync());
        using (var allowed = await PatchAsync(admin, $"/v1/projects/{tenant.Project}", new { quotas = new { maxPriority = 10 } }))
            Assert.Equal(10, (await allowed.Content.ReadFromJsonAsync<ProjectView>(Ct))!.Quotas.MaxPriority);
        using (var raised = await PatchAsync(client, $"/v1/sandboxes/{low.Id}", new { priority = 10 })) Assert.Equal(HttpStatusCode.OK, raised.StatusCode);
        await EndAsync(client, node, low.Id);
    }

    [Fact]
    public async Task FreedDevice_GoesToTheProjectThatHasLess_NotToTheOneThatWaitsLonger()
    {
        await using var node = await service.NodeAsync();
        using var many = service.ClientOf((await service.TenantAsync("has-many")).Secret);
        using var none = service.ClientOf((await service.TenantAsync("has-none")).Secret);
        var (a, b) = ((await CreateAsync(many, Asks("a"))).Id, (await CreateAsync(many, Asks("b"))).Id);
        await PlacedAsync(many, a);
        await PlacedAsync(many, b);
        var longer = (await CreateAsync(many, Asks("c"))).Id;
        await RefusedAsync(many, longer, "NoFreeDevice");
        var later = (await CreateAsync(none, Asks("d"))).Id;
        await RefusedAsync(none, later, "NoFreeDevice");
        await node.SyncAsync();
        await node.SayAsync(a, VmState.Running);
        await EndAsync(many, node, a);
        await PlacedAsync(none, later);
        Assert.Equal(Phase.Pending, (await many.FindAsync(longer))!.Phase);
        await EndAsync(many, node, b, longer);
        await EndAsync(none, node, later);
    }

    /// <summary>Two replicas may have decided by the same picture.</summary>
    [Fact]
    public async Task Store_OfWhatAnotherHasTakenMeanwhile_StoresNothing()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        // Nobody else places them.
        var ids = new List<Guid>();
        foreach (var name in (string[])["big-1", "big-2", "edu-1", "edu-2"])
            ids.Add((await CreateAsync(client, new { name, image = "guest", vcpus = name[0] == 'b' ? 40 : 1, node = "nowhere", accelerators = name[0] == 'b' ? [] : new[] { new { @class = "edu", count = 1 } } })).Id);
        await using var db = Migrations.Database.Open(service.ConnectionString);
        var waiting = (await FleetReading.ReadWaitingAsync(db, FleetReading.Waiting(db), Ct)).ToDictionary(q => q.Waiting.Id, q => q.Waiting);
        var picture = (await FleetReading.ReadFleetAsync(db, Ct)).Single();
        Task PlaceAsync(params Guid[] placed) => PlacementStore.PlaceAsync(db, [.. placed.Select(id => new PlacementRound.Decision(waiting[id],
            new Placement.Placed(picture, [.. picture.FreeDevices.Take(waiting[id].Request.Accelerators.Count)])))], TimeProvider.System.GetUtcNow(), Ct);
        await PlaceAsync(ids[0], ids[2]);
        foreach (var late in (Guid[][])[[ids[1]], [ids[3]], [ids[0]]])
            await Assert.ThrowsAsync<DbUpdateConcurrencyException>(() => PlaceAsync(late));
        Assert.Equal([Phase.Scheduled, Phase.Pending, Phase.Scheduled, Phase.Pending], await Task.WhenAll(ids.Select(async id => (await client.FindAsync(id))!.Phase)));
        (await client.PostAsync($"/v1/nodes/{picture.Id}/cordon", null, Ct)).EnsureSuccessStatusCode().Dispose();
        await EndAsync(client, node, ids[2]);
        await Assert.ThrowsAsync<DbUpdateConcurrencyException>(() => PlaceAsync(ids[3]));
        (await client.PostAsync($"/v1/nodes/{picture.Id}/uncordon", null, Ct)).EnsureSuccessStatusCode().Dispose();
        await PlaceAsync(ids[3]);
        await EndAsync(client, node, ids[0], ids[1], ids[3]);
    }

    /// <summary>Each of two replicas has seen an empty node.</summary>
    [Fact]
    public async Task Store_BesideOneThatIsToLieApart_StoresNothing()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        var apart = new { apartFrom = new { part = "db" } };
        var ids = new List<Guid>();
        foreach (var name in (string[])["db-1", "db-2", "apart", "other"])
            ids.Add((await CreateAsync(client, new { name, image = "guest", node = "nowhere", labels = name[0] == 'd' ? new { part = "db" } : null, placement = name is "db-2" or "apart" ? apart : null })).Id);
        await using var db = Migrations.Database.Open(service.ConnectionString);
        var waiting = (await FleetReading.ReadWaitingAsync(db, FleetReading.Waiting(db), Ct)).ToDictionary(q => q.Waiting.Id, q => q.Waiting);
        var picture = (await FleetReading.ReadFleetAsync(db, Ct)).Single();
        Task PlaceAsync(Guid placed) => PlacementStore.PlaceAsync(db, [new PlacementRound.Decision(waiting[placed], new Placement.Placed(picture, []))], TimeProvider.System.GetUtcNow(), Ct);
        await PlaceAsync(ids[0]);
        await Assert.ThrowsAsync<DbUpdateConcurrencyException>(() => PlaceAsync(ids[1]));
        await Assert.ThrowsAsync<DbUpdateConcurrencyException>(() => PlaceAsync(ids[2]));
        await PlaceAsync(ids[3]);
        await EndAsync(client, node, ids[0]);
        // The other way round: it is there, and one that it keeps away comes.
        await PlaceAsync(ids[2]);
        await Assert.ThrowsAsync<DbUpdateConcurrencyException>(() => PlaceAsync(ids[1]));
        await EndAsync(client, node, [.. ids[1..]]);
    }

    [Fact]
    public async Task BigOne_ThatHasWaited_HasTheNodeKeptForIt()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        var small = (await CreateAsync(client, new { name = "small", image = "guest" })).Id;
        await PlacedAsync(client, small);
        var big = (await CreateAsync(client, new { name = "big", image = "guest", vcpus = 64 })).Id;
        await RefusedAsync(client, big, "NotEnoughVcpus");
        Assert.Null(await ReasonAsync(client, new { image = "guest" }));
        await service.ExecuteAsync($"UPDATE sandboxes SET queued_at = now() - interval '90 s' WHERE id = '{big}'");
        Assert.Equal("NodeReserved", await ReasonAsync(client, new { image = "guest" }));
        var kept = (await CreateAsync(client, new { name = "kept", image = "guest" })).Id;
        await RefusedAsync(client, kept, "NodeReserved");
        Assert.Equal("NodeReserved", (await client.GetFromJsonAsync<PlacementView>($"/v1/sandboxes/{kept}/placement", Ct))!.Refusals.Single().Reason);
        Assert.Equal("NotEnoughVcpus", (await client.GetFromJsonAsync<PlacementView>($"/v1/sandboxes/{big}/placement", Ct))!.Refusals.Single().Reason);
        Assert.Null(await ReasonAsync(client, new { image = "guest", priority = 1 }));
        await EndAsync(client, node, small);
        await PlacedAsync(client, big);
        await EndAsync(client, node, big);
        await PlacedAsync(client, kept);
        await EndAsync(client, node, kept);
    }

    [Fact]
    public async Task Rules_EachSayTheirReason_AndAreShown()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        object Edu(int count = 1, string? vendorId = null, string? deviceId = null, string? minVerdict = null, string numa = "any") =>
            new { image = "guest", accelerators = new[] { new { @class = "edu", count, vendorId, deviceId, minVerdict } }, placement = new { numa } };
        Assert.Null(await ReasonAsync(client, Edu(2, "1234", "11E8", "passthroughOnly")));
        Assert.Equal("NoDeviceOfThatKind", await ReasonAsync(client, Edu(vendorId: "10de")));
        Assert.Equal("NoDeviceOfThatKind", await ReasonAsync(client, Edu(deviceId: "0000")));
        Assert.Equal("VerdictTooLow", await ReasonAsync(client, Edu(minVerdict: "guestSvaPrefaultOnly")));
        Assert.Equal("NumaSplit", await ReasonAsync(client, Edu(numa: "required")));
        Assert.Null(await ReasonAsync(client, Edu(numa: "preferred")));
        await node.Connection.InvokeAsync(NodeProtocol.Inventory, new NodeInventory(TimeProvider.System.GetUtcNow(), [], [], [], [], [Function("edu-0", 0), Function("edu-1", 1)]), Ct);
        Assert.Null(await ReasonAsync(client, Edu(numa: "required")));
        Assert.Equal("NumaSplit", await ReasonAsync(client, Edu(2, numa: "required")));

        var web = new Dictionary<string, string> { ["app"] = "web" };
        var first = await CreateAsync(client, new { name = "web", image = "guest", labels = web, placement = new { strategy = "pack", apartFrom = web } });
        Assert.Equal((PlacementStrategy.Pack, NumaLocality.Any, "web"), (first.Placement!.Strategy, first.Placement.Numa, first.Placement.ApartFrom!["app"]));
        await PlacedAsync(client, first.Id);
        var apart = (await CreateAsync(client, new { name = "apart", image = "guest", labels = web })).Id;
        await RefusedAsync(client, apart, "AntiAffinity");
        var beside = (await CreateAsync(client, new { name = "beside", image = "guest", placement = new { with = new Dictionary<string, string> { ["app"] = "store" } } })).Id;
        await RefusedAsync(client, beside, "AffinityUnmet");
        // What is carried changes, and so does who may be beside it.
        using (var changed = await PatchAsync(client, $"/v1/sandboxes/{first.Id}", new { labels = new { app = "store" } })) Assert.Equal(HttpStatusCode.OK, changed.StatusCode);
        await PlacedAsync(client, beside);
        Assert.Equal("AntiAffinity", (await client.GetFromJsonAsync<PlacementView>($"/v1/sandboxes/{apart}/placement", Ct))!.Refusals.Single().Reason);
        await EndAsync(client, node, first.Id);
        await PlacedAsync(client, apart);
        await EndAsync(client, node, beside, apart);
    }

    private static FunctionFacts Function(string address, int numa) =>
        new(address, "1234", "11e8", "00ff00", null, null, null, numa, null, null, new(null, null, null, null, null, null, null, null), new(VerdictClass.PassthroughOnly, "Test", "A stand-in.", Origin.Emulated, []));

    [Theory]
    [InlineData("""{"accelerators":[{"class":"edu","vendorId":"12345"}]}""", "accelerators[0].vendorId")]
    [InlineData("""{"accelerators":[{"class":"edu","deviceId":"0x12"}]}""", "accelerators[0].deviceId")]
    [InlineData("""{"accelerators":[{"class":"edu","minVerdict":"hostSvaStall"}]}""", "accelerators[0].minVerdict")]
    [InlineData("""{"placement":{"with":{}}}""", "placement.with")]
    [InlineData("""{"placement":{"apartFrom":{"-":"x"}}}""", "placement.apartFrom")]
    [InlineData("""{"placement":{"with":{"a":"1","b":"1","c":"1","d":"1","e":"1","f":"1","g":"1","h":"1","i":"1"}}}""", "placement.with")]
    public async Task Placements_WithRulesThatAreNone_Are422AndNameTheField(string more, string field)
    {
        using var client = service.Client();
        using var content = new StringContent($$"""{"image":"guest",{{more[1..]}}""", Encoding.UTF8, "application/json");
        using var response = await client.PostAsync("/v1/placements", content, Ct);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, response.StatusCode);
        using var problem = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Ct));
        Assert.True(problem.RootElement.GetProperty("errors").TryGetProperty(field, out _));
    }
}
