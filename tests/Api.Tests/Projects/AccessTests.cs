using System.Net.Http.Json;
using System.Reflection;
using Api.Http;
using Api.Projects;
using Contracts;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Api.Tests.Projects;

/// <summary>Every endpoint of the running service against every kind of caller, by one table. An endpoint that is not in it fails the test.</summary>
public sealed class AccessTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private const string Open = "open", Node = "node", Join = "join";
    private const string Viewer = "Project:Viewer", Operator = "Project:Operator", Admin = "Project:Admin", ServiceViewer = "Service:Viewer", ServiceAdmin = "Service:Admin";

    /// <summary>Whom each endpoint takes, and what it answers to those when it is asked for a thing that nobody has, with an empty object as body.</summary>
    private static readonly Dictionary<string, (string Access, int Status)> Table = new()
    {
        ["GET /health"] = (Open, 200),
        ["POST /v1/session"] = (Open, 401),
        ["GET /v1/session"] = (Viewer, 200),
        ["DELETE /v1/session"] = (Viewer, 204),
        ["GET /v1/project"] = (Viewer, 200),
        ["GET /v1/projects"] = (ServiceAdmin, 200),
        ["POST /v1/projects"] = (ServiceAdmin, 422),
        ["GET /v1/projects/{id}"] = (ServiceAdmin, 404),
        ["PATCH /v1/projects/{id}"] = (ServiceAdmin, 404),
        ["DELETE /v1/projects/{id}"] = (ServiceAdmin, 404),
        ["POST /v1/projects/{id}/keys"] = (ServiceAdmin, 422),
        ["GET /v1/keys"] = (Admin, 200),
        ["POST /v1/keys"] = (Admin, 422),
        ["GET /v1/keys/{id}"] = (Admin, 404),
        ["POST /v1/keys/{id}/rotate"] = (Admin, 404),
        ["DELETE /v1/keys/{id}"] = (Admin, 404),
        ["GET /v1/sandboxes"] = (Viewer, 200),
        ["POST /v1/sandboxes"] = (Operator, 422),
        ["GET /v1/sandboxes/{id}"] = (Viewer, 404),
        ["PATCH /v1/sandboxes/{id}"] = (Operator, 404),
        ["DELETE /v1/sandboxes"] = (Operator, 422),
        ["DELETE /v1/sandboxes/{id}"] = (Operator, 404),
        ["POST /v1/sandboxes/{id}/start"] = (Operator, 404),
        ["POST /v1/sandboxes/{id}/stop"] = (Operator, 404),
        ["POST /v1/sandboxes/{id}/restart"] = (Operator, 404),
        ["GET /v1/sandboxes/{id}/placement"] = (Viewer, 404),
        ["POST /v1/placements"] = (Viewer, 422),
        ["PUT /v1/sandboxes/{id}/lease"] = (Operator, 422),
        ["DELETE /v1/sandboxes/{id}/lease"] = (Operator, 404),
        ["PUT /v1/sandboxes/{id}/storm-policy"] = (Operator, 422),
        ["DELETE /v1/sandboxes/{id}/storm-policy"] = (Operator, 404),
        ["POST /v1/sandboxes/{id}/exec"] = (Operator, 422),
        ["POST /v1/sandboxes/{id}/exec/{id}/signal"] = (Operator, 422),
        ["PUT /v1/sandboxes/{id}/files"] = (Operator, 422),
        ["GET /v1/sandboxes/{id}/files"] = (Operator, 422),
        ["GET /v1/sandboxes/{id}/ssh"] = (Operator, 400),
        ["GET /v1/sandboxes/{id}/faults"] = (Viewer, 404),
        ["GET /v1/events"] = (Viewer, 200),
        ["GET /v1/events/stream"] = (Viewer, 200),
        ["GET /v1/webhooks"] = (Operator, 200),
        ["POST /v1/webhooks"] = (Admin, 422),
        ["GET /v1/webhooks/{id}"] = (Operator, 404),
        ["PATCH /v1/webhooks/{id}"] = (Admin, 404),
        ["DELETE /v1/webhooks/{id}"] = (Admin, 404),
        ["POST /v1/webhooks/{id}/rotate-secret"] = (Admin, 404),
        ["POST /v1/webhooks/{id}/test"] = (Operator, 404),
        ["POST /v1/webhooks/{id}/redeliver"] = (Operator, 422),
        ["GET /v1/webhooks/{id}/deliveries"] = (Operator, 404),
        ["GET /v1/webhooks/{id}/deliveries/{id}"] = (Operator, 404),
        ["POST /v1/webhooks/{id}/deliveries/{id}/redeliver"] = (Operator, 404),
        ["GET /v1/audit"] = (Admin, 200),
        ["GET /v1/images"] = (Viewer, 200),
        ["POST /v1/images"] = (Operator, 422),
        ["GET /v1/images/{id}"] = (Viewer, 404),
        ["PUT /v1/images/{id}/files/{id}"] = (Operator, 404),
        ["DELETE /v1/images/{id}"] = (Operator, 404),
        ["GET /v1/nodes/images/files/{id}"] = (Node, 401),
        ["GET /v1/device-classes"] = (Viewer, 200),
        ["GET /metrics"] = (Viewer, 200),
        ["GET /v1/devices"] = (ServiceViewer, 200),
        ["POST /v1/devices/{id}/quarantine"] = (ServiceAdmin, 404),
        ["POST /v1/devices/{id}/release"] = (ServiceAdmin, 404),
        ["GET /v1/nodes"] = (ServiceViewer, 200),
        ["GET /v1/nodes/{id}"] = (ServiceViewer, 404),
        ["GET /v1/nodes/{id}/readiness"] = (ServiceViewer, 404),
        ["POST /v1/nodes/{id}/cordon"] = (ServiceAdmin, 404),
        ["POST /v1/nodes/{id}/uncordon"] = (ServiceAdmin, 404),
        ["POST /v1/nodes/{id}/drain"] = (ServiceAdmin, 404),
        ["DELETE /v1/nodes/{id}/drain"] = (ServiceAdmin, 404),
        ["POST /v1/nodes/{id}/maintenance"] = (ServiceAdmin, 404),
        ["DELETE /v1/nodes/{id}/maintenance"] = (ServiceAdmin, 404),
        ["POST /v1/nodes/{id}/credentials/rotate"] = (ServiceAdmin, 404),
        ["DELETE /v1/nodes/{id}/credentials"] = (ServiceAdmin, 404),
        ["DELETE /v1/nodes/{id}"] = (ServiceAdmin, 404),
        ["POST /v1/nodes/join-tokens"] = (ServiceAdmin, 422),
        ["POST /v1/nodes/join"] = (Join, 401),
        ["GET /hubs/dashboard"] = (Viewer, 400),
        ["POST /hubs/dashboard/negotiate"] = (Viewer, 200),
        ["GET /hubs/node"] = (Node, 401),
        ["POST /hubs/node/negotiate"] = (Node, 401),
        ["GET /openapi/v1.json"] = (Viewer, 200),
        ["GET /docs"] = (Viewer, 302),
    };

    private static string Text(RoutePatternPathSegment segment) => segment.Parts[0] switch
    {
        RoutePatternLiteralPart literal => literal.Content,
        RoutePatternParameterPart number when number.ParameterPolicies.Any(p => p.Content == "long") => "0",
        _ => Guid.Empty.ToString(),
    };

    private List<(string Key, RouteEndpoint Endpoint, string Path)> Endpoints() =>
        (from endpoint in service.Factory.Services.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>()
         from method in endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? [endpoint.RoutePattern.RawText!.EndsWith("negotiate", StringComparison.Ordinal) ? "POST" : "GET"]
         let segments = endpoint.RoutePattern.PathSegments.Select(s => s.Parts[0] is RoutePatternLiteralPart literal ? literal.Content : null).ToList()
         let docs = segments[0] is "docs"
         select (docs ? $"{method} /docs" : $"{method} /{string.Join('/', segments.Select(s => s ?? "{id}"))}", endpoint,
             docs ? "/docs" : $"/{string.Join('/', endpoint.RoutePattern.PathSegments.Select(Text))}")).Where(e => !e.Item1.StartsWith("OPTIONS", StringComparison.Ordinal)).ToList();

    [Fact]
    public void EveryEndpoint_SaysWhomItTakes()
    {
        var endpoints = Endpoints();
        Assert.Equal(Table.Keys.Order(StringComparer.Ordinal), endpoints.Select(e => e.Key).Distinct().Order(StringComparer.Ordinal));
        foreach (var (key, endpoint, _) in endpoints)
        {
            var expected = Table[key].Access;
            var declared = endpoint.Metadata.GetMetadata<Access>()?.Policy;
            if (expected is Open) Assert.NotNull(endpoint.Metadata.GetMetadata<IAllowAnonymous>());
            else if (expected is Node or Join) Assert.Equal(expected is Node ? Schemes.Node : Schemes.JoinToken, endpoint.Metadata.GetOrderedMetadata<IAuthorizeData>().Single().Policy);
            else Assert.Equal((key, expected), (key, declared));
        }
    }

    [Fact]
    public async Task Endpoint_ThatSaysNothing_IsRefusedToAll()
    {
        var services = service.Factory.Services;
        var admin = new Caller(Guid.NewGuid(), true, Role.Admin, "admin", Guid.NewGuid(), null, null).ToPrincipal(Schemes.ApiKey);
        var http = new DefaultHttpContext { RequestServices = services };
        http.SetEndpoint(new RouteEndpoint(_ => Task.CompletedTask, RoutePatternFactory.Parse("/v1/forgotten"), 0, EndpointMetadataCollection.Empty, null));
        var policies = services.GetRequiredService<IAuthorizationPolicyProvider>();
        foreach (var policy in (AuthorizationPolicy?[])[await policies.GetFallbackPolicyAsync(), await policies.GetDefaultPolicyAsync()])
            Assert.False((await services.GetRequiredService<IAuthorizationService>().AuthorizeAsync(admin, http, policy!)).Succeeded);
    }

    private static bool Allows(string access, Role role, bool operates) => access switch
    {
        Viewer => true,
        Operator => role >= Role.Operator,
        Admin => role == Role.Admin,
        ServiceViewer => operates,
        ServiceAdmin => operates && role == Role.Admin,
        _ => false,
    };

    [Fact]
    public async Task EveryEndpoint_AgainstEveryCaller_AnswersByTheTable()
    {
        var tenant = await service.TenantAsync("walks");
        using var operating = service.Client();
        using var foreign = service.ClientOf(tenant.Secret);
        var callers = new List<(string Name, string? Secret, Role? Role, bool Operates)> { ("nobody", null, null, false) };
        foreach (var (admin, operates) in new[] { (operating, true), (foreign, false) })
        {
            foreach (var role in Enum.GetValues<Role>())
                callers.Add(($"{role} {(operates ? "of the operating project" : "of another")}", (await admin.KeyAsync($"{role}", role)).Secret, role, operates));
            var expired = await admin.KeyAsync("expired", Role.Admin);
            await service.ExecuteAsync($"UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = '{expired.Key.Id}'");
            var revoked = await admin.KeyAsync("revoked", Role.Admin);
            (await admin.DeleteAsync($"/v1/keys/{revoked.Key.Id}")).EnsureSuccessStatusCode().Dispose();
            callers.AddRange([("expired", expired.Secret, null, operates), ("revoked", revoked.Secret, null, operates)]);
        }
        var wrong = new List<string>();
        foreach (var (name, secret, role, operates) in callers)
        {
            using var client = service.ClientOf(secret ?? "");
            if (secret is null) client.DefaultRequestHeaders.Authorization = null;
            foreach (var (key, _, path) in Endpoints().DistinctBy(e => e.Key))
            {
                var (access, status) = Table[key];
                var expected = access is Open or Node or Join ? status : role is null ? 401 : Allows(access, role.Value, operates) ? status : 403;
                using var request = new HttpRequestMessage(new HttpMethod(key.Split(' ')[0]), path.Contains("negotiate", StringComparison.Ordinal) ? path + "?negotiateVersion=1" : path);
                if (request.Method != HttpMethod.Get && request.Method != HttpMethod.Delete) request.Content = JsonContent.Create(new { });
                // A stream does not end.
                using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
                if ((int)response.StatusCode != expected) wrong.Add($"{name}: {key} answers {(int)response.StatusCode} instead of {expected}");
            }
        }
        Assert.Empty(wrong);
        Assert.Equal(11, callers.Count);
    }

    [Fact]
    public async Task AnothersThing_IsNotFound_WhateverIsDoneToIt()
    {
        await using var node = await service.NodeAsync();
        var tenant = await service.TenantAsync("others");
        using var operating = service.Client();
        using var foreign = service.ClientOf(tenant.Secret);
        foreach (var (own, other) in new[] { (operating, foreign), (foreign, operating) })
        {
            var sandbox = (await own.CreateAsync("mine")).Id;
            var key = (await own.KeyAsync("mine", Role.Viewer)).Key.Id;
            foreach (var (method, path) in new[]
            {
                ("GET", $"/v1/sandboxes/{sandbox}"), ("GET", $"/v1/sandboxes/{sandbox}/faults"), ("POST", $"/v1/sandboxes/{sandbox}/exec"), ("POST", $"/v1/sandboxes/{sandbox}/exec/{sandbox}/signal"), ("PUT", $"/v1/sandboxes/{sandbox}/files?path=/a"), ("GET", $"/v1/sandboxes/{sandbox}/files?path=/a"), ("POST", $"/v1/sandboxes/{sandbox}/start"), ("POST", $"/v1/sandboxes/{sandbox}/restart"),
                ("POST", $"/v1/sandboxes/{sandbox}/stop"), ("GET", $"/v1/sandboxes/{sandbox}/placement"), ("PUT", $"/v1/sandboxes/{sandbox}/lease"), ("DELETE", $"/v1/sandboxes/{sandbox}/lease"), ("PUT", $"/v1/sandboxes/{sandbox}/storm-policy"), ("DELETE", $"/v1/sandboxes/{sandbox}/storm-policy"), ("PATCH", $"/v1/sandboxes/{sandbox}"), ("DELETE", $"/v1/sandboxes/{sandbox}"), ("GET", $"/v1/keys/{key}"), ("POST", $"/v1/keys/{key}/rotate"), ("DELETE", $"/v1/keys/{key}"),
            })
            {
                using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = method switch { "PATCH" => JsonContent.Create(new { }), "PUT" when path.EndsWith("lease", StringComparison.Ordinal) => JsonContent.Create(new { ttlSeconds = 3600 }), "PUT" => JsonContent.Create(new { perSecond = 1 }), "POST" when path.EndsWith("exec", StringComparison.Ordinal) => JsonContent.Create(new { command = (string[])["true"] }), "POST" when path.EndsWith("signal", StringComparison.Ordinal) => JsonContent.Create(new { signal = "TERM" }), _ => null } };
                using var refused = await other.SendAsync(request);
                Assert.Equal((path, path.Contains("keys", StringComparison.Ordinal) ? "404 key_not_found" : "404 sandbox_not_found"), (path, await refused.AnswerAsync()));
            }
            Assert.DoesNotContain((await other.GetFromJsonAsync<Page<SandboxView>>("/v1/sandboxes"))!.Items, s => s.Id == sandbox);
            Assert.DoesNotContain((await other.GetFromJsonAsync<Page<KeyView>>("/v1/keys"))!.Items, k => k.Id == key);
            using var deleted = await own.DeleteAsync($"/v1/sandboxes/{sandbox}");
            Assert.True(deleted.IsSuccessStatusCode);
        }
    }

    [Fact]
    public void EveryMethodOfTheDashboardsHub_SaysTheRoleItTakes()
    {
        var methods = typeof(Dashboard.DashboardHub).GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)
            .Where(m => m.GetBaseDefinition().DeclaringType == typeof(Dashboard.DashboardHub)).ToDictionary(m => m.Name, m => m.GetCustomAttribute<RequiresAttribute>()?.Role);
        Assert.Equal(new Dictionary<string, Role?>
        {
            ["Events"] = Role.Viewer,
            ["Faults"] = Role.Viewer,
            ["Console"] = Role.Viewer,
            ["ConsoleAcquire"] = Role.Operator,
            ["ConsoleRelease"] = Role.Operator,
            ["ConsoleWrite"] = Role.Operator,
        }.OrderBy(m => m.Key), methods.OrderBy(m => m.Key));
    }

    [Fact]
    public async Task Images_NameTheirNodesOnlyToThoseWhoRunTheService()
    {
        await using var node = await service.NodeAsync();
        using var operating = service.Client();
        using var foreign = service.ClientOf((await service.TenantAsync("images")).Secret);
        Assert.Equal(["standin"], (await operating.GetFromJsonAsync<Page<ImageView>>("/v1/images"))!.Items.Single().Nodes);
        Assert.Null((await foreign.GetFromJsonAsync<Page<ImageView>>("/v1/images"))!.Items.Single().Nodes);
        Assert.Contains("sandbox_nodes{", await operating.GetStringAsync("/metrics"), StringComparison.Ordinal);
        Assert.DoesNotContain("sandbox_nodes{", await foreign.GetStringAsync("/metrics"), StringComparison.Ordinal);
    }
}
