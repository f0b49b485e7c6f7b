using Api.Data;
using Api.Projects;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Authorization;

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
    public const string RoleClaim = "role";
    public const string OperatesClaim = "operates";
    public const string KeyClaim = "key";
    public const string SessionClaim = "session";
    public const string SubjectClaim = "subject";
    public const string NodeClaim = "node";
    public const string NodeTokenClaim = "nodeToken";
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
                o.ExpireTimeSpan = SessionEndpoints.Lifetime;
                o.SlidingExpiration = false;
                o.Events.OnRedirectToLogin = c => { c.Response.StatusCode = 401; return Task.CompletedTask; };
                o.Events.OnRedirectToAccessDenied = c => { c.Response.StatusCode = 403; return Task.CompletedTask; };
                o.Events.OnValidatePrincipal = ValidateSessionAsync;
            });
        services.AddSingleton<IAuthorizationHandler, AccessHandler>();
        var authorization = services.AddAuthorizationBuilder()
            .AddPolicy(Node, p => p.AddAuthenticationSchemes(Node).RequireClaim(NodeClaim))
            .AddPolicy(JoinToken, p => p.AddAuthenticationSchemes(JoinToken).RequireClaim(JoinTokenClaim))
            // An endpoint that does not say whom it takes (Http/Access.cs) takes nobody.
            .SetDefaultPolicy(Nobody())
            .SetFallbackPolicy(Nobody());
        foreach (var access in Access.All) authorization.AddPolicy(access.Policy, p => p.AddAuthenticationSchemes(User).RequireClaim(ProjectClaim).AddRequirements(access));
    }

    /// <summary>What is no endpoint of ours (no such address, no such method) has nothing to give: those who are signed in are told which.</summary>
    private static AuthorizationPolicy Nobody() => new AuthorizationPolicyBuilder(User).RequireClaim(ProjectClaim)
        .RequireAssertion(asked => asked.Resource is HttpContext http && http.GetEndpoint() is not RouteEndpoint).Build();

    /// <summary>A cookie only names a session: what it may do, and whether it goes on, is asked of the database on each request.</summary>
    private static async Task ValidateSessionAsync(CookieValidatePrincipalContext cookie)
    {
        var services = cookie.HttpContext.RequestServices;
        var caller = cookie.Principal?.SessionId() is { } id
            ? await Credentials.FindSessionAsync(services.GetRequiredService<SandboxDb>(), id, services.GetRequiredService<TimeProvider>().GetUtcNow(), cookie.HttpContext.RequestAborted)
            : null;
        if (caller is null) cookie.RejectPrincipal();
        else cookie.ReplacePrincipal(caller.ToPrincipal(Cookie));
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
