using System.Globalization;
using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Audit;

public static class AuditEndpoints
{
    private const int MaxText = 200;

    public static void MapAudit(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/audit", ListAsync).Requires(Role.Admin).WithTags("Audit")
            .WithSummary("What keys and members of the project have changed, oldest first: who, what, before and after, from where.")
            .WithDescription("from and to: times; actor: the id or the name of a key or member; subject: a subject's id; action: method and route, such as POST /v1/sandboxes. Entries are never changed or removed.")
            .Produces<Page<AuditEntryView>>().ProducesProblem(422);

    private static async Task<IResult> ListAsync(HttpContext http, SandboxDb db, CancellationToken ct,
        long after = 0, int limit = 100, DateTimeOffset? from = null, DateTimeOffset? to = null, string? actor = null, string? subject = null, string? action = null)
    {
        if (after < 0) return ApiProblem.Validation("after", "takes a number of at least 0");
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        foreach (var (name, text) in new[] { ("actor", actor), ("subject", subject), ("action", action) })
            if (text is { Length: 0 or > MaxText } || text?.Any(char.IsControl) is true) return ApiProblem.Validation(name, $"takes 1 to {MaxText} characters, none of them control characters");
        var project = http.User.ProjectId();
        var (since, until) = (from?.ToUniversalTime(), to?.ToUniversalTime());
        var rows = await db.AuditEntries.AsNoTracking()
            .Where(e => e.ProjectId == project && e.Id > after && (since == null || e.At >= since) && (until == null || e.At < until)
                && (actor == null || e.ActorId == actor || e.ActorName == actor) && (subject == null || e.SubjectId == subject) && (action == null || e.Action == action))
            .OrderBy(e => e.Id).Take(limit + 1).ToListAsync(ct);
        return Results.Ok(new Page<AuditEntryView>(rows.Take(limit).Select(e => e.ToView()).ToList(), rows.Count > limit ? rows[limit - 1].Id.ToString(CultureInfo.InvariantCulture) : null));
    }
}
