using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using Contracts;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Mvc.Testing;
using Npgsql;
using Testing;
using Xunit;

namespace Api.Tests;

/// <summary>The API in this process on a real database of its own, with an admin key and the token of one node.</summary>
public sealed class ServiceFixture : IAsyncLifetime
{
    private readonly PostgresFixture _postgres = new();
    private WebApplicationFactory<Api.Data.SandboxDb>? _factory;

    /// <summary>Begins with whoever asks for it first: a class that brings replicas with another clock has only those.</summary>
    public WebApplicationFactory<Api.Data.SandboxDb> Factory => _factory ??= NewReplica();
    public string ConnectionString => _postgres.ConnectionString;
    public string AdminKey { get; private set; } = "";
    public string NodeToken { get; private set; } = "";
    /// <summary>The machine that the node is, whichever test plays it.</summary>
    public Guid Installation { get; } = Guid.NewGuid();

    public async ValueTask InitializeAsync()
    {
        await _postgres.InitializeAsync();
        var directory = Surroundings.NewDirectory("api");
        var (key, token) = (Path.Combine(directory, "admin.key"), Path.Combine(directory, "node.token"));
        await using (var db = Migrations.Database.Open(ConnectionString))
            await Migrations.Bootstrap.RunAsync(db, key, token, "standin", TimeProvider.System, CancellationToken.None);
        (AdminKey, NodeToken) = ((await File.ReadAllTextAsync(key)).Trim(), (await File.ReadAllTextAsync(token)).Trim());
    }

    /// <summary>Another API on the same database. All the classes of tests share one server and its connections.</summary>
    public WebApplicationFactory<Api.Data.SandboxDb> NewReplica(params (string Name, string Value)[] settings) =>
        new WebApplicationFactory<Api.Data.SandboxDb>().WithWebHostBuilder(b =>
        {
            b.UseSetting("ConnectionStrings:Sandbox", ConnectionString + ";Maximum Pool Size=15");
            // Tests are faster than any user, and are refused more often.
            foreach (var limit in (string[])["PerSecond", "Burst", "FailuresPerMinute"]) b.UseSetting($"RateLimits:{limit}", "1000000");
            foreach (var (name, value) in settings) b.UseSetting(name, value);
        });

    public HttpClient Client(WebApplicationFactory<Api.Data.SandboxDb>? replica = null)
    {
        var client = (replica ?? Factory).CreateClient(new WebApplicationFactoryClientOptions { HandleCookies = true, AllowAutoRedirect = false });
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", AdminKey);
        return client;
    }

    public HttpClient ClientOf(string secret, WebApplicationFactory<Api.Data.SandboxDb>? replica = null)
    {
        var client = Client(replica);
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", secret);
        return client;
    }

    public async Task<Guid> ProjectAsync(string name)
    {
        await using var db = Migrations.Database.Open(ConnectionString);
        return db.Projects.Single(p => p.Name == name).Id;
    }

    /// <summary>An admin's client of another project, by the replica.</summary>
    public async Task<HttpClient> TenantClientAsync(string name, WebApplicationFactory<Api.Data.SandboxDb>? replica = null) =>
        ClientOf((await TenantAsync(name, new { maxSandboxes = 1000 }, replica)).Secret, replica);

    /// <summary>A project that does not run the service, and an admin of it.</summary>
    public async Task<Tenant> TenantAsync(string name, object? quotas = null, WebApplicationFactory<Api.Data.SandboxDb>? replica = null)
    {
        using var client = Client(replica);
        using var created = await client.PostAsJsonAsync("/v1/projects", new { name, quotas });
        Assert.Equal(System.Net.HttpStatusCode.Created, created.StatusCode);
        var project = (await created.Content.ReadFromJsonAsync<ProjectView>())!;
        return new Tenant(project.Id, (await client.KeyAsync("admin", Role.Admin, project.Id)).Secret);
    }

    public async Task ExecuteAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(ConnectionString);
        await connection.OpenAsync();
#pragma warning disable CA2100 // Texts of the tests themselves.
        await using var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        await command.ExecuteNonQueryAsync();
    }

    public async Task<StandInNode> NodeAsync(int edu = 2)
    {
        var node = new StandInNode(Factory, NodeToken, edu) { Installation = Installation };
        await node.StartAsync();
        return node;
    }

    public async Task<long> ScalarAsync(string sql)
    {
        await using var connection = new NpgsqlConnection(ConnectionString);
        await connection.OpenAsync();
#pragma warning disable CA2100 // Texts of the tests themselves.
        await using var command = new NpgsqlCommand(sql, connection);
#pragma warning restore CA2100
        return Convert.ToInt64(await command.ExecuteScalarAsync(), System.Globalization.CultureInfo.InvariantCulture);
    }

    public async ValueTask DisposeAsync()
    {
        if (_factory is not null) await _factory.DisposeAsync();
        await _postgres.DisposeAsync();
    }
}

public sealed record Tenant(Guid Project, string Secret);

public static class Calls
{
    /// <summary>A key of the caller's project, or by one who runs the service of another.</summary>
    public static async Task<KeyCreated> KeyAsync(this HttpClient admin, string name, Role role, Guid? project = null, DateTimeOffset? expiresAt = null)
    {
        using var response = await admin.PostAsJsonAsync(project is null ? "/v1/keys" : $"/v1/projects/{project}/keys", new { name, role, expiresAt });
        Assert.Equal(System.Net.HttpStatusCode.Created, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<KeyCreated>())!;
    }

    /// <summary>The status and, of a refusal, its code.</summary>
    public static async Task<string> AnswerAsync(this HttpResponseMessage response) =>
        response.IsSuccessStatusCode ? $"{(int)response.StatusCode}" : $"{(int)response.StatusCode} {await response.CodeAsync()}";

    public static async Task<SandboxView> CreateAsync(this HttpClient client, string name, int edu = 0)
    {
        using var response = await client.PostAsJsonAsync("/v1/sandboxes", new { name, image = "guest", accelerators = edu == 0 ? [] : new[] { new { @class = "edu", count = edu } } });
        Assert.Equal(System.Net.HttpStatusCode.Created, response.StatusCode);
        return (await response.Content.ReadFromJsonAsync<SandboxView>())!;
    }

    public static async Task<SandboxView?> FindAsync(this HttpClient client, Guid id, string query = "")
    {
        using var response = await client.GetAsync($"/v1/sandboxes/{id}{query}");
        return response.StatusCode == System.Net.HttpStatusCode.OK ? await response.Content.ReadFromJsonAsync<SandboxView>() : null;
    }

    public static async Task<IReadOnlyList<DeviceView>> DevicesAsync(this HttpClient client) => (await client.GetFromJsonAsync<Page<DeviceView>>("/v1/devices"))!.Items;

    public static async Task<string> CodeAsync(this HttpResponseMessage response)
    {
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        using var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        Assert.Equal((int)response.StatusCode, json.RootElement.GetProperty("status").GetInt32());
        Assert.False(string.IsNullOrWhiteSpace(json.RootElement.GetProperty("detail").GetString()));
        return json.RootElement.GetProperty("code").GetString()!;
    }
}
