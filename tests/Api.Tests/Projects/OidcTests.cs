using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Api.Projects;
using Contracts;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc.Testing;
using Testing;
using Xunit;

namespace Api.Tests.Projects;

/// <summary>A provider over real HTTP, which signs what a test wants it to say.</summary>
public sealed class StandInIssuer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly RSA _key = RSA.Create(2048), _foreignKey = RSA.Create(2048);
    private readonly ConcurrentDictionary<string, (string Challenge, string Nonce)> _codes = new();

    public string Address { get; } = $"http://127.0.0.1:{FreePort.Next()}";
    public Dictionary<string, object> Claims { get; } = [];
    public bool SignsWithAnotherKey { get; set; }
    public string? Audience { get; set; }
    public string? Nonce { get; set; }
    public int RefusedVerifiers { get; private set; }

    public StandInIssuer()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls(Address);
        _app = builder.Build();
        _app.MapGet("/.well-known/openid-configuration", () => Results.Content($$"""
            {"issuer":"{{Address}}","authorization_endpoint":"{{Address}}/authorize","token_endpoint":"{{Address}}/token","jwks_uri":"{{Address}}/jwks",
             "response_types_supported":["code"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256"]}
            """, "application/json"));
        _app.MapGet("/jwks", () =>
        {
            var key = _key.ExportParameters(false);
            return Results.Json(new { keys = new[] { new { kty = "RSA", use = "sig", kid = "k1", alg = "RS256", n = Base64Url.EncodeToString(key.Modulus), e = Base64Url.EncodeToString(key.Exponent) } } });
        });
        _app.MapGet("/authorize", (HttpContext http) =>
        {
            var query = http.Request.Query;
            Assert.Equal(("code", "S256", "sandbox"), (query["response_type"].ToString(), query["code_challenge_method"].ToString(), query["client_id"].ToString()));
            var code = Guid.NewGuid().ToString("N");
            _codes[code] = (query["code_challenge"].ToString(), query["nonce"].ToString());
            return Results.Redirect($"{query["redirect_uri"]}?code={code}&state={Uri.EscapeDataString(query["state"].ToString())}");
        });
        _app.MapPost("/token", async (HttpContext http) =>
        {
            var form = await http.Request.ReadFormAsync();
            var given = Base64Url.EncodeToString(SHA256.HashData(Encoding.ASCII.GetBytes(form["code_verifier"].ToString())));
            if (!_codes.TryRemove(form["code"].ToString(), out var asked) || asked.Challenge != given || form["client_secret"] != "told-nobody")
            {
                RefusedVerifiers++;
                return Results.Json(new { error = "invalid_grant" }, statusCode: 400);
            }
            return Results.Json(new { access_token = "none", token_type = "Bearer", expires_in = 60, id_token = Token(Nonce ?? asked.Nonce) });
        });
    }

    public Task StartAsync() => _app.StartAsync();

    private string Token(string nonce)
    {
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        var claims = new Dictionary<string, object>(Claims) { ["iss"] = Address, ["aud"] = Audience ?? "sandbox", ["nonce"] = nonce, ["iat"] = now, ["exp"] = now + 300 };
        var text = $"{Base64Url.EncodeToString("{\"alg\":\"RS256\",\"kid\":\"k1\",\"typ\":\"JWT\"}"u8)}.{Base64Url.EncodeToString(JsonSerializer.SerializeToUtf8Bytes(claims))}";
        return $"{text}.{Base64Url.EncodeToString((SignsWithAnotherKey ? _foreignKey : _key).SignData(Encoding.ASCII.GetBytes(text), HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1))}";
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _key.Dispose();
        _foreignKey.Dispose();
    }
}

public sealed class OidcTests(ServiceFixture service) : IClassFixture<ServiceFixture>
{
    private async Task<(WebApplicationFactory<Api.Data.SandboxDb> Replica, StandInIssuer Issuer)> StartAsync()
    {
        var issuer = new StandInIssuer();
        await issuer.StartAsync();
        var secret = Path.Combine(Surroundings.NewDirectory("oidc"), "client.secret");
        await File.WriteAllTextAsync(secret, "told-nobody\n", TestContext.Current.CancellationToken);
        return (service.NewReplica(("Oidc:Authority", issuer.Address), ("Oidc:ClientId", "sandbox"), ("Oidc:ClientSecretFile", secret), ("Oidc:RoleClaim", "groups"), ("Oidc:Roles:Admin", "platform, owners")), issuer);
    }

