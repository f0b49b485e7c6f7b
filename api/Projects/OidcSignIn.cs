using System.Security.Claims;
using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.OpenIdConnect;
using Microsoft.EntityFrameworkCore;
using Microsoft.IdentityModel.Protocols.OpenIdConnect;

namespace Api.Projects;

/// <summary>Settings <c>Oidc__Authority</c>, <c>__ClientId</c>, <c>__ClientSecretFile</c> (none: a public client); <c>__ProjectClaim</c>: the claim that names the project, default sandbox_project;
/// <c>__RoleClaim</c>: the claim, perhaps of several values, that gives the role, default sandbox_role; <c>__Roles__Viewer</c>, <c>__Roles__Operator</c>, <c>__Roles__Admin</c>: the values of it
/// that mean that role, with commas, default the role's name.</summary>
public sealed record OidcSettings(string Authority, string ClientId, string? ClientSecret, string ProjectClaim, string RoleClaim, IReadOnlyDictionary<Role, IReadOnlySet<string>> Roles)
{
    /// <summary>Null: nobody signs in so.</summary>
    public static OidcSettings? Read(IConfiguration configuration)
    {
        var oidc = configuration.GetSection("Oidc");
        if (oidc["Authority"] is not { Length: > 0 } authority) return null;
        return new(
            authority, oidc["ClientId"] is { Length: > 0 } client ? client : throw new InvalidOperationException("Oidc:ClientId is not set."),
            oidc["ClientSecretFile"] is { Length: > 0 } file ? File.ReadAllText(file).Trim() : null,
            oidc["ProjectClaim"] ?? "sandbox_project", oidc["RoleClaim"] ?? "sandbox_role",
            Enum.GetValues<Role>().ToDictionary(role => role, role => (IReadOnlySet<string>)(oidc[$"Roles:{role}"] ?? role.ToString())
                .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).ToHashSet(StringComparer.Ordinal)));
    }

    /// <summary>The highest role that the claims give; null: none, and so no sign-in. Pure.</summary>
    public Role? RoleOf(IEnumerable<Claim> claims)
    {
        var values = claims.Where(c => c.Type == RoleClaim).Select(c => c.Value).ToHashSet(StringComparer.Ordinal);
        return Roles.Where(r => r.Value.Overlaps(values)).Select(r => (Role?)r.Key).Max();
    }
}

/// <summary>Signing in by an OpenID Connect provider: authorization code with PKCE, and then a session as a key would open one.
/// Guarantees: no token is kept; what the provider says of project and role is taken at sign-in and holds for the session, at most <see cref="Lifetime"/>;
/// whoever has no project here, or no role, is refused. Where no provider is set there is no such endpoint.</summary>
public static class OidcSignIn
{
    public const string Scheme = "Oidc", Path = "/v1/session/oidc", CallbackPath = Path + "/callback";
    /// <summary>Shorter than a key's session: nobody tells us when the provider takes a role away.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromHours(8);
    private const int MaxSubject = 255;

    public static void Add(IServiceCollection services, OidcSettings settings) =>
        services.AddSingleton(settings).AddAuthentication().AddOpenIdConnect(Scheme, o =>
        {
            o.Authority = settings.Authority;
            o.ClientId = settings.ClientId;
            o.ClientSecret = settings.ClientSecret;
            o.ResponseType = OpenIdConnectResponseType.Code;
            // By query: the answer is a plain navigation, to which a browser adds cookies that are lax.
            o.ResponseMode = OpenIdConnectResponseMode.Query;
            o.UsePkce = true;
            o.SaveTokens = false;
            o.MapInboundClaims = false;
            o.CallbackPath = CallbackPath;
            o.SignInScheme = Schemes.Cookie;
            o.RequireHttpsMetadata = !(Uri.TryCreate(settings.Authority, UriKind.Absolute, out var authority) && authority.IsLoopback);
            foreach (var cookie in (CookieBuilder[])[o.CorrelationCookie, o.NonceCookie]) (cookie.SameSite, cookie.SecurePolicy) = (SameSiteMode.Lax, CookieSecurePolicy.SameAsRequest);
            o.Events.OnTicketReceived = OpenSessionAsync;
            o.Events.OnRemoteFailure = failed =>
            {
                failed.HandleResponse();
                return RefuseAsync(failed.HttpContext, "The identity provider's answer could not be taken; try again.");
            };
        });

    public static void MapOidc(this IEndpointRouteBuilder routes)
    {
        if (routes.ServiceProvider.GetService<OidcSettings>() is null) return;
        routes.MapGet(Path, () => Results.Challenge(new AuthenticationProperties { RedirectUri = "/" }, [Scheme])).AllowAnonymous()
            .WithTags("Session").WithSummary("Sign a browser in with the identity provider: it is sent there, and comes back with a session.").Produces(302);
    }

    private static async Task OpenSessionAsync(TicketReceivedContext ticket)
    {
        var http = ticket.HttpContext;
        var claims = ticket.Principal!.Claims.ToList();
        var settings = http.RequestServices.GetRequiredService<OidcSettings>();
        var db = http.RequestServices.GetRequiredService<SandboxDb>();
        string? One(string type) => claims.FirstOrDefault(c => c.Type == type)?.Value;
        ticket.HandleResponse();
        if (One("sub") is not { Length: > 0 and <= MaxSubject } subject || One(settings.ProjectClaim) is not { } name || settings.RoleOf(claims) is not { } role
            || await db.Projects.AsNoTracking().SingleOrDefaultAsync(p => p.Name == name, http.RequestAborted) is not { } project)
        {
            await RefuseAsync(http, $"The identity provider names no project of this service ({settings.ProjectClaim}) or no role ({settings.RoleClaim}) for you.");
            return;
        }
        var shown = new string((One("name") ?? One("preferred_username") ?? subject).Where(c => !char.IsControl(c)).Take(ProjectRules.MaxKeyName).ToArray());
        var now = http.RequestServices.GetRequiredService<TimeProvider>().GetUtcNow();
        await SessionEndpoints.OpenAsync(http, new Caller(project.Id, project.Operates, role, shown, null, null, subject), Lifetime, db, now, http.RequestAborted);
        http.Response.Redirect("/");
    }

    private static Task RefuseAsync(HttpContext http, string detail) => ApiProblem.Of(403, "sign_in_refused", detail).ExecuteAsync(http);
}
