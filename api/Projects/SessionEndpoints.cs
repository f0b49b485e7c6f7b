using System.Security.Claims;
using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Authentication;
using Microsoft.EntityFrameworkCore;

namespace Api.Projects;

/// <summary>The dashboard's sign-in: a key is exchanged for an HttpOnly cookie, which names a stored session.
/// Guarantees: a session ends with its key, by signing out, or after <see cref="Lifetime"/>, whatever the browser keeps.</summary>
public static class SessionEndpoints
{
    public static readonly TimeSpan Lifetime = TimeSpan.FromDays(7);
    /// <summary>Most sessions of one key, or of one whom the identity provider names; the oldest end first.</summary>
    public const int MaxSessions = 100;

    public static void MapSession(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/session").WithTags("Session");
        // Signing in is by definition done without being signed in: it takes the key in the body and answers 401 without a good one.
        group.MapPost("/", SignIn).AllowAnonymous().WithSummary("Sign a browser in with an API key.").Produces<SessionView>().ProducesProblem(400).ProducesProblem(401).ProducesProblem(429);
        group.MapGet("/", WhoAmI).Requires(Role.Viewer).WithSummary("Who is signed in, and what it may do.").Produces<SessionView>();
        group.MapDelete("/", SignOut).Requires(Role.Viewer).WithSummary("Sign out: the session ends here, not only in the browser.").Produces(204);
    }

    private static async Task<IResult> SignIn(SessionCreate? session, HttpContext http, SandboxDb db, FailedAttempts attempts, TimeProvider time, CancellationToken ct)
    {
        var from = http.Connection.RemoteIpAddress;
        if (Secret.HasForm(session?.ApiKey, Secret.ApiKeyPrefix) && !attempts.MayTry(from, session!.ApiKey!)) return attempts.Refusal(http);
        if (await Credentials.FindKeyAsync(db, session?.ApiKey, time.GetUtcNow(), ct) is not { } caller)
        {
            attempts.Failed(from);
            return ApiProblem.Of(401, "unknown_key", "That key is not known here, or has expired.");
        }
        attempts.Succeeded(session!.ApiKey!);
        await OpenAsync(http, caller, Lifetime, db, time.GetUtcNow(), ct);
        return await WhoAmI(http, db, ct);
    }

    /// <summary>Stores a session of the caller's and signs the request's browser in as it.</summary>
    public static async Task OpenAsync(HttpContext http, Caller caller, TimeSpan lifetime, SandboxDb db, DateTimeOffset now, CancellationToken ct)
    {
        var session = New(caller, lifetime, now);
        http.User = (caller with { SessionId = session.Id }).ToPrincipal(Schemes.Cookie);
        db.Sessions.Add(session);
        await db.SaveChangesAsync(ct);
        await db.Sessions.Where(s => s.ExpiresAt <= now).ExecuteDeleteAsync(ct);
        await db.Sessions.Where(s => s.KeyId == caller.KeyId && s.Subject == caller.Subject).OrderByDescending(s => s.Id).Skip(MaxSessions).ExecuteDeleteAsync(ct);
        await http.SignInAsync(Schemes.Cookie, http.User);
    }

    private static Session New(Caller caller, TimeSpan lifetime, DateTimeOffset now) => new()
    {
        Id = Guid.CreateVersion7(now),
        ProjectId = caller.ProjectId,
        KeyId = caller.KeyId,
        Subject = caller.Subject,
        Name = caller.Name,
        Role = caller.Role,
        CreatedAt = now,
        ExpiresAt = now + lifetime,
    };

    private static async Task<IResult> SignOut(HttpContext http, SandboxDb db, CancellationToken ct)
    {
        if (http.User.SessionId() is { } id && await db.Sessions.SingleOrDefaultAsync(s => s.Id == id, ct) is { } session)
        {
            db.Sessions.Remove(session);
            await db.SaveChangesAsync(ct);
        }
        await http.SignOutAsync(Schemes.Cookie);
        return Results.NoContent();
    }

    private static async Task<IResult> WhoAmI(HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        var name = await db.Projects.Where(p => p.Id == project).Select(p => p.Name).SingleAsync(ct);
        return Results.Ok(new SessionView(http.User.FindFirstValue(ClaimTypes.Name)!, name, http.User.Role()!.Value, http.User.Operates()));
    }
}
