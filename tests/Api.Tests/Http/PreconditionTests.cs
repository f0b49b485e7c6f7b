using System.Net;
using System.Net.Http.Json;
using Contracts;
using Xunit;

namespace Api.Tests.Http;

public sealed class PreconditionTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();
    public ValueTask DisposeAsync() => _node!.DisposeAsync();

    private static async Task<(string Answer, string? ETag)> SendAsync(HttpClient client, string method, string path, object? body, string? match)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = body is null ? null : JsonContent.Create(body) };
        if (match is not null) request.Headers.TryAddWithoutValidation("If-Match", match);
        using var response = await client.SendAsync(request);
        return (await response.AnswerAsync(), response.Headers.ETag?.Tag);
    }

    [Fact]
    public async Task Patch_OfASandbox_NeedsThePresentVersion()
    {
        using var client = service.Client();
        using var created = await client.PostAsJsonAsync("/v1/sandboxes", new { name = "versions", image = "guest", node = "nowhere", labels = new { a = "1", b = "2" } });
        var path = $"/v1/sandboxes/{(await created.Content.ReadFromJsonAsync<SandboxView>())!.Id}";
        // Its scheduler refuses it, which is another version.
        await Testing.Eventually.Async(async () => (await client.GetFromJsonAsync<SandboxView>(path))!.Conditions.Count > 0, "it was refused");
        var read = (await SendAsync(client, "GET", path, null, null)).ETag;
        Assert.NotNull(read);
        Assert.Equal("428 precondition_required", (await SendAsync(client, "PATCH", path, new { labels = new { a = "9" } }, null)).Answer);
        foreach (var wrong in (string[])["\"1\"", $"W/{read}", "garbage"]) Assert.Equal((wrong, "412 precondition_failed"), (wrong, (await SendAsync(client, "PATCH", path, new { labels = new { a = "9" } }, wrong)).Answer));
        var patched = await SendAsync(client, "PATCH", path, new { labels = new Dictionary<string, string?> { ["a"] = null, ["c"] = "3" } }, $"\"0\", {read}");
        Assert.Equal("200", patched.Answer);
        Assert.NotEqual(read, patched.ETag);
        Assert.Equal("412 precondition_failed", (await SendAsync(client, "PATCH", path, new { labels = new { a = "9" } }, read)).Answer);
        Assert.Equal("412 precondition_failed", (await SendAsync(client, "DELETE", path, null, read)).Answer);
        Assert.Equal("412 precondition_failed", (await SendAsync(client, "POST", path + "/stop", null, read)).Answer);
        var view = (await client.GetFromJsonAsync<SandboxView>(path))!;
        Assert.Equal(new Dictionary<string, string> { ["b"] = "2", ["c"] = "3" }.OrderBy(l => l.Key), view.Labels.OrderBy(l => l.Key));
        Assert.Equal((DesiredState.Running, patched.ETag), (view.Desired, (await SendAsync(client, "GET", path, null, null)).ETag));
        Assert.Equal(1, await service.ScalarAsync($"SELECT count(*) FROM events WHERE subject_id = '{view.Id}' AND type = 'sandbox.labelsChanged'"));
        Assert.Equal("200", (await SendAsync(client, "PATCH", path, new { labels = (object?)null }, "*")).Answer);
        Assert.Empty((await client.GetFromJsonAsync<SandboxView>(path))!.Labels);
        var stopped = await SendAsync(client, "POST", path + "/stop", null, (await SendAsync(client, "GET", path, null, null)).ETag);
        Assert.Equal("202", stopped.Answer);
        Assert.Equal("204", (await SendAsync(client, "DELETE", path, null, stopped.ETag)).Answer);
        Assert.Equal("404 sandbox_not_found", (await SendAsync(client, "PATCH", path, new { }, "*")).Answer);
    }

    [Theory]
    [InlineData("{\"labels\":{\"a b\":\"v\"}}", "422 validation_failed")]
    [InlineData("{\"labels\":{\"k\":1}}", "400 invalid_request")]
    [InlineData("{\"labels\":[]}", "400 invalid_request")]
    [InlineData("{\"labels\":{},\"labels\":{}}", "400 invalid_request")]
    [InlineData("[]", "400 invalid_request")]
    [InlineData("{\"name\":\"other\"}", "400 invalid_request")]
    [InlineData("null", "400 invalid_request")]
    [InlineData("{}", "200")]
    public async Task Patch_TakesLabelsOnly(string body, string answer)
    {
        using var client = service.Client();
        var id = (await client.CreateAsync($"patch{Guid.NewGuid():N}"[..20])).Id;
        using var request = new HttpRequestMessage(HttpMethod.Patch, $"/v1/sandboxes/{id}") { Content = new StringContent(body, System.Text.Encoding.UTF8, "application/json") };
        request.Headers.IfMatch.ParseAdd("*");
        using var response = await client.SendAsync(request);
        Assert.Equal(answer, await response.AnswerAsync());
    }

    [Fact]
    public async Task Patch_WhenThereWouldBeTooManyLabels_Returns422()
    {
        using var client = service.Client();
        var path = $"/v1/sandboxes/{(await client.CreateAsync("manylabels")).Id}";
        Assert.Equal("200", (await SendAsync(client, "PATCH", path, new { labels = Enumerable.Range(0, 32).ToDictionary(n => $"k{n}", _ => "v") }, "*")).Answer);
        Assert.Equal("422 validation_failed", (await SendAsync(client, "PATCH", path, new { labels = new { more = "v" } }, "*")).Answer);
    }

    [Fact]
    public async Task KeysAndProjects_HaveVersions_ThatUseDoesNotChange()
    {
        using var client = service.Client();
        var key = await client.KeyAsync("versioned", Role.Viewer);
        var path = $"/v1/keys/{key.Key.Id}";
        var read = (await SendAsync(client, "GET", path, null, null)).ETag;
        using (var used = service.ClientOf(key.Secret)) (await used.GetAsync("/v1/session")).EnsureSuccessStatusCode().Dispose();
        var rotated = await SendAsync(client, "POST", path + "/rotate", null, read);
        Assert.Equal("200", rotated.Answer);
        Assert.Equal("412 precondition_failed", (await SendAsync(client, "POST", path + "/rotate", null, read)).Answer);
        Assert.Equal("412 precondition_failed", (await SendAsync(client, "DELETE", path, null, read)).Answer);
        Assert.Equal("204", (await SendAsync(client, "DELETE", path, null, rotated.ETag)).Answer);

        var project = $"/v1/projects/{(await service.TenantAsync("versioned")).Project}";
        var version = (await SendAsync(client, "GET", project, null, null)).ETag;
        Assert.Equal("428 precondition_required", (await SendAsync(client, "PATCH", project, new { quotas = new { maxVcpus = 1 } }, null)).Answer);
        var changed = await SendAsync(client, "PATCH", project, new { quotas = new { maxVcpus = 1 } }, version);
        Assert.Equal("200", changed.Answer);
        Assert.Equal("412 precondition_failed", (await SendAsync(client, "PATCH", project, new { quotas = new { maxVcpus = 2 } }, version)).Answer);
        Assert.Equal("412 precondition_failed", (await SendAsync(client, "DELETE", project, null, version)).Answer);
        Assert.Equal("204", (await SendAsync(client, "DELETE", project, null, changed.ETag)).Answer);
    }
}
