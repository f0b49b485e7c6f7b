using System.Net;
using System.Net.Http.Json;
using Contracts;
using Microsoft.AspNetCore.Http.Connections;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.SignalR;
using Microsoft.AspNetCore.SignalR.Client;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Api.Tests;

public sealed class AuthTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    [Fact]
    public async Task EveryEndpoint_WithoutKey_Answers401()
    {
        using var client = service.Factory.CreateClient(new WebApplicationFactoryClientOptions { AllowAutoRedirect = false });
        var endpoints = service.Factory.Services.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>().ToList();
        var open = new List<string>();
        foreach (var endpoint in endpoints)
        {
            var path = "/" + string.Join('/', endpoint.RoutePattern.PathSegments.Select(s => s.IsSimple && s.Parts[0] is Microsoft.AspNetCore.Routing.Patterns.RoutePatternLiteralPart l ? l.Content : Guid.Empty.ToString()));
            foreach (var method in endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["GET"])
            {
                using var request = new HttpRequestMessage(new HttpMethod(method), path);
                if (method == "POST") request.Content = JsonContent.Create(new { });
                using var response = await client.SendAsync(request);
                if (response.StatusCode != HttpStatusCode.Unauthorized) open.Add($"{method} {path} {(int)response.StatusCode}");
            }
        }
        Assert.True(endpoints.Count > 20);
        Assert.Equal(["GET /health 200"], open);
    }

    [Theory]
    [InlineData("")]
    [InlineData("Bearer ")]
    [InlineData("Bearer sbx_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    [InlineData("Basic c2J4XzpzYng=")]
    public async Task Get_WhenKeyIsWrong_Returns401(string header)
    {
        using var client = service.Factory.CreateClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/sandboxes");
        request.Headers.TryAddWithoutValidation("Authorization", header);
        using var response = await client.SendAsync(request);
        Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
        Assert.Equal("unauthenticated", await response.CodeAsync());
    }

    [Fact]
    public async Task Hubs_TakeOnlyTheirOwnKindOfSecret()
    {
        foreach (var (hub, secret) in new[] { (NodeProtocol.HubPath, service.AdminKey), (DashboardHubContract.Path, service.NodeToken) })
        {
            using var client = service.Factory.CreateClient();
            client.DefaultRequestHeaders.Authorization = new("Bearer", secret);
            using var response = await client.PostAsync($"{hub}/negotiate?negotiateVersion=1", null);
            Assert.Equal(HttpStatusCode.Unauthorized, response.StatusCode);
        }
    }

    [Fact]
    public async Task Cookie_SignsInAndNeedsTheHeaderToChangeAnything()
    {
        using var client = service.Factory.CreateClient(new WebApplicationFactoryClientOptions { HandleCookies = true });
        using var signedIn = await client.PostAsJsonAsync("/v1/session", new { apiKey = service.AdminKey });
        var cookie = Assert.Single(signedIn.Headers.GetValues("Set-Cookie"));
        Assert.Contains("httponly", cookie, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("samesite=strict", cookie, StringComparison.OrdinalIgnoreCase);
        Assert.Equal("admin", (await client.GetFromJsonAsync<SessionView>("/v1/session"))!.KeyName);
        using var refused = await client.DeleteAsync($"/v1/sandboxes/{Guid.Empty}");
        Assert.Equal("request_header_missing", await refused.CodeAsync());
        client.DefaultRequestHeaders.Add("X-Sandbox-Request", "1");
        using var allowed = await client.DeleteAsync($"/v1/sandboxes/{Guid.Empty}");
        Assert.Equal(HttpStatusCode.NotFound, allowed.StatusCode);
    }

    [Theory]
    [InlineData("http://localhost", true)]
    [InlineData("http://localhost:5173", false)]
    [InlineData("http://evil.localhost", false)]
    [InlineData("null", false)]
    public async Task Cookie_FromAPageOfAnotherOrigin_IsRefusedOnHubsToo(string origin, bool allowed)
    {
        using var client = service.Factory.CreateClient(new WebApplicationFactoryClientOptions { HandleCookies = true });
        (await client.PostAsJsonAsync("/v1/session", new { apiKey = service.AdminKey })).EnsureSuccessStatusCode().Dispose();
        client.DefaultRequestHeaders.Add("Origin", origin);
        using var negotiated = await client.PostAsync($"{DashboardHubContract.Path}/negotiate?negotiateVersion=1", null);
        Assert.Equal(allowed ? HttpStatusCode.OK : HttpStatusCode.Forbidden, negotiated.StatusCode);
        using var read = await client.GetAsync("/v1/nodes");
        Assert.Equal(allowed ? HttpStatusCode.OK : HttpStatusCode.Forbidden, read.StatusCode);
    }

    [Fact]
    public async Task Hub_WhenAConnectionOpensTooManyStreams_RefusesTheRest()
    {
        using var client = service.Client();
        await using var node = await service.NodeAsync();
        var id = (await client.CreateAsync("streamed")).Id;
        await using var hub = new HubConnectionBuilder().WithUrl(new Uri(service.Factory.Server.BaseAddress, DashboardHubContract.Path), o =>
        {
            o.HttpMessageHandlerFactory = _ => service.Factory.Server.CreateHandler();
            o.Transports = HttpTransportType.LongPolling;
            o.AccessTokenProvider = () => Task.FromResult<string?>(service.AdminKey);
        }).Build();
        var ct = TestContext.Current.CancellationToken;
        await hub.StartAsync(ct);
        var open = new List<System.Threading.Channels.ChannelReader<ConsoleFrame>>();
        for (var stream = 0; stream < Dashboard.DashboardHub.MaxStreams; stream++)
            open.Add(await hub.StreamAsChannelAsync<ConsoleFrame>("Console", id, 0L, ct));
        foreach (var reader in open)
            await reader.ReadAsync(ct);
        var refused = await hub.StreamAsChannelAsync<ConsoleFrame>("Console", id, 0L, ct);
        var error = await Assert.ThrowsAsync<HubException>(async () => await refused.Completion);
        Assert.Contains("too_many_streams", error.Message, StringComparison.Ordinal);
        (await client.DeleteAsync($"/v1/sandboxes/{id}")).EnsureSuccessStatusCode().Dispose();
    }

    [Fact]
    public async Task Secrets_AreStoredOnlyAsHashes()
    {
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM api_keys k WHERE k::text LIKE '%{service.AdminKey[4..]}%'"));
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM nodes n WHERE n::text LIKE '%{service.NodeToken[4..]}%'"));
        Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM api_keys"));
    }
}
