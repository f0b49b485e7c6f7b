using System.Net;
using System.Text;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>Whatever is wrong with a request: a clear refusal, and nothing changed.</summary>
public sealed class BadInputTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync();
    public ValueTask DisposeAsync() => _node!.DisposeAsync();

    private static string Body(string field, string value) => field is "name" or "image"
        ? $$"""{"name":"ok","image":"guest","{{field}}x":0}""".Replace($"\"{field}\":\"{(field == "name" ? "ok" : "guest")}\"", $"\"{field}\":{value}", StringComparison.Ordinal).Replace($",\"{field}x\":0", "", StringComparison.Ordinal)
        : $$"""{"name":"ok","image":"guest","{{field}}":{{value}}}""";

    public static TheoryData<string, string, int, string> Fields()
    {
        var data = new TheoryData<string, string, int, string>();
        void Invalid(string field, params string[] values) { foreach (var v in values) data.Add(field, v, 422, "validation_failed"); }
        void Unreadable(string field, params string[] values) { foreach (var v in values) data.Add(field, v, 400, "invalid_request"); }
        Invalid("name", "null", "\"\"", "\"Upper\"", "\"-a\"", "\"a-\"", "\"a b\"", "\"../etc\"", "\"a\\n\"", "\"ä\"", $"\"{new string('a', 64)}\"");
        Unreadable("name", "5", "{}", "[\"a\"]");
        Invalid("image", "null", "\"../guest\"", "\"\"", "\"GUEST\"");
        data.Add("image", "\"nowhere\"", 422, "image_not_found");
        Invalid("vcpus", "0", "-1", "65");
        Unreadable("vcpus", "\"2\"", "1.5", "99999999999");
        Invalid("memoryMib", "127", "-512", "1048577");
        Unreadable("memoryMib", "\"512\"", "true");
        Invalid("accelerators", "[{}]", "[{\"class\":\"edu\",\"count\":0}]", "[{\"class\":\"edu\",\"count\":9}]", "[{\"class\":\"../x\"}]", "[null]",
            "[{\"class\":\"edu\"},{\"class\":\"edu\"}]", "[{\"class\":\"edu\",\"count\":5},{\"class\":\"nvme\",\"count\":4}]",
            $"[{string.Join(',', Enumerable.Range(0, 9).Select(i => $"{{\"class\":\"c{i}\"}}"))}]");
        Unreadable("accelerators", "\"edu\"", "[{\"class\":\"edu\",\"speed\":1}]", "{}");
        data.Add("accelerators", "[{\"class\":\"gpu\"}]", 422, "device_class_not_found");
        Unreadable("viommu", "\"smmuv2\"", "[]", "0", "99", "\"1\"", "\"Smmuv3,Virtio\"");
        Invalid("lease", "{}", "{\"ttlSeconds\":59}", "{\"ttlSeconds\":31536001}");
        Unreadable("lease", "60", "{\"ttl\":60}", "{\"ttlSeconds\":60,\"onExpiry\":\"explode\"}", "{\"ttlSeconds\":60,\"onExpiry\":1}");
        Invalid("labels", "{\"\":\"v\"}", "{\"a b\":\"v\"}", "{\"k\":null}", "{\"k\":\"a\\u0000b\"}", $"{{\"k\":\"{new string('v', 256)}\"}}",
            $"{{{string.Join(',', Enumerable.Range(0, 33).Select(i => $"\"k{i}\":\"v\""))}}}");
        Unreadable("labels", "{\"k\":1}", "[]");
        Invalid("userData", "\"a\\u0000b\"", $"\"{new string('x', 16385)}\"");
        Unreadable("userData", "{}");
        Invalid("sshKeys", "[\"not a key\"]", "[\"ssh-ed25519 A\"]", "[\"ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==\"]", "[null]", "[\"ssh-ed25519 AAAA\\nssh-rsa BBBB\"]", $"[{string.Join(',', Enumerable.Repeat("\"ssh-ed25519 AAAA\"", 17))}]");
        Unreadable("sshKeys", "\"ssh-ed25519 AAAA\"");
        Unreadable("vmm", "\"xen\"", "1", "[]");
        Invalid("node", "\"\"", "\"Upper\"", "\"../x\"", $"\"{new string('a', 64)}\"");
        Unreadable("node", "5");
        Unreadable("colour", "1");
        return data;
    }

    [Theory]
    [MemberData(nameof(Fields))]
    public async Task Create_WhenFieldIsWrong_IsRefusedAndNothingChanges(string field, string value, int status, string code)
    {
        using var client = service.Client();
        var (rows, events) = await CountAsync();
        using var response = await client.PostAsync("/v1/sandboxes", Json(Body(field, value)));
        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal(code, await response.CodeAsync());
        Assert.Equal((rows, events), await CountAsync());
    }

    [Fact]
    public async Task Numbers_ThatAreNotWhole_AreRefusedWithWhatIsTaken()
    {
        using var client = service.Client();
        foreach (var value in (string[])["1.5", "1e1"])
        {
            using var body = await client.PostAsync("/v1/sandboxes", Json(Body("vcpus", value)));
            Assert.Contains("a whole number", await body.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            using var parameter = await client.GetAsync($"/v1/sandboxes?limit={value}");
            Assert.Contains("limit does not take that value: it takes a whole number", await parameter.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
        using var wait = await client.GetAsync($"/v1/sandboxes/{Guid.NewGuid()}?waitFor=running");
        Assert.Equal(HttpStatusCode.NotFound, wait.StatusCode);
    }

    public static TheoryData<string, string, string, int, string> Requests() => new()
    {
        { "POST", "/v1/sandboxes", "", 400, "invalid_request" },
        { "POST", "/v1/sandboxes", "null", 400, "invalid_request" },
        { "POST", "/v1/sandboxes", "[]", 400, "invalid_request" },
        { "POST", "/v1/sandboxes", "{\"name\":", 400, "invalid_request" },
        { "POST", "/v1/sandboxes", "{\"name\":\"a\",\"name\":\"b\",\"image\":\"guest\"}", 400, "invalid_request" },
        { "POST", "/v1/sandboxes", "{\"name\":\"a\",\"image\":\"guest\"} trailing", 400, "invalid_request" },
        { "POST", "/v1/session", "{\"apiKey\":\"sbx_wrong\"}", 401, "unknown_key" },
        { "POST", "/v1/session", "{}", 401, "unknown_key" },
        { "PUT", "/v1/sandboxes", "{}", 405, "method_not_allowed" },
        { "GET", "/v1/sandboxes?limit=0", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes?limit=1001", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes?limit=many", "", 400, "invalid_request" },
        { "GET", "/v1/sandboxes?node=Upper", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes?after=x", "", 400, "invalid_request" },
        { "GET", "/v1/sandboxes?phase=Flying", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes?phase=4", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes?fase=Running", "", 422, "validation_failed" },
        { "GET", "/v1/devices?limit=0", "", 422, "validation_failed" },
        { "GET", "/v1/nodes?offset=1", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes?label=novalue", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes?label=a%00b%3Dc", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes?class=%27--", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes/not-a-guid", "", 404, "not_found" },
        { "GET", "/v1/sandboxes/01a20ad6-bd6b-782f-8210-a147f21b09cb", "", 404, "sandbox_not_found" },
        { "GET", "/v1/sandboxes/01a20ad6-bd6b-782f-8210-a147f21b09cb?waitFor=Flying", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes/01a20ad6-bd6b-782f-8210-a147f21b09cb?timeoutSeconds=61", "", 422, "validation_failed" },
        { "GET", "/v1/sandboxes/01a20ad6-bd6b-782f-8210-a147f21b09cb/faults", "", 404, "sandbox_not_found" },
        { "POST", "/v1/sandboxes/01a20ad6-bd6b-782f-8210-a147f21b09cb/start", "", 404, "sandbox_not_found" },
        { "POST", "/v1/sandboxes/01a20ad6-bd6b-782f-8210-a147f21b09cb/stop", "", 404, "sandbox_not_found" },
        { "POST", "/v1/sandboxes/01a20ad6-bd6b-782f-8210-a147f21b09cb/restart", "", 404, "sandbox_not_found" },
        { "DELETE", "/v1/sandboxes/01a20ad6-bd6b-782f-8210-a147f21b09cb", "", 404, "sandbox_not_found" },
        { "GET", "/v1/nodes/01a20ad6-bd6b-782f-8210-a147f21b09cb", "", 404, "node_not_found" },
        { "GET", "/v1/nodes/01a20ad6-bd6b-782f-8210-a147f21b09cb/readiness", "", 404, "node_not_found" },
        { "POST", "/v1/nodes/join-tokens", "null", 400, "invalid_request" },
        { "POST", "/v1/nodes/join-tokens", "{}", 422, "validation_failed" },
        { "POST", "/v1/nodes/join-tokens", "{\"name\":\"Upper\"}", 422, "validation_failed" },
        { "POST", "/v1/nodes/join-tokens", $"{{\"name\":\"{new string('a', 64)}\"}}", 422, "validation_failed" },
        { "POST", "/v1/nodes/join-tokens", "{\"name\":\"n\",\"ttlSeconds\":59}", 422, "validation_failed" },
        { "POST", "/v1/nodes/join-tokens", "{\"name\":\"n\",\"ttlSeconds\":86401}", 422, "validation_failed" },
        { "POST", "/v1/nodes/join-tokens", "{\"name\":\"n\",\"replace\":\"yes\"}", 400, "invalid_request" },
        { "POST", "/v1/devices/01a20ad6-bd6b-782f-8210-a147f21b09cb/quarantine", "{}", 404, "device_not_found" },
        { "POST", "/v1/devices/01a20ad6-bd6b-782f-8210-a147f21b09cb/quarantine", "{\"reason\":\"x\"}", 400, "invalid_request" },
        { "POST", "/v1/devices/01a20ad6-bd6b-782f-8210-a147f21b09cb/quarantine", $"{{\"message\":\"{new string('x', 501)}\"}}", 422, "validation_failed" },
        { "POST", "/v1/devices/01a20ad6-bd6b-782f-8210-a147f21b09cb/quarantine", "{\"message\":\"a\\u0000b\"}", 422, "validation_failed" },
        { "POST", "/v1/devices/01a20ad6-bd6b-782f-8210-a147f21b09cb/release", "", 404, "device_not_found" },
        { "GET", "/v1/events?after=-1", "", 422, "validation_failed" },
        { "GET", "/v1/events?limit=0", "", 422, "validation_failed" },
        { "GET", "/v1/elsewhere", "", 404, "not_found" },
    };

    [Theory]
    [MemberData(nameof(Requests))]
    public async Task Request_WhenWrong_IsRefusedAndNothingChanges(string method, string path, string body, int status, string code)
    {
        using var client = service.Client();
        var before = await CountAsync();
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (method is "POST" or "PUT") request.Content = Json(body);
        using var response = await client.SendAsync(request);
        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal(code, await response.CodeAsync());
        Assert.Equal(before, await CountAsync());
    }

    [Theory]
    [InlineData("application/x-www-form-urlencoded")]
    [InlineData("text/plain")]
    [InlineData(null)]
    public async Task Create_WhenContentIsNotJson_Returns415(string? type)
    {
        using var client = service.Client();
        using var content = new ByteArrayContent("name=a"u8.ToArray());
        if (type is not null) content.Headers.TryAddWithoutValidation("Content-Type", type);
        using var response = await client.PostAsync("/v1/sandboxes", content);
        Assert.Equal(HttpStatusCode.UnsupportedMediaType, response.StatusCode);
        Assert.Equal("unsupported_media_type", await response.CodeAsync());
    }

    [Theory]
    [InlineData("/health", HttpStatusCode.OK)]
    [InlineData("/v1/nodes", HttpStatusCode.OK)]
    [InlineData("/v1/elsewhere", HttpStatusCode.NotFound)]
    public async Task Head_AnswersAsGetWithoutABody(string path, HttpStatusCode status)
    {
        using var client = service.Client();
        using var response = await client.SendAsync(new HttpRequestMessage(HttpMethod.Head, path));
        Assert.Equal(status, response.StatusCode);
        Assert.Empty(await response.Content.ReadAsByteArrayAsync());
    }

    [Theory]
    [InlineData("/v1/sandboxes")]
    [InlineData("/v1/session")]
    public async Task Post_WhenCharsetIsNotUtf8_Returns415(string path)
    {
        using var client = service.Client();
        using var content = new ByteArrayContent("{}"u8.ToArray());
        content.Headers.TryAddWithoutValidation("Content-Type", "application/json; charset=bogus");
        using var response = await client.PostAsync(path, content);
        Assert.Equal((HttpStatusCode.UnsupportedMediaType, "unsupported_media_type"), (response.StatusCode, await response.CodeAsync()));
    }

    [Fact]
    public async Task Create_WhenNameIsTaken_Returns409AndOneStays()
    {
        using var client = service.Client();
        await client.CreateAsync("taken");
        using var response = await client.PostAsync("/v1/sandboxes", Json("""{"name":"taken","image":"guest"}"""));
        Assert.Equal("name_taken", await response.CodeAsync());
        Assert.Equal(1, await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'taken'"));
    }

    private static StringContent Json(string body) => new(body, Encoding.UTF8, "application/json");

    private async Task<(long Sandboxes, long Events)> CountAsync() =>
        (await service.ScalarAsync("SELECT count(*) FROM sandboxes WHERE name = 'ok' OR name = 'a'"), await service.ScalarAsync("SELECT count(*) FROM events WHERE type LIKE 'sandbox.%' AND subject_name <> 'taken'"));
}
