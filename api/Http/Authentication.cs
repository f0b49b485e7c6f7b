using System.Security.Claims;
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using Api.Data;
using Api.Nodes;
using Api.Projects;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Options;

namespace Api.Http;

/// <summary>Who calls: users by API key (bearer, or the dashboard's cookie), nodes by their token, machines that shall become one by their join token. Every endpoint but health and the page's files asks.</summary>
public static class Schemes
{
    public const string User = "User";
    public const string ApiKey = "ApiKey";
    public const string Cookie = CookieAuthenticationDefaults.AuthenticationScheme;
    public const string Node = "NodeToken";
    public const string JoinToken = "JoinToken";
    public const string ProjectClaim = "project";
    public const string KeyClaim = "key";
    public const string NodeClaim = "node";
    public const string JoinTokenClaim = "joinToken";
    /// <summary>A page elsewhere cannot set this header: cookie requests that change something need it.</summary>
    public const string RequestHeader = "X-Sandbox-Request";

    public static void AddSandboxAuthentication(this IServiceCollection services)
    {
        services.AddAuthentication(User)
            .AddPolicyScheme(User, null, o => o.ForwardDefaultSelector = http => http.Request.Headers.ContainsKey("Authorization") ? ApiKey : Cookie)
            .AddScheme<AuthenticationSchemeOptions, ApiKeyHandler>(ApiKey, null)
            .AddScheme<AuthenticationSchemeOptions, NodeTokenHandler>(Node, null)
            .AddScheme<AuthenticationSchemeOptions, JoinTokenHandler>(JoinToken, null)
            .AddCookie(Cookie, o =>
            {
                o.Cookie.Name = "sandbox_session";
                o.Cookie.HttpOnly = true;
                o.Cookie.SameSite = SameSiteMode.Strict;
                o.Cookie.SecurePolicy = CookieSecurePolicy.SameAsRequest;
                o.ExpireTimeSpan = TimeSpan.FromDays(7);
                o.SlidingExpiration = true;
                o.Events.OnRedirectToLogin = c => { c.Response.StatusCode = 401; return Task.CompletedTask; };
                o.Events.OnRedirectToAccessDenied = c => { c.Response.StatusCode = 403; return Task.CompletedTask; };
                o.Events.OnValidatePrincipal = async c =>
                {
                    var db = c.HttpContext.RequestServices.GetRequiredService<SandboxDb>();
                    if (!Guid.TryParse(c.Principal?.FindFirstValue(KeyClaim), out var key) || !await db.ApiKeys.AnyAsync(k => k.Id == key, c.HttpContext.RequestAborted))
                        c.RejectPrincipal();
                };
            });
        services.AddAuthorizationBuilder()
            .AddPolicy(Node, p => p.AddAuthenticationSchemes(Node).RequireClaim(NodeClaim))
            .AddPolicy(JoinToken, p => p.AddAuthenticationSchemes(JoinToken).RequireClaim(JoinTokenClaim))
            .AddPolicy(User, p => p.AddAuthenticationSchemes(User).RequireClaim(ProjectClaim))
            .SetDefaultPolicy(new Microsoft.AspNetCore.Authorization.AuthorizationPolicyBuilder(User).RequireClaim(ProjectClaim).Build())
            .SetFallbackPolicy(new Microsoft.AspNetCore.Authorization.AuthorizationPolicyBuilder(User).RequireClaim(ProjectClaim).Build());
    }

    public static Guid ProjectId(this ClaimsPrincipal user) => Guid.Parse(user.FindFirstValue(ProjectClaim)!);

    public static async Task<ClaimsPrincipal?> FindKeyAsync(SandboxDb db, string? presented, string scheme, CancellationToken ct)
    {
        if (!Secret.HasForm(presented, Secret.ApiKeyPrefix)) return null;
        var hash = Secret.Hash(presented!);
        var key = await db.ApiKeys.AsNoTracking().SingleOrDefaultAsync(k => k.SecretSha256 == hash, ct);
        if (key is null || !CryptographicOperations.FixedTimeEquals(key.SecretSha256, hash)) return null;
        return new ClaimsPrincipal(new ClaimsIdentity(
            [new(ClaimTypes.Name, key.Name), new(KeyClaim, key.Id.ToString()), new(ProjectClaim, key.ProjectId.ToString())], scheme));
    }

