using System.Net.Http.Json;
using Api.Audit;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Routing;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;
using Xunit;

namespace Api.Tests.Projects;

public sealed class AuditTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private static async Task<IReadOnlyList<AuditEntryView>> ReadAsync(HttpClient client, string query = "")
    {
        var entries = new List<AuditEntryView>();
        string? next = "0";
        while (next is not null)
        {
            var page = (await client.GetFromJsonAsync<Page<AuditEntryView>>($"/v1/audit?limit=100&after={next}{query}"))!;
            entries.AddRange(page.Items);
            next = page.Next;
        }
        return entries;
    }

    private static async Task UseGuestAsync(StandInNode node, HttpClient admin, Func<string, string, object?, string, Task> doAsync)
    {
        var used = (await admin.CreateAsync("used")).Id;
        await Testing.Eventually.Async(async () => (await node.SyncAsync()).Sandboxes.Any(s => s.Id == used), "it is placed");
        await node.SayAsync(used, VmState.Running);
        // A command ends by its signal, a file with its last byte.
        Guid? exec = null;
        var guest = new Guests.StandInGuest(node, (guest, asked) =>
        {
            if (asked.Step is SessionOpen { Request: ExecRequest }) exec = asked.Session;
            return asked.Step switch
            {
                SessionInput { Data.Length: 0 } when asked.Session == exec => Task.CompletedTask,
                SessionSignal => guest.SayAsync(asked, new SessionEnded(SessionReasons.Done, Signal: 15)),
                _ => Guests.StandInGuest.Echo(guest, asked),
            };
        });
        var running = doAsync("/v1/sandboxes/{id}/exec", $"/v1/sandboxes/{used}/exec", new { command = (string[])["sleep", "1000"] }, "POST");
        await Testing.Eventually.Async(() => guest.Asked.Any(a => a.Step is SessionInput), "it runs");
        await doAsync("/v1/sandboxes/{id}/exec/{execId}/signal", $"/v1/sandboxes/{used}/exec/{exec}/signal", new { signal = "TERM" }, "POST");
        await running;
        await doAsync("/v1/sandboxes/{id}/files", $"/v1/sandboxes/{used}/files?path=/tmp/told", new { any = "content" }, "PUT");
        (await admin.DeleteAsync($"/v1/sandboxes/{used}")).Dispose();
    }

    /// <summary>Each endpoint that changes something, done once: whichever is added later has to be done here too.</summary>
    [Fact]
    public async Task EveryChange_IsToldWithItsActorAndItsContent()
    {
        await using var node = await service.NodeAsync();
        using var admin = service.Client();
        var done = new List<string>();
        async Task<T> DoAsync<T>(string route, string path, object? body = null, string method = "POST")
        {
            done.Add($"{method} {route}");
            using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = body is null ? null : JsonContent.Create(body) };
            if (method == "PATCH") request.Headers.IfMatch.ParseAdd("*");
            using var response = await admin.SendAsync(request);
            Assert.True(response.IsSuccessStatusCode, $"{path}: {await response.Content.ReadAsStringAsync()}");
            return typeof(T) == typeof(string) ? (T)(object)"" : (await response.Content.ReadFromJsonAsync<T>())!;
        }
        var project = await DoAsync<ProjectView>("/v1/projects", "/v1/projects", new { name = "told" });
        await DoAsync<ProjectView>("/v1/projects/{id}", $"/v1/projects/{project.Id}", new { quotas = new { maxVcpus = 5 } }, "PATCH");
        await DoAsync<KeyCreated>("/v1/projects/{id}/keys", $"/v1/projects/{project.Id}/keys", new { name = "first", role = "Admin" });
        await DoAsync<string>("/v1/projects/{id}", $"/v1/projects/{project.Id}", method: "DELETE");
        var key = await DoAsync<KeyCreated>("/v1/keys", "/v1/keys", new { name = "told", role = "Viewer" });
        var rotated = await DoAsync<KeyCreated>("/v1/keys/{id}/rotate", $"/v1/keys/{key.Key.Id}/rotate");
        await DoAsync<string>("/v1/keys/{id}", $"/v1/keys/{key.Key.Id}", method: "DELETE");
        var sandbox = await DoAsync<SandboxView>("/v1/sandboxes", "/v1/sandboxes", new { name = "told", image = "guest", node = "nowhere", userData = "#!/bin/secret", labels = new { told = "yes" } });
        await DoAsync<SandboxView>("/v1/sandboxes/{id}", $"/v1/sandboxes/{sandbox.Id}", new { labels = new { more = "1" } }, "PATCH");
        await DoAsync<SandboxView>("/v1/sandboxes/{id}/storm-policy", $"/v1/sandboxes/{sandbox.Id}/storm-policy", new { perSecond = 12 }, "PUT");
        await DoAsync<SandboxView>("/v1/sandboxes/{id}/storm-policy", $"/v1/sandboxes/{sandbox.Id}/storm-policy", method: "DELETE");
        await DoAsync<SandboxView>("/v1/sandboxes/{id}/lease", $"/v1/sandboxes/{sandbox.Id}/lease", new { ttlSeconds = 3600 }, "PUT");
        await DoAsync<SandboxView>("/v1/sandboxes/{id}/lease", $"/v1/sandboxes/{sandbox.Id}/lease", method: "DELETE");
        await DoAsync<SandboxView>("/v1/sandboxes/{id}/stop", $"/v1/sandboxes/{sandbox.Id}/stop");
        await DoAsync<SandboxView>("/v1/sandboxes/{id}/start", $"/v1/sandboxes/{sandbox.Id}/start");
        await DoAsync<string>("/v1/sandboxes/{id}/stop", $"/v1/sandboxes/{sandbox.Id}/stop");
        await DoAsync<string>("/v1/sandboxes/{id}/restart", $"/v1/sandboxes/{sandbox.Id}/restart");
        await DoAsync<string>("/v1/sandboxes/{id}", $"/v1/sandboxes/{sandbox.Id}", method: "DELETE");
        await UseGuestAsync(node, admin, (route, path, body, method) => DoAsync<string>(route, path, body, method));
        await DoAsync<SandboxView>("/v1/sandboxes", "/v1/sandboxes", new { name = "told2", image = "guest", node = "nowhere", labels = new { told = "yes" } });
        Assert.Equal(1, (await DoAsync<SandboxesDeleted>("/v1/sandboxes", "/v1/sandboxes?label=told=yes", method: "DELETE")).Deleted);
        var device = (await admin.DevicesAsync())[0].Id;
        await DoAsync<DeviceView>("/v1/devices/{id}/quarantine", $"/v1/devices/{device}/quarantine", new { message = "for the log" });
        await DoAsync<DeviceView>("/v1/devices/{id}/release", $"/v1/devices/{device}/release");
        var host = (await admin.GetFromJsonAsync<Page<NodeView>>("/v1/nodes"))!.Items[0].Id;
        await DoAsync<NodeView>("/v1/nodes/{id}/cordon", $"/v1/nodes/{host}/cordon");
        await DoAsync<NodeView>("/v1/nodes/{id}/uncordon", $"/v1/nodes/{host}/uncordon");
        await DoAsync<NodeView>("/v1/nodes/{id}/drain", $"/v1/nodes/{host}/drain");
        await DoAsync<NodeView>("/v1/nodes/{id}/drain", $"/v1/nodes/{host}/drain", method: "DELETE");
        await DoAsync<NodeView>("/v1/nodes/{id}/maintenance", $"/v1/nodes/{host}/maintenance", new { drain = new { deadlineSeconds = 0 } });
        await DoAsync<NodeView>("/v1/nodes/{id}/maintenance", $"/v1/nodes/{host}/maintenance", method: "DELETE");
        await DoAsync<NodeView>("/v1/nodes/{id}/credentials/rotate", $"/v1/nodes/{host}/credentials/rotate");
        await using var passing = (await NodeLife.NodeCalls.JoinAsync(service, "toldgone", service.Factory)).Node;
        var gone = (await admin.GetFromJsonAsync<Page<NodeView>>("/v1/nodes?name=toldgone"))!.Items.Single().Id;
        await DoAsync<NodeView>("/v1/nodes/{id}/credentials", $"/v1/nodes/{gone}/credentials", method: "DELETE");
        await DoAsync<string>("/v1/nodes/{id}", $"/v1/nodes/{gone}", method: "DELETE");
        var webhook = await DoAsync<WebhookCreated>("/v1/webhooks", "/v1/webhooks", new { url = "https://hooks.example/told" });
        var at = $"/v1/webhooks/{webhook.Webhook.Id}";
        await DoAsync<WebhookView>("/v1/webhooks/{id}", at, new { description = "told" }, "PATCH");
        var another = await DoAsync<WebhookSecretView>("/v1/webhooks/{id}/rotate-secret", $"{at}/rotate-secret");
        var delivery = await DoAsync<WebhookDeliveryView>("/v1/webhooks/{id}/test", $"{at}/test");
        await DoAsync<string>("/v1/webhooks/{id}/deliveries/{number}/redeliver", $"{at}/deliveries/{delivery.Number}/redeliver");
        await DoAsync<string>("/v1/webhooks/{id}/redeliver", $"{at}/redeliver", new { since = TimeProvider.System.GetUtcNow().AddHours(1) });
        await DoAsync<string>("/v1/webhooks/{id}", at, method: "DELETE");
        var image = (await DoAsync<ImageView>("/v1/images", "/v1/images", Images.ImageCalls.OfKernel("told", "{\"any\":\"content\"}"u8.ToArray()))).Id;
        await DoAsync<ImageView>("/v1/images/{id}/files/{role}", $"/v1/images/{image}/files/kernel", new { any = "content" }, "PUT");
        await DoAsync<string>("/v1/images/{id}", $"/v1/images/{image}", method: "DELETE");
        var token = await DoAsync<JoinTokenView>("/v1/nodes/join-tokens", "/v1/nodes/join-tokens", new { name = "toldnode" });

        var changing = service.Factory.Services.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>().Where(e => e.Metadata.GetMetadata<Access>() is not null)
            .SelectMany(e => (e.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? []).Where(m => m is not ("GET" or "OPTIONS")).Select(m => $"{m} {e.RoutePattern.RawText!.Replace(":guid", "", StringComparison.Ordinal).Replace(":long", "", StringComparison.Ordinal).TrimEnd('/')}"))
            .Where(a => !a.Contains("/hubs/", StringComparison.Ordinal)).ToHashSet();
        // Signing out changes something only for whoever has signed in: Session_IsTold does.
        changing.Remove("DELETE /v1/session");
        // Asks, and changes nothing.
        changing.Remove("POST /v1/placements");
        Assert.Equal(changing.Order(StringComparer.Ordinal), done.Distinct().Order(StringComparer.Ordinal));

        var own = (await admin.GetFromJsonAsync<Page<KeyView>>("/v1/keys"))!.Items[0];
        var told = await ReadAsync(admin, $"&actor={own.Id}");
        Assert.Superset(changing, told.Select(e => e.Action).ToHashSet());
        Assert.All(told, e => Assert.Equal(("admin", own.Id.ToString()), (e.ActorName, e.ActorId)));
        Assert.Equal(told.Select(e => e.Id).Order(), told.Select(e => e.Id));

        var patched = told.Single(e => e.Action == "PATCH /v1/sandboxes/{id}");
        Assert.Equal(("sandbox", sandbox.Id.ToString(), "told"), (patched.SubjectType, patched.SubjectId, patched.SubjectName));
        Assert.Equal("{\"told\":\"yes\"}", patched.Before!["labels"]!.ToJsonString());
        Assert.Equal("{\"more\":\"1\",\"told\":\"yes\"}", patched.After!["labels"]!.ToJsonString());
        Assert.Equal(12, (double?)told.Single(e => e.Action == "PUT /v1/sandboxes/{id}/storm-policy").After!["faultStorm"]!["perSecond"]);
        Assert.Null(told.First(e => e.Action == "POST /v1/sandboxes").Before);
        Assert.Null(told.Single(e => e.Action == "DELETE /v1/keys/{id}").After);
        var quota = told.Single(e => e.Action == "PATCH /v1/projects/{id}");
        Assert.Equal((null, 5), ((int?)quota.Before!["quotas"]!["maxVcpus"], (int?)quota.After!["quotas"]!["maxVcpus"]));

        // Nothing that must not be read.
        foreach (var secret in (string[])[key.Secret[12..], rotated.Secret[12..], webhook.Secret[6..], another.Secret[6..], token.Token[4..], "#!/bin/secret"])
            Assert.Equal(0, await service.ScalarAsync($"SELECT count(*) FROM audit_entries a WHERE a::text LIKE '%{secret}%'"));
        // Filters.
        Assert.Equal(told.Count(e => e.SubjectId == sandbox.Id.ToString()), (await ReadAsync(admin, $"&subject={sandbox.Id}")).Count);
        Assert.Equal(["POST /v1/keys"], (await ReadAsync(admin, "&action=" + Uri.EscapeDataString("POST /v1/keys"))).Select(e => e.Action).Distinct());
        Assert.Empty(await ReadAsync(admin, "&from=2100-01-01T00:00:00Z"));
        Assert.Empty(await ReadAsync(admin, "&to=2000-01-01T00:00:00Z"));
    }

    [Fact]
    public async Task Refusals_Readers_AndNodes_AreNotTold()
    {
        using var admin = service.Client();
        await using var node = await service.NodeAsync();
        await admin.KeyAsync("quiet", Role.Viewer);
        var before = await service.ScalarAsync("SELECT count(*) FROM audit_entries");
        (await admin.GetAsync("/v1/sandboxes")).Dispose();
        (await admin.PostAsJsonAsync("/v1/sandboxes", new { name = "No" })).Dispose();
        (await admin.PostAsJsonAsync("/v1/projects", new { name = "default" })).Dispose();
        (await admin.DeleteAsync($"/v1/keys/{Guid.NewGuid()}")).Dispose();
        await node.SyncAsync();
        Assert.Equal(before, await service.ScalarAsync("SELECT count(*) FROM audit_entries"));
    }

    [Fact]
    public async Task Session_IsTold_AndAProjectReadsOnlyItsOwn()
    {
        var tenant = await service.TenantAsync("reads");
        using var client = service.ClientOf(tenant.Secret);
        using var browser = service.Factory.CreateClient();
        (await browser.PostAsJsonAsync("/v1/session", new { apiKey = tenant.Secret })).EnsureSuccessStatusCode().Dispose();
        browser.DefaultRequestHeaders.Add("X-Sandbox-Request", "1");
        (await browser.DeleteAsync("/v1/session")).EnsureSuccessStatusCode().Dispose();
        var told = await ReadAsync(client);
        Assert.Equal(["POST /v1/session", "DELETE /v1/session"], told.Select(e => e.Action));
        Assert.All(told, e => Assert.Equal(("session", "admin"), (e.SubjectType, e.ActorName)));
    }

    [Fact]
    public async Task Join_IsToldAsItsTokens()
    {
        using var admin = service.Client();
        using var created = await admin.PostAsJsonAsync("/v1/nodes/join-tokens", new { name = "joinstold" });
        using var machine = service.ClientOf((await created.Content.ReadFromJsonAsync<JoinTokenView>())!.Token);
        (await machine.PostAsJsonAsync("/v1/nodes/join", new { installation = Guid.NewGuid() })).EnsureSuccessStatusCode().Dispose();
        var told = (await ReadAsync(admin)).Where(e => e.Action == "POST /v1/nodes/join" && e.SubjectName == "joinstold").ToList();
        Assert.Equal(["joinToken", "node"], told.Select(e => e.SubjectType).Order(StringComparer.Ordinal));
        Assert.All(told, e => Assert.StartsWith("joinToken:", e.ActorId, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("UPDATE audit_entries SET actor_name = 'nobody'")]
    [InlineData("DELETE FROM audit_entries")]
    [InlineData("TRUNCATE audit_entries")]
    public async Task Entries_CannotBeChangedOrRemoved(string sql)
    {
        using var admin = service.Client();
        await admin.KeyAsync("stays", Role.Viewer);
        var refused = await Assert.ThrowsAsync<PostgresException>(() => service.ExecuteAsync(sql));
        Assert.Contains("append-only", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void EveryEntity_HasAViewOrIsNotTold()
    {
        using var db = Migrations.Database.Open(service.ConnectionString);
        Assert.DoesNotContain(db.Model.GetEntityTypes().Select(e => e.ClrType), t => AuditViews.Knows(t) == AuditViews.NotTold.Contains(t));
    }

    [Theory]
    [InlineData("after=-1")]
    [InlineData("limit=0")]
    [InlineData("actor=")]
    [InlineData("subject=%07")]
    [InlineData("colour=red")]
    public async Task List_WhenTheQueryIsWrong_Returns422(string query)
    {
        using var admin = service.Client();
        using var refused = await admin.GetAsync($"/v1/audit?{query}");
        Assert.Equal("422 validation_failed", await refused.AnswerAsync());
    }
}