    /// <summary>What a browser does: to the provider and back with its answer.</summary>
    private static async Task<HttpResponseMessage> SignInAsync(HttpClient browser, Func<Uri, Uri>? change = null)
    {
        using var sent = await browser.GetAsync(OidcSignIn.Path);
        Assert.Equal(HttpStatusCode.Redirect, sent.StatusCode);
        using var plain = new HttpClient(new HttpClientHandler { AllowAutoRedirect = false });
        using var back = await plain.GetAsync(sent.Headers.Location);
        Assert.Equal(HttpStatusCode.Redirect, back.StatusCode);
        return await browser.GetAsync((change ?? (u => u))(back.Headers.Location!));
    }

    private static HttpClient Browser(WebApplicationFactory<Api.Data.SandboxDb> replica) => replica.CreateClient(new WebApplicationFactoryClientOptions { HandleCookies = true, AllowAutoRedirect = false });

    [Fact]
    public async Task SignIn_OpensASessionWithTheProjectAndRoleThatTheProviderNames()
    {
        var tenant = await service.TenantAsync("oidc");
        var (replica, issuer) = await StartAsync();
        await using var _ = replica;
        await using var __ = issuer;
        (issuer.Claims["sub"], issuer.Claims["name"], issuer.Claims["sandbox_project"], issuer.Claims["groups"]) = ("u-1", "Ada\u0007 L.", "oidc", new[] { "staff", "Viewer", "owners" });
        using var browser = Browser(replica);
        using (var answer = await SignInAsync(browser)) Assert.Equal((HttpStatusCode.Redirect, "/"), (answer.StatusCode, answer.Headers.Location!.ToString()));
        Assert.Equal(new SessionView("Ada L.", "oidc", Role.Admin, false), await browser.GetFromJsonAsync<SessionView>("/v1/session"));
        browser.DefaultRequestHeaders.Add("X-Sandbox-Request", "1");
        var key = await browser.KeyAsync("byada", Role.Viewer);
        using var admin = service.ClientOf(tenant.Secret);
        var told = (await admin.GetFromJsonAsync<Page<AuditEntryView>>("/v1/audit"))!.Items;
        Assert.Equal(["GET /v1/session/oidc/callback", "POST /v1/keys"], told.Select(e => e.Action));
        Assert.All(told, e => Assert.Equal(("oidc:u-1", "Ada L."), (e.ActorId, e.ActorName)));
        (await browser.DeleteAsync("/v1/session")).EnsureSuccessStatusCode().Dispose();
        using var gone = await browser.GetAsync("/v1/session");
        Assert.Equal(HttpStatusCode.Unauthorized, gone.StatusCode);
        Assert.NotEqual(Guid.Empty, key.Key.Id);
    }

    public static TheoryData<string> Refused() => ["no role", "no project", "another project", "another key", "another audience", "another nonce", "another state", "a code again"];

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task SignIn_WhenTheAnswerIsNotGood_IsRefused(string why)
    {
        var (replica, issuer) = await StartAsync();
        await using var _ = replica;
        await using var __ = issuer;
        (issuer.Claims["sub"], issuer.Claims["sandbox_project"], issuer.Claims["groups"]) = ("u-2", why == "another project" ? "nowhere" : "default", why == "no role" ? "staff" : "owners");
        if (why == "no project") issuer.Claims.Remove("sandbox_project");
        (issuer.SignsWithAnotherKey, issuer.Audience, issuer.Nonce) = (why == "another key", why == "another audience" ? "others" : null, why == "another nonce" ? "n" : null);
        using var browser = Browser(replica);
        using var answer = await SignInAsync(browser, u => why switch
        {
            "another state" => new Uri(u.ToString().Replace("state=", "state=x", StringComparison.Ordinal)),
            "a code again" => new Uri(u.ToString().Replace("code=", "code=0", StringComparison.Ordinal)),
            _ => u,
        });
        Assert.Equal((why, "403 sign_in_refused"), (why, await answer.AnswerAsync()));
        using var nobody = await browser.GetAsync("/v1/session");
        Assert.Equal(HttpStatusCode.Unauthorized, nobody.StatusCode);
        Assert.Equal(0, await service.ScalarAsync("SELECT count(*) FROM sessions WHERE subject = 'u-2'"));
    }

    [Fact]
    public async Task WithoutAProvider_ThereIsNoSuchEndpoint()
    {
        using var browser = service.Client();
        foreach (var path in (string[])[OidcSignIn.Path, OidcSignIn.CallbackPath])
        {
            using var answer = await browser.GetAsync(path);
            Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
        }
    }
}
