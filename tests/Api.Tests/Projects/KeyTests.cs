using System.Net;
using System.Net.Http.Json;
using Api.Projects;
using Contracts;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.SignalR.Client;
using Testing;
using Xunit;

namespace Api.Tests.Projects;

public sealed class KeyTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private async Task<HttpStatusCode> TryAsync(string secret)
    {
        using var client = service.ClientOf(secret);
        using var response = await client.GetAsync("/v1/session");
        return response.StatusCode;
    }

    [Fact]
    public async Task Create_ShowsTheSecretOnce_AndItsPrefixAfterwards()
    {
        using var client = service.Client();
        var created = await client.KeyAsync("shown", Role.Operator);
        Assert.StartsWith(created.Key.Prefix!, created.Secret, StringComparison.Ordinal);
        Assert.Equal(12, created.Key.Prefix!.Length);
        var read = await client.GetStringAsync("/v1/keys");
        Assert.DoesNotContain(created.Secret, read, StringComparison.Ordinal);
        Assert.Contains(created.Key.Prefix, read, StringComparison.Ordinal);
        using var who = service.ClientOf(created.Secret);
        Assert.Equal(new SessionView("shown", "default", Role.Operator, true), await who.GetFromJsonAsync<SessionView>("/v1/session"));
    }

    [Fact]
    public async Task Rotate_WithOverlap_TakesBothSecretsUntilThen_AndWithoutOnlyTheNew()
    {
        using var client = service.Client();
        var first = await client.KeyAsync("rotated", Role.Viewer);
        using var rotated = await client.PostAsJsonAsync($"/v1/keys/{first.Key.Id}/rotate", new { overlapSeconds = 3600 });
        var second = (await rotated.Content.ReadFromJsonAsync<KeyCreated>())!;
        Assert.Equal((HttpStatusCode.OK, HttpStatusCode.OK), (await TryAsync(first.Secret), await TryAsync(second.Secret)));
        Assert.NotNull(second.Key.PreviousSecretUntil);
        await service.ExecuteAsync($"UPDATE api_keys SET previous_until = now() - interval '1 second' WHERE id = '{first.Key.Id}'");
        Assert.Equal((HttpStatusCode.Unauthorized, HttpStatusCode.OK), (await TryAsync(first.Secret), await TryAsync(second.Secret)));
        using var again = await client.PostAsync($"/v1/keys/{first.Key.Id}/rotate", null);
        var third = (await again.Content.ReadFromJsonAsync<KeyCreated>())!;
        Assert.Equal((HttpStatusCode.Unauthorized, HttpStatusCode.OK), (await TryAsync(second.Secret), await TryAsync(third.Secret)));
        Assert.Null(third.Key.PreviousSecretUntil);
        Assert.Equal(first.Key.Id, third.Key.Id);
    }

    [Fact]
    public async Task Expiry_CountsFromTheNextRequestOn()
    {
        using var client = service.Client();
        var key = await client.KeyAsync("expires", Role.Viewer, expiresAt: TimeProvider.System.GetUtcNow().AddHours(1));
        Assert.Equal(HttpStatusCode.OK, await TryAsync(key.Secret));
        await service.ExecuteAsync($"UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = '{key.Key.Id}'");
        Assert.Equal(HttpStatusCode.Unauthorized, await TryAsync(key.Secret));
    }

    [Fact]
    public async Task LastUsed_IsWrittenOnceAMinute()
    {
        using var client = service.Client();
        var key = await client.KeyAsync("used", Role.Viewer);
        Assert.Null(key.Key.LastUsedAt);
        async Task<DateTimeOffset?> LastAsync() => (await client.GetFromJsonAsync<KeyView>($"/v1/keys/{key.Key.Id}"))!.LastUsedAt;
        await TryAsync(key.Secret);
        var first = await LastAsync();
        Assert.NotNull(first);
        await TryAsync(key.Secret);
        Assert.Equal(first, await LastAsync());
        await service.ExecuteAsync($"UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds' WHERE id = '{key.Key.Id}'");
        await TryAsync(key.Secret);
        Assert.True(await LastAsync() >= first);
    }

    [Theory]
    [InlineData("{\"name\":\"\",\"role\":\"Viewer\"}", "422 validation_failed")]
    [InlineData("{\"name\":\"a\\u0007\",\"role\":\"Viewer\"}", "422 validation_failed")]
    [InlineData("{\"name\":\"a\"}", "422 validation_failed")]
    [InlineData("{\"name\":\"a\",\"role\":\"Root\"}", "400 invalid_request")]
    [InlineData("{\"name\":\"a\",\"role\":2}", "400 invalid_request")]
    [InlineData("{\"name\":\"a\",\"role\":\"Viewer\",\"expiresAt\":\"2020-01-01T00:00:00Z\"}", "422 validation_failed")]
    [InlineData("{\"name\":\"a\",\"role\":\"Viewer\",\"secret\":\"sbx_mine\"}", "400 invalid_request")]
    [InlineData("null", "400 invalid_request")]
    public async Task Create_WhenTheBodyIsWrong_IsRefused(string body, string answer)
    {
        using var client = service.Client();
        var before = await service.ScalarAsync("SELECT count(*) FROM api_keys");
        using var response = await client.PostAsync("/v1/keys", new StringContent(body, System.Text.Encoding.UTF8, "application/json"));
        Assert.Equal(answer, await response.AnswerAsync());
        Assert.Equal(before, await service.ScalarAsync("SELECT count(*) FROM api_keys"));
    }

    [Fact]
    public async Task Create_WhenNameIsTooLongOrOverlapTooLarge_Returns422()
    {
        using var client = service.Client();
        using var name = await client.PostAsJsonAsync("/v1/keys", new { name = new string('n', ProjectRules.MaxKeyName + 1), role = "Viewer" });
        Assert.Equal("422 validation_failed", await name.AnswerAsync());
        var key = await client.KeyAsync(new string('n', ProjectRules.MaxKeyName), Role.Viewer);
        foreach (var overlapSeconds in (int[])[-1, ProjectRules.MaxOverlapSeconds + 1])
        {
            using var rotated = await client.PostAsJsonAsync($"/v1/keys/{key.Key.Id}/rotate", new { overlapSeconds });
            Assert.Equal("422 validation_failed", await rotated.AnswerAsync());
        }
        Assert.Equal(HttpStatusCode.OK, await TryAsync(key.Secret));
    }

    [Fact]
    public async Task Create_WhenTheProjectHasTooMany_Returns409()
    {
        var tenant = await service.TenantAsync("manykeys");
        await service.ExecuteAsync($"INSERT INTO api_keys (id, project_id, name, role, secret_sha256, created_at, generation) SELECT gen_random_uuid(), '{tenant.Project}', 'many', 'Viewer', decode(md5('k' || n), 'hex'), now(), 1 FROM generate_series(1, {ProjectRules.MaxKeys - 2}) n");
        using var client = service.ClientOf(tenant.Secret);
        var answers = await Task.WhenAll(Enumerable.Range(0, 4).Select(async n =>
        {
            using var response = await client.PostAsJsonAsync("/v1/keys", new { name = $"last{n}", role = "Viewer" });
            return await response.AnswerAsync();
        }));
        Assert.Equal(["201", "409 too_many_keys", "409 too_many_keys", "409 too_many_keys"], answers.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Delete_OfTheLastAdminKey_IsRefused_AlsoWhenTwoDeleteEachOther()
    {
        var tenant = await service.TenantAsync("lastadmin");
        using var client = service.ClientOf(tenant.Secret);
        var own = (await client.GetFromJsonAsync<Page<KeyView>>("/v1/keys"))!.Items.Single().Id;
        using (var refused = await client.DeleteAsync($"/v1/keys/{own}")) Assert.Equal("409 last_admin_key", await refused.AnswerAsync());
        await client.KeyAsync("fades", Role.Admin, expiresAt: TimeProvider.System.GetUtcNow().AddDays(1));
        using (var refused = await client.DeleteAsync($"/v1/keys/{own}")) Assert.Equal("409 last_admin_key", await refused.AnswerAsync());
        var second = await client.KeyAsync("second", Role.Admin);
        using var other = service.ClientOf(second.Secret);
        var answers = await Task.WhenAll(new[] { (client, second.Key.Id), (other, own) }.Select(async d => { using var r = await d.Item1.DeleteAsync($"/v1/keys/{d.Item2}"); return (int)r.StatusCode; }));
        Assert.Single(answers, 204);
    }

    [Fact]
    public async Task Session_EndsWithSigningOut_WithItsKey_AndWithTheRotatedSecret()
    {
        using var admin = service.Client();
        async Task<(HttpClient Browser, string Cookie)> SignInAsync(string secret)
        {
            var browser = service.Factory.CreateClient(new WebApplicationFactoryClientOptions { HandleCookies = false });
            using var signedIn = await browser.PostAsJsonAsync("/v1/session", new { apiKey = secret });
            var cookie = Assert.Single(signedIn.EnsureSuccessStatusCode().Headers.GetValues("Set-Cookie")).Split(';')[0];
            browser.DefaultRequestHeaders.Add("Cookie", cookie);
            browser.DefaultRequestHeaders.Add("X-Sandbox-Request", "1");
            return (browser, cookie);
        }
        async Task<HttpStatusCode> StatusAsync(HttpClient browser) { using var r = await browser.GetAsync("/v1/session"); return r.StatusCode; }

        var key = await admin.KeyAsync("browser", Role.Viewer);
        var (first, _) = await SignInAsync(key.Secret);
        var (second, _) = await SignInAsync(key.Secret);
        (await first.DeleteAsync("/v1/session")).EnsureSuccessStatusCode().Dispose();
        // The browser's copy of the cookie is still sent: it is worth nothing.
        Assert.Equal((HttpStatusCode.Unauthorized, HttpStatusCode.OK), (await StatusAsync(first), await StatusAsync(second)));
        (await admin.PostAsync($"/v1/keys/{key.Key.Id}/rotate", null)).EnsureSuccessStatusCode().Dispose();
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(second));

        var other = await admin.KeyAsync("other", Role.Viewer);
        var (third, _) = await SignInAsync(other.Secret);
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(third));
        (await admin.DeleteAsync($"/v1/keys/{other.Key.Id}")).EnsureSuccessStatusCode().Dispose();
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(third));
        foreach (var browser in (HttpClient[])[first, second, third]) browser.Dispose();
    }

    [Fact]
    public async Task OpenConnection_EndsWithItsKey_AndAViewerMayNotType()
    {
        await using var node = await service.NodeAsync();
        using var admin = service.Client();
        var id = (await admin.CreateAsync("watched")).Id;
        var key = await admin.KeyAsync("watcher", Role.Viewer);
        await using var hub = new HubConnectionBuilder().WithUrl(new Uri(service.Factory.Server.BaseAddress, DashboardHubContract.Path), o =>
        {
            o.HttpMessageHandlerFactory = _ => service.Factory.Server.CreateHandler();
            o.Transports = HttpTransportType.LongPolling;
            o.AccessTokenProvider = () => Task.FromResult<string?>(key.Secret);
        }).Build();
        var ct = TestContext.Current.CancellationToken;
        await hub.StartAsync(ct);
        var frames = await hub.StreamAsChannelAsync<ConsoleFrame>("Console", id, 0L, ct);
        await frames.ReadAsync(ct);
        foreach (var (method, arguments) in new (string, object?[])[] { ("ConsoleAcquire", [id, false]), ("ConsoleWrite", [id, new byte[] { 1 }]), ("ConsoleRelease", [id]) })
            Assert.Contains("forbidden", (await Assert.ThrowsAsync<Microsoft.AspNetCore.SignalR.HubException>(() => hub.InvokeCoreAsync(method, typeof(object), arguments, ct))).Message, StringComparison.Ordinal);
        Assert.Equal(HubConnectionState.Connected, hub.State);
        (await admin.DeleteAsync($"/v1/keys/{key.Key.Id}")).EnsureSuccessStatusCode().Dispose();
        await Eventually.Async(() => hub.State == HubConnectionState.Disconnected, "the connection has ended");
        (await admin.DeleteAsync($"/v1/sandboxes/{id}")).EnsureSuccessStatusCode().Dispose();
    }
}