    /// <summary>The readable API page brings its own files, which its library leaves open: here they are not.</summary>
    public static async Task GuardDocs(HttpContext http, RequestDelegate next)
    {
        if (http.Request.Path.StartsWithSegments("/docs") && http.User.Identity is not { IsAuthenticated: true })
            http.Response.StatusCode = StatusCodes.Status401Unauthorized;
        else
            await next(http);
    }

    /// <summary>Refuses what a page of another origin could make a browser do with the cookie: requests that change something without the header,
    /// and hub connections, which a browser opens without asking, from any other origin. SameSite does not tell ports and sister domains apart.</summary>
    public static async Task GuardCookies(HttpContext http, RequestDelegate next)
    {
        var unsafeMethod = !(HttpMethods.IsGet(http.Request.Method) || HttpMethods.IsHead(http.Request.Method) || HttpMethods.IsOptions(http.Request.Method));
        var byCookie = http.User.Identity is { IsAuthenticated: true, AuthenticationType: Cookie };
        if (byCookie && IsForeign(http.Request))
            await ApiProblem.Of(403, "foreign_origin", "A request by cookie must come from this service's own page.").ExecuteAsync(http);
        else if (unsafeMethod && byCookie && !http.Request.Path.StartsWithSegments("/hubs") && http.Request.Headers[RequestHeader] != "1")
            await ApiProblem.Of(403, "request_header_missing", $"A request by cookie that changes something needs the header {RequestHeader}: 1.").ExecuteAsync(http);
        else
            await next(http);
    }

    private static bool IsForeign(HttpRequest request) =>
        request.Headers.Origin is [{ } origin, ..] && !(Uri.TryCreate(origin, UriKind.Absolute, out var from) && from.Authority.Equals(request.Host.Value, StringComparison.OrdinalIgnoreCase));
}

public sealed class ApiKeyHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, SandboxDb db)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var principal = await Schemes.FindKeyAsync(db, Bearer.Read(Request), Schemes.ApiKey, Context.RequestAborted);
        return principal is null ? AuthenticateResult.Fail("unknown key") : AuthenticateResult.Success(new AuthenticationTicket(principal, Schemes.ApiKey));
    }
}

public sealed class NodeTokenHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, SandboxDb db)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var token = Bearer.Read(Request);
        if (!Secret.HasForm(token, Secret.NodeTokenPrefix)) return AuthenticateResult.NoResult();
        var hash = Secret.Hash(token!);
        var node = await db.Nodes.AsNoTracking().SingleOrDefaultAsync(n => n.TokenSha256 == hash, Context.RequestAborted);
        if (node is null || !CryptographicOperations.FixedTimeEquals(node.TokenSha256, hash)) return AuthenticateResult.Fail("unknown node token");
        var identity = new ClaimsIdentity([new(ClaimTypes.Name, node.Name), new(Schemes.NodeClaim, node.Id.ToString())], Schemes.Node);
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), Schemes.Node));
    }
}

/// <summary>Of <c>POST /v1/nodes/join</c> only. A stranger costs one look-up at most, and no line of log.</summary>
public sealed class JoinTokenHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, SandboxDb db, TimeProvider time)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var presented = Bearer.Read(Request);
        if (!Secret.HasForm(presented, Secret.JoinTokenPrefix)) return AuthenticateResult.NoResult();
        var hash = Secret.Hash(presented!);
        var token = await db.JoinTokens.AsNoTracking().SingleOrDefaultAsync(t => t.TokenSha256 == hash, Context.RequestAborted);
        if (token is null || !CryptographicOperations.FixedTimeEquals(token.TokenSha256, hash) || token.ExpiresAt <= time.GetUtcNow()) return AuthenticateResult.Fail("unknown or expired join token");
        var identity = new ClaimsIdentity([new(ClaimTypes.Name, token.Name), new(Schemes.JoinTokenClaim, token.Id.ToString())], Schemes.JoinToken);
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), Schemes.JoinToken));
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties) => NodeJoining.TokenInvalid().ExecuteAsync(Context);
}

file static class Bearer
{
    public static string? Read(HttpRequest request)
    {
        string? header = request.Headers.Authorization;
        return header is not null && header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? header[7..].Trim() : null;
    }
}
