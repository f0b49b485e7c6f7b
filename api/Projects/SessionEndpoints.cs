using System.Security.Claims;
using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.AspNetCore.Authentication;
using Microsoft.EntityFrameworkCore;

namespace Api.Projects;

/// <summary>The dashboard's sign-in: a key is exchanged for an HttpOnly cookie.</summary>
public static class SessionEndpoints
{
    public static void MapSession(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/session").WithTags("Session");
        // Signing in is by definition done without being signed in: it takes the key in the body and answers 401 without a good one.
        group.MapPost("/", SignIn).AllowAnonymous().WithSummary("Sign a browser in with an API key.").Produces<SessionView>().ProducesProblem(401);
        group.MapGet("/", WhoAmI).WithSummary("Who is signed in.").Produces<SessionView>();
        group.MapDelete("/", async (HttpContext http) => { await http.SignOutAsync(Schemes.Cookie); return Results.NoContent(); }).WithSummary("Sign out.");
    }

    private static async Task<IResult> SignIn(SessionCreate? session, HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var principal = await Schemes.FindKeyAsync(db, session?.ApiKey, Schemes.Cookie, ct);
        if (principal is null) return ApiProblem.Of(401, "unknown_key", "That key is not known here.");
        await http.SignInAsync(Schemes.Cookie, principal);
        http.User = principal;
        return await WhoAmI(http, db, ct);
    }

    private static async Task<IResult> WhoAmI(HttpContext http, SandboxDb db, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        var name = await db.Projects.Where(p => p.Id == project).Select(p => p.Name).SingleAsync(ct);
        return Results.Ok(new SessionView(http.User.FindFirstValue(ClaimTypes.Name)!, name));
    }
}
