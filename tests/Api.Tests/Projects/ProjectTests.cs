using System.Net;
using System.Net.Http.Json;
using Api.Http;
using Api.Projects;
using Contracts;
using Xunit;

namespace Api.Tests.Projects;

public sealed class ProjectTests(ServiceFixture service) : IClassFixture<ServiceFixture>, IAsyncLifetime
{
    private StandInNode? _node;

    public async ValueTask InitializeAsync() => _node = await service.NodeAsync(edu: 4);
    public ValueTask DisposeAsync() => _node!.DisposeAsync();

    private static async Task<string> CreateAsync(HttpClient client, string name, int vcpus = 1, int memoryMib = 256, int edu = 0)
    {
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", vcpus, memoryMib, accelerators = edu == 0 ? [] : new[] { new { @class = "edu", count = edu } } });
        return await response.AnswerAsync();
    }

    [Fact]
    public async Task Quota_OfEachKind_IsNamedWhenItIsUsedUp()
    {
        var tenant = await service.TenantAsync("quotas", new { maxSandboxes = 5, maxVcpus = 4, maxMemoryMib = 1024, maxDevices = new { edu = 1 } });
        using var client = service.ClientOf(tenant.Secret);
        Assert.Equal("201", await CreateAsync(client, "one", vcpus: 2, edu: 1));
        foreach (var (name, body) in new (string, object)[]
        {
            ("vcpus", new { name = "two", image = "guest", vcpus = 3, memoryMib = 128 }), ("memoryMib", new { name = "two", image = "guest", memoryMib = 1000 }),
            ("devices.edu", new { name = "two", image = "guest", memoryMib = 128, accelerators = new[] { new { @class = "edu" } } }),
        })
        {
            using var refused = await client.PostAsJsonAsync("/v1/sandboxes", body);
            Assert.Equal("quota_exceeded", await refused.CodeAsync());
            Assert.Contains($"\"{name}\":", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
        foreach (var n in Enumerable.Range(2, 4)) Assert.Equal(n <= 3 ? "201" : "409 quota_exceeded", await CreateAsync(client, $"n{n}", memoryMib: 128));
        var own = (await client.GetFromJsonAsync<ProjectView>("/v1/project"))!;
        Assert.Equal((3, 4, 512L, 1), (own.Use.Sandboxes, own.Use.Vcpus, own.Use.MemoryMib, own.Use.Devices["edu"]));
        Assert.False(own.Operates);
    }

    [Fact]
    public async Task Quota_IsFreedByStopping_AndAskedForAgainByStarting()
    {
        var tenant = await service.TenantAsync("starts", new { maxSandboxes = 5, maxVcpus = 1 });
        using var client = service.ClientOf(tenant.Secret);
        using var created = await client.PostAsJsonAsync("/v1/sandboxes", new { name = "first", image = "guest", node = "nowhere" });
        var first = (await created.Content.ReadFromJsonAsync<SandboxView>())!.Id;
        Assert.Equal("409 quota_exceeded", await CreateAsync(client, "second"));
        (await client.PostAsync($"/v1/sandboxes/{first}/stop", null)).EnsureSuccessStatusCode().Dispose();
        Assert.Equal("201", await CreateAsync(client, "second"));
        foreach (var verb in (string[])["start", "restart"])
        {
            using var refused = await client.PostAsync($"/v1/sandboxes/{first}/{verb}", null);
            Assert.Equal("409 quota_exceeded", await refused.AnswerAsync());
        }
        Assert.Equal(Phase.Stopped, (await client.FindAsync(first))!.Phase);
    }

    [Fact]
    public async Task Quota_WhenTheLastVcpuIsWantedByMany_OneGetsIt()
    {
        var tenant = await service.TenantAsync("lastvcpu", new { maxSandboxes = 100, maxVcpus = 1 });
        using var client = service.ClientOf(tenant.Secret);
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(n => CreateAsync(client, $"n{n}")));
        Assert.Equal((1, 7), (answers.Count(a => a == "201"), answers.Count(a => a == "409 quota_exceeded")));
    }

    [Fact]
    public async Task Patch_ChangesWhatItNames_AndNullTakesALimitAway()
    {
        using var admin = service.Client();
        var tenant = await service.TenantAsync("patched", new { maxSandboxes = 7, maxVcpus = 8, maxMemoryMib = 9, maxDevices = new { edu = 1, nvme = 2 } });
        var path = $"/v1/projects/{tenant.Project}";
        async Task<(string Answer, ProjectQuotas? Quotas)> PatchAsync(string body)
        {
            using var request = new HttpRequestMessage(HttpMethod.Patch, path) { Content = new StringContent(body, System.Text.Encoding.UTF8, MergePatch.ContentType) };
            request.Headers.IfMatch.ParseAdd("*");
            using var response = await admin.SendAsync(request);
            return (await response.AnswerAsync(), response.IsSuccessStatusCode ? (await response.Content.ReadFromJsonAsync<ProjectView>())!.Quotas : null);
        }
        var (answer, quotas) = await PatchAsync("""{"quotas":{"maxVcpus":null,"maxMemoryMib":10,"maxDevices":{"edu":null,"gpu":3}}}""");
        Assert.Equal(("200", 7, null, 10L), (answer, quotas!.MaxSandboxes, quotas.MaxVcpus, quotas.MaxMemoryMib));
        Assert.Equal(new Dictionary<string, int> { ["nvme"] = 2, ["gpu"] = 3 }.OrderBy(d => d.Key), quotas.MaxDevices.OrderBy(d => d.Key));
        foreach (var (body, refusal) in new[]
        {
            ("""{"quotas":{"maxSandboxes":null}}""", "422 validation_failed"), ("""{"quotas":null}""", "422 validation_failed"), ("""{"quotas":{"maxSandboxes":-1}}""", "422 validation_failed"),
            ("""{"quotas":{"maxVcpus":1000000001}}""", "422 validation_failed"), ("""{"quotas":{"maxDevices":{"../x":1}}}""", "422 validation_failed"), ("""{"name":"other"}""", "400 invalid_request"),
            ("""{"quotas":{"maxSandboxes":"7"}}""", "400 invalid_request"), ("null", "400 invalid_request"), ("[]", "400 invalid_request"), ("{", "400 invalid_request"),
        })
            Assert.Equal((body, refusal), (body, (await PatchAsync(body)).Answer));
        Assert.Equal(7, (await admin.GetFromJsonAsync<ProjectView>(path))!.Quotas.MaxSandboxes);
    }

    [Fact]
    public async Task Create_WhenTheNameIsTakenOrWrong_IsRefused()
    {
        using var admin = service.Client();
        await service.TenantAsync("taken");
        foreach (var (body, answer) in new (object, string)[]
        {
            (new { name = "taken" }, "409 name_taken"), (new { name = "Not A Name" }, "422 validation_failed"), (new { }, "422 validation_failed"),
            (new { name = "ok", quotas = new { maxSandboxes = 1_000_001 } }, "422 validation_failed"), (new { name = "ok", operates = true }, "400 invalid_request"),
            (new { name = "ok", quotas = new { maxDevices = Enumerable.Range(0, 65).ToDictionary(n => $"c{n}", n => n) } }, "422 validation_failed"),
        })
        {
            using var response = await admin.PostAsJsonAsync("/v1/projects", body);
            Assert.Equal(answer, await response.AnswerAsync());
        }
    }

    [Fact]
    public async Task Delete_WhenItHasSandboxesOrOperates_IsRefused_AndAfterwardsItsKeysAreWorthNothing()
    {
        using var admin = service.Client();
        var tenant = await service.TenantAsync("goes");
        using var client = service.ClientOf(tenant.Secret);
        Assert.Equal("201", await CreateAsync(client, "last"));
        using (var full = await admin.DeleteAsync($"/v1/projects/{tenant.Project}")) Assert.Equal("409 project_not_empty", await full.AnswerAsync());
        var operating = (await admin.GetFromJsonAsync<ProjectView>("/v1/project"))!;
        Assert.True(operating.Operates);
        using (var refused = await admin.DeleteAsync($"/v1/projects/{operating.Id}")) Assert.Equal("409 operating_project", await refused.AnswerAsync());
        await service.ExecuteAsync($"UPDATE devices SET sandbox_id = NULL, phase = 'Available' WHERE sandbox_id IN (SELECT id FROM sandboxes WHERE project_id = '{tenant.Project}'); DELETE FROM sandboxes WHERE project_id = '{tenant.Project}'");
        using (var gone = await admin.DeleteAsync($"/v1/projects/{tenant.Project}")) Assert.Equal(HttpStatusCode.NoContent, gone.StatusCode);
        using var nobody = await client.GetAsync("/v1/project");
        Assert.Equal(HttpStatusCode.Unauthorized, nobody.StatusCode);
        Assert.DoesNotContain((await admin.GetFromJsonAsync<Page<ProjectView>>("/v1/projects"))!.Items, p => p.Id == tenant.Project);
    }

    [Fact]
    public async Task List_PageByPage_GivesEachProjectOnce()
    {
        using var admin = service.Client();
        foreach (var n in Enumerable.Range(0, 3)) await service.TenantAsync($"paged{n}");
        var names = new List<string>();
        for (var next = ""; next is not null;)
        {
            var page = (await admin.GetFromJsonAsync<Page<ProjectView>>($"/v1/projects?limit=2{next}"))!;
            names.AddRange(page.Items.Select(p => p.Name));
            next = page.Next is { } cursor ? $"&after={cursor}" : null;
        }
        Assert.Equal(names.Count, names.Distinct().Count());
        Assert.Superset(new HashSet<string> { "default", "paged0", "paged1", "paged2" }, names.ToHashSet());
        using var refused = await admin.GetAsync($"/v1/projects?limit={Paging.MaxLimit + 1}");
        Assert.Equal("422 validation_failed", await refused.AnswerAsync());
    }
}

public sealed class QuotasTests
{
    [Theory]
    [InlineData(4, 1, 5, null)]
    [InlineData(5, 1, 5, "sandboxes")]
    [InlineData(9, 0, 5, null)]
    [InlineData(0, 1, 0, "sandboxes")]
    public void Sandboxes_CountOnlyWhenMoreAreWanted(int used, int more, int most, string? over) =>
        Assert.Equal(over, Quotas.Exceeded(new(most, null, null, new Dictionary<string, int>()), new(used, 0, 0, new Dictionary<string, int>()), new(more, 1, 1, [])).Keys.SingleOrDefault());

