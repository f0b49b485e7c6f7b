using System.Net;
using System.Net.Http.Json;
using Contracts;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.Routing;
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

    [Fact]
    public async Task Secrets_AreStoredOnlyAsHashes()
    {
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM api_keys k WHERE k::text LIKE '%{service.AdminKey[4..]}%'"));
        Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM nodes n WHERE n::text LIKE '%{service.NodeToken[4..]}%'"));
        Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM api_keys"));
    }
}
