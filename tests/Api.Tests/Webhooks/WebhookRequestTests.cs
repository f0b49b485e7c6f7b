using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Api.Webhooks;
using Contracts;
using Xunit;

namespace Api.Tests.Webhooks;

/// <summary>What the endpoints take, refuse and show.</summary>
public sealed class WebhookRequestTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("""{}""", "url")]
    [InlineData("""{"url": "ftp://example.com/"}""", "url")]
    [InlineData("""{"url": "http://192.168.0.1/"}""", "url")]
    [InlineData("""{"url": "https://example.com/", "types": ["sandbox.craeted"]}""", "types")]
    [InlineData("""{"url": "https://example.com/", "types": [null]}""", "types")]
    [InlineData("""{"url": "https://example.com/", "labels": {"": "x"}}""", "labels")]
    [InlineData("""{"url": "https://example.com/", "secret": "whsec_AAAA"}""", "secret")]
    [InlineData("""{"url": "https://example.com/", "description": "a\u0000b"}""", "description")]
    public async Task Create_WithABadField_Returns422NamingIt(string body, string field)
    {
        await using var bench = await WebhookBench.StartAsync(service);
        using var response = await bench.Client.PostAsync("/v1/webhooks", new StringContent(body, System.Text.Encoding.UTF8, "application/json"), Ct);
        Assert.Equal((HttpStatusCode)422, response.StatusCode);
        Assert.True((await response.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("errors").TryGetProperty(field, out _), await response.Content.ReadAsStringAsync(Ct));
    }

    [Fact]
    public async Task Create_BeyondTheLimit_Returns409_AndDeleteMakesRoom()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        var answers = await Task.WhenAll(Enumerable.Range(0, WebhookSettings.MaxEndpoints + 5).Select(async _ =>
        {
            using var response = await bench.Client.PostAsJsonAsync("/v1/webhooks", new { url = "https://example.com/" }, Ct);
            return response.StatusCode;
        }));
        Assert.Equal((WebhookSettings.MaxEndpoints, 5), (answers.Count(a => a == HttpStatusCode.Created), answers.Count(a => a == HttpStatusCode.Conflict)));
        var all = (await bench.Client.GetFromJsonAsync<Page<WebhookView>>("/v1/webhooks", Ct))!.Items;
        Assert.Equal(WebhookSettings.MaxEndpoints, all.Count);
        using var deleted = await bench.Client.DeleteAsync($"/v1/webhooks/{all[0].Id}", Ct);
        Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
        await bench.CreateAsync("https://example.com/");
    }

    [Fact]
    public async Task Endpoint_OfAnotherProject_IsNotFound()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        var id = (await bench.CreateAsync("https://example.com/", new { enabled = false })).Webhook.Id;
        using var stranger = service.Client(bench.Replica);
        foreach (var (method, path, body) in ((string, string, object?)[])[
            ("GET", "", null), ("PATCH", "", new { enabled = true }), ("DELETE", "", null), ("POST", "/rotate-secret", new { }), ("POST", "/test", null), ("POST", "/redeliver", new { since = DateTimeOffset.UnixEpoch }),
            ("GET", "/deliveries", null), ("GET", "/deliveries/1", null), ("POST", "/deliveries/1/redeliver", null)])
        {
            using var request = new HttpRequestMessage(new HttpMethod(method), $"/v1/webhooks/{id}{path}") { Content = body is null ? null : JsonContent.Create(body) };
            using var response = await stranger.SendAsync(request, Ct);
            Assert.Equal((HttpStatusCode.NotFound, "webhook_not_found"), (response.StatusCode, await response.CodeAsync()));
        }
        Assert.DoesNotContain((await stranger.GetFromJsonAsync<Page<WebhookView>>("/v1/webhooks", Ct))!.Items, w => w.Id == id);
        var view = await bench.ViewAsync(id);
        Assert.Equal((false, "DisabledByUser"), (view.Enabled, view.Disabled!.Reason));
    }

    [Fact]
    public async Task Secret_IsShownOnceOnly_AndStoredProtected()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        var created = await bench.CreateAsync("https://example.com/");
        Assert.DoesNotContain(created.Secret, await bench.Client.GetStringAsync($"/v1/webhooks/{created.Webhook.Id}", Ct), StringComparison.Ordinal);
        Assert.Equal(0, await bench.ScalarAsync($"SELECT count(*) FROM webhook_endpoints w WHERE w::text LIKE '%{created.Secret["whsec_".Length..20]}%'"));
    }

    [Theory]
    [InlineData("rotate-secret", """{"overlapSeconds": 604801}""", "overlapSeconds")]
    [InlineData("rotate-secret", """{"secret": "x"}""", "secret")]
    [InlineData("redeliver", """{}""", "since")]
    public async Task Post_WithABadField_Returns422(string verb, string body, string field)
    {
        await using var bench = await WebhookBench.StartAsync(service);
        var id = (await bench.CreateAsync("https://example.com/", new { enabled = false })).Webhook.Id;
        using var response = await bench.Client.PostAsync($"/v1/webhooks/{id}/{verb}", new StringContent(body, System.Text.Encoding.UTF8, "application/json"), Ct);
        Assert.Equal((HttpStatusCode)422, response.StatusCode);
        Assert.Contains($"\"{field}\"", await response.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("?state=done")]
    [InlineData("?limit=1001")]
    [InlineData("?since=1")]
    public async Task Deliveries_WithABadParameter_Returns422(string query)
    {
        await using var bench = await WebhookBench.StartAsync(service);
        var id = (await bench.CreateAsync("https://example.com/", new { enabled = false })).Webhook.Id;
        using var response = await bench.Client.GetAsync($"/v1/webhooks/{id}/deliveries{query}", Ct);
        Assert.Equal((HttpStatusCode)422, response.StatusCode);
    }

    [Fact]
    public async Task Deliveries_PageByPage_GiveEachOnce_NewestFirst()
    {
        await using var bench = await WebhookBench.StartAsync(service);
        await using var receiver = await WebhookReceiver.StartAsync();
        var id = (await bench.CreateAsync(receiver.Url)).Webhook.Id;
        await bench.HappenAsync([.. Enumerable.Range(0, 5).Select(_ => Guid.NewGuid())]);
        await Testing.Eventually.Async(async () => (await bench.DeliveriesAsync(id)).Count == 5, "all are made", TimeSpan.FromSeconds(30));
        var read = new List<long>();
        for (var next = ""; next is not null;)
        {
            var page = (await bench.Client.GetFromJsonAsync<Page<WebhookDeliveryView>>($"/v1/webhooks/{id}/deliveries?limit=2{next}", Ct))!;
            read.AddRange(page.Items.Select(d => d.Number));
            next = page.Next is { } cursor ? $"&after={cursor}" : null;
        }
        Assert.Equal([5, 4, 3, 2, 1], read);
        using var none = await bench.Client.PostAsync($"/v1/webhooks/{id}/deliveries/6/redeliver", null, Ct);
        Assert.Equal("delivery_not_found", await none.CodeAsync());
    }
}
