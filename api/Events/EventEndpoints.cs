using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Events;

public static class EventEndpoints
{
    public static void MapEvents(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/events", ListAsync).Requires(Role.Viewer).WithTags("Events").WithSummary("What happened, oldest first, after a number.").Produces<Page<EventView>>().ProducesProblem(422);

    private static async Task<IResult> ListAsync(HttpContext http, SandboxDb db, CancellationToken ct, long after = 0, int limit = 100, Guid? subject = null)
    {
        if (after < 0) return ApiProblem.Validation("after", "takes a number of at least 0");
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        var rows = await Of(db, http.User.ProjectId(), after).Where(e => subject == null || e.SubjectId == subject).Take(limit + 1).ToListAsync(ct);
        http.Response.Headers["X-Event-Number"] = (await LastNumberAsync(db, ct)).ToString(System.Globalization.CultureInfo.InvariantCulture);
        return Results.Ok(new Page<EventView>(rows.Take(limit).Select(e => e.ToView()).ToList(),
            rows.Count > limit ? rows[limit - 1].Number.ToString(System.Globalization.CultureInfo.InvariantCulture) : null));
    }

    /// <summary>What a project may see: its own events and those of the infrastructure, in order.</summary>
    public static IQueryable<Event> Of(SandboxDb db, Guid project, long after) =>
        db.Events.AsNoTracking().Where(e => e.Number > after && (e.ProjectId == project || e.ProjectId == null)).OrderBy(e => e.Number);

    public static async Task<long> LastNumberAsync(SandboxDb db, CancellationToken ct) => await db.Events.MaxAsync(e => (long?)e.Number, ct) ?? 0;
}