    [Theory]
    [InlineData(3, 1, 4, false)]
    [InlineData(4, 1, 4, true)]
    [InlineData(0, 5, 4, true)]
    [InlineData(4, 1, null, false)]
    public void EachLimit_IsOverOnlyBeyondIt(int used, int more, int? most, bool over)
    {
        var devices = most is { } limit ? new Dictionary<string, int> { ["edu"] = limit } : [];
        var exceeded = Quotas.Exceeded(new(100, most, most, devices), new(0, used, used, new Dictionary<string, int> { ["edu"] = used }), new(1, more, more, [new("edu", more), new("other", 8)]));
        Assert.Equal(over ? ["devices.edu", "memoryMib", "vcpus"] : [], exceeded.Keys.Order(StringComparer.Ordinal));
    }
}

public sealed class MergePatchTests
{
    // The examples of RFC 7396, appendix A.
    [Theory]
    [InlineData("""{"a":"b"}""", """{"a":"c"}""", """{"a":"c"}""")]
    [InlineData("""{"a":"b"}""", """{"b":"c"}""", """{"a":"b","b":"c"}""")]
    [InlineData("""{"a":"b"}""", """{"a":null}""", "{}")]
    [InlineData("""{"a":"b","b":"c"}""", """{"a":null}""", """{"b":"c"}""")]
    [InlineData("""{"a":["b"]}""", """{"a":"c"}""", """{"a":"c"}""")]
    [InlineData("""{"a":"c"}""", """{"a":["b"]}""", """{"a":["b"]}""")]
    [InlineData("""{"a":{"b":"c"}}""", """{"a":{"b":"d","c":null}}""", """{"a":{"b":"d"}}""")]
    [InlineData("""{"a":[{"b":"c"}]}""", """{"a":[1]}""", """{"a":[1]}""")]
    [InlineData("""["a","b"]""", """["c","d"]""", """["c","d"]""")]
    [InlineData("""{"e":null}""", """{"a":1}""", """{"e":null,"a":1}""")]
    [InlineData("""[1,2]""", """{"a":"b","c":null}""", """{"a":"b"}""")]
    [InlineData("{}", """{"a":{"bb":{"ccc":null}}}""", """{"a":{"bb":{}}}""")]
    public void Apply_IsAsTheStandardSays(string target, string patch, string result) =>
        Assert.Equal(result, MergePatch.Apply(System.Text.Json.Nodes.JsonNode.Parse(target), System.Text.Json.Nodes.JsonNode.Parse(patch))!.ToJsonString());
}
