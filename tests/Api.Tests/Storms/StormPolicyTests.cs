using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Contracts;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

namespace Api.Tests.Storms;

/// <summary>Storm policies as their users set them.</summary>
public sealed class StormPolicyTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    public static TheoryData<string, string[]> Refused => new()
    {
        { "{}", ["perSecond"] },
        { """{"perSecond":0}""", ["perSecond"] },
        { """{"perSecond":-1}""", ["perSecond"] },
        { """{"perSecond":0.00009}""", ["perSecond"] },
        { """{"perSecond":1000000001}""", ["perSecond"] },
        { """{"perSecond":1e999}""", ["perSecond"] },
        { """{"perSecond":1,"windowSeconds":4}""", ["windowSeconds"] },
        { """{"perSecond":1,"windowSeconds":3601}""", ["windowSeconds"] },
        { """{"perSecond":1,"source":"ats.hits"}""", ["source"] },
        { """{"perSecond":1,"source":""}""", ["source"] },
        { """{"windowSeconds":1,"source":"x"}""", ["perSecond", "windowSeconds", "source"] },
    };

    private static async Task<string[]> FieldsAsync(HttpResponseMessage response)
    {
        Assert.Equal((HttpStatusCode.UnprocessableEntity, "validation_failed"), (response.StatusCode, await response.CodeAsync()));
        using var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        return [.. json.RootElement.GetProperty("errors").EnumerateObject().Select(e => e.Name)];
    }

    private static StringContent Json(string text) => new(text, System.Text.Encoding.UTF8, "application/json");

    private static Task<HttpResponseMessage> PutAsync(HttpClient client, Guid id, string policy) => client.PutAsync($"/v1/sandboxes/{id}/storm-policy", Json(policy));

    private static async Task<string[]> ReasonsAsync(HttpClient client, Guid id) =>
        [.. (await client.GetFromJsonAsync<Page<EventView>>($"/v1/events?subject={id}&limit=1000"))!.Items.Where(e => e.Type == "sandbox.desiredChanged").Select(e => e.Reason)];

    [Fact]
    public async Task Policy_ThatQuarantines_IsForThoseWhoRunTheService()
    {
        await using var node = await service.NodeAsync();
        using var foreign = service.ClientOf((await service.TenantAsync("stormy")).Secret);
        const string quarantines = """{"perSecond":1,"action":"quarantine"}""";
        using (var response = await foreign.PostAsync("/v1/sandboxes", Json($$"""{"name":"stormy","image":"guest","faultStorm":{{quarantines}}}""")))
            Assert.Equal((HttpStatusCode.Forbidden, "forbidden"), (response.StatusCode, await response.CodeAsync()));
        var id = (await foreign.FindOrCreateAsync("stormy")).Id;
        using (var response = await PutAsync(foreign, id, quarantines))
            Assert.Equal((HttpStatusCode.Forbidden, "forbidden"), (response.StatusCode, await response.CodeAsync()));
        using (var response = await PutAsync(foreign, id, """{"perSecond":1,"action":"stop"}"""))
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task Policy_OverALimit_Returns422(string policy, string[] fields)
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        using (var response = await client.PostAsync("/v1/sandboxes", Json($$"""{"name":"limits","image":"guest","faultStorm":{{policy}}}""")))
            Assert.Equal(fields.Select(f => $"faultStorm.{f}"), await FieldsAsync(response));
        var id = (await client.FindOrCreateAsync("target")).Id;
        using (var response = await PutAsync(client, id, policy))
            Assert.Equal(fields, await FieldsAsync(response));
        Assert.Null((await client.FindAsync(id))!.FaultStorm);
    }

    [Theory]
    [InlineData("""{"perSecond":"many"}""")]
    [InlineData("""{"perSecond":1,"action":"explode"}""")]
    [InlineData("""{"perSecond":1,"extra":1}""")]
    [InlineData("null")]
    [InlineData("")]
    public async Task Put_OfWhatIsNoPolicy_Returns400(string body)
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        using var response = await PutAsync(client, (await client.FindOrCreateAsync("target")).Id, body);
        Assert.Equal((HttpStatusCode.BadRequest, "invalid_request"), (response.StatusCode, await response.CodeAsync()));
    }

    [Fact]
    public async Task Create_WithTheRateOnly_TakesTheDefaults()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        using var response = await client.PostAsync("/v1/sandboxes", Json("""{"name":"defaults","image":"guest","faultStorm":{"perSecond":0.5}}"""));
        var view = (await response.Content.ReadFromJsonAsync<SandboxView>())!;
        Assert.Equal(new StormPolicy(0.5, 30, StormAction.None, null), view.FaultStorm);
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == view.Id && s.FaultStorm == view.FaultStorm), "the node has it");
        Assert.Null((await client.FindOrCreateAsync("target")).FaultStorm);
    }

    [Fact]
    public async Task Put_OnALivingSandbox_ReachesItsNodeWithoutANewStart_AndDeleteTakesItBack()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        var id = (await client.CreateAsync("living")).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned");
        await node.SayAsync(id, VmState.Running);
        var (spec, asked) = (JsonSerializer.Serialize(node.Plan.Sandboxes.Single(s => s.Id == id).Spec), 0);
        using var nudged = node.Connection.On(NodeProtocol.PlanChanged, () => Interlocked.Increment(ref asked));
        for (var i = 0; i < 2; i++)
            using (var response = await PutAsync(client, id, """{"perSecond":250,"windowSeconds":60,"action":"quarantine","source":"io.pageFaults"}"""))
                Assert.Equal(new StormPolicy(250, 60, StormAction.Quarantine, FaultSource.IoPageFaults), (await response.Content.ReadFromJsonAsync<SandboxView>())!.FaultStorm);
        await Eventually.Async(() => Volatile.Read(ref asked) > 0, "the node is told");
        var planned = (await node.SyncAsync()).Sandboxes.Single(s => s.Id == id);
        Assert.Equal((1, 250.0, spec), (planned.Incarnation, planned.FaultStorm!.PerSecond, JsonSerializer.Serialize(planned.Spec)));
        await node.SayStormAsync(id, ConditionStatus.False, "NoFaultStorm");
        for (var i = 0; i < 2; i++)
            using (var response = await client.DeleteAsync($"/v1/sandboxes/{id}/storm-policy"))
                Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        // The node may not know yet.
        await node.SyncAsync();
        var view = (await client.FindAsync(id))!;
        Assert.Equal((Phase.Running, null), (view.Phase, view.FaultStorm));
        Assert.DoesNotContain(view.Conditions, c => c.Type == ConditionType.FaultStorm);
        Assert.Null(node.Plan.Sandboxes.Single(s => s.Id == id).FaultStorm);
        Assert.Equal(["StormPolicySet", "StormPolicyRemoved"], await ReasonsAsync(client, id));
    }

    [Fact]
    public void Page_OffersEverySource()
    {
        var contracts = File.ReadAllText(Path.Combine(Surroundings.Repository, "web", "src", "contracts.ts"));
        var offered = contracts[contracts.IndexOf("stormSources", StringComparison.Ordinal)..].Split(']')[1].Split('"').Where(part => part.Contains('.', StringComparison.Ordinal));
        Assert.Equal(StormSources.All, offered);
    }

    [Theory]
    [InlineData("PUT")]
    [InlineData("DELETE")]
    public async Task Policy_OfASandboxThatIsNotThere_Returns404(string method)
    {
        using var client = service.Client();
        using var request = new HttpRequestMessage(new HttpMethod(method), $"/v1/sandboxes/{Guid.NewGuid()}/storm-policy") { Content = method == "PUT" ? Json("""{"perSecond":1}""") : null };
        using var response = await client.SendAsync(request);
        Assert.Equal((HttpStatusCode.NotFound, "sandbox_not_found"), (response.StatusCode, await response.CodeAsync()));
    }

    [Fact]
    public async Task Put_OnASandboxThatIsBeingDeleted_Returns409()
    {
        await using var node = await service.NodeAsync();
        using var client = service.Client();
        var id = (await client.CreateAsync("leaving")).Id;
        await Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == id), "it is planned");
        (await client.DeleteAsync($"/v1/sandboxes/{id}")).Dispose();
        using var response = await PutAsync(client, id, """{"perSecond":1}""");
        Assert.Equal((HttpStatusCode.Conflict, "being_deleted"), (response.StatusCode, await response.CodeAsync()));
    }
}

internal static class StormCalls
{
    public static async Task<SandboxView> FindOrCreateAsync(this HttpClient client, string name) =>
        (await client.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes?limit=1000"))!.Items.FirstOrDefault(s => s.Name == name) ?? await client.CreateAsync(name);
}
