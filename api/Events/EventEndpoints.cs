using System.Globalization;
using Api.Data;
using Api.Http;
using Contracts;

namespace Api.Events;

public static class EventEndpoints
{
    public static void MapEvents(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/events").WithTags("Events");
        group.MapGet("/", ListAsync).Requires(Role.Viewer)
            .WithSummary("What happened, oldest first, after a number; without one, from the oldest that is kept. Filters by subject and type (repeatable; sandbox.* takes all of a kind).")
            .Produces<Page<EventView>>().ProducesProblem(410).ProducesProblem(422);
        group.MapGet("/stream", EventStream.GetAsync).Requires(Role.Viewer)
            .WithSummary("The same as Server-Sent Events, going on as things happen: after Last-Event-ID or after; without either, from now. Filters by sandbox and type.")
            .Produces<string>(contentType: "text/event-stream").ProducesProblem(410).ProducesProblem(422).ProducesProblem(429);
    }

    private static async Task<IResult> ListAsync(HttpContext http, SandboxDb db, CancellationToken ct, long? after = null, int limit = 100, Guid? subject = null, string[]? type = null)
    {
        if (after < 0) return ApiProblem.Validation("after", "takes a number of at least 0");
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        if (EventFilter.Problem(type) is { } problem) return ApiProblem.Validation("type", problem);
        var project = http.User.ProjectId();
        var reading = await EventReading.ReadAsync(db, project, after, type is null or [] ? null : EventFilter.Like(type), subject, limit + 1, ct);
        if (reading is EventReading.Reading.Expired expired) return Expired(expired);
        var rows = ((EventReading.Reading.Rows)reading).Events;
        await TellLastAsync(http, db, ct);
        return Results.Ok(new Page<EventView>(rows.Take(limit).Select(e => e.ToView()).ToList(),
            rows.Count > limit ? rows[limit - 1].Number.ToString(CultureInfo.InvariantCulture) : null));
    }

    /// <summary>Tells the caller, as a header, the project's last number now. Told before the content is read, the content has at least what these events tell.</summary>
    public static async Task TellLastAsync(HttpContext http, SandboxDb db, CancellationToken ct) =>
        http.Response.Headers["X-Event-Number"] = (await EventReading.LastNumberAsync(db, http.User.ProjectId(), ct)).ToString(CultureInfo.InvariantCulture);

    public static IResult Expired(EventReading.Reading.Expired expired) => ApiProblem.Of(410, "events_expired",
        $"What came after that number is not kept any more, or it is no number of this project's events. Read the present state, then go on after {expired.Oldest - 1} (the oldest kept is {expired.Oldest}) or after {expired.Last} (the last).",
        extensions: new Dictionary<string, object?> { ["oldest"] = expired.Oldest, ["last"] = expired.Last });
}
