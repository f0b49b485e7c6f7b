using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;
using Npgsql;

namespace Api.Faults;

public static class FaultEndpoints
{
    private const int MaxSources = 64, MostBeyond = 4;
    /// <summary>Times beyond are nobody's, and what is added to them must not overflow.</summary>
    private static readonly DateTimeOffset Earliest = new(1970, 1, 1, 0, 0, 0, TimeSpan.Zero), Latest = new(2999, 12, 31, 0, 0, 0, TimeSpan.Zero);

    public static void MapFaults(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/sandboxes/{id:guid}/faults", ListAsync).Requires(Role.Viewer).WithTags("Faults")
            .WithSummary("Stored samples, oldest first; the last 15 minutes unless from is given; next goes on with after. A value that could not be observed is null with its reason, never 0.")
            .WithDescription($"step: seconds, 1 to {FaultResolution.MaxStepSeconds}; unless given, the finest with at most {FaultResolution.WantedPoints} points. From 60 on, and for times whose samples are no longer kept, "
                + "one-minute rollups answer. A step is told by its last sample: values are counters, so nothing is lost between steps but the moment. source: repeated for several; all unless given.")
            .Produces<FaultHistoryView>().ProducesProblem(404).ProducesProblem(422);

    private static TimeSpan Beyond(FaultResolution resolution) => TimeSpan.FromSeconds(3L * resolution.StepSeconds);

    private static async Task<IResult> ListAsync(Guid id, HttpContext http, SandboxDb db, NpgsqlDataSource store, FaultRetention retention, TimeProvider time, CancellationToken ct,
        DateTimeOffset? from = null, DateTimeOffset? to = null, DateTimeOffset? after = null, int? step = null, int limit = 900, string[]? source = null)
    {
        if (limit is < 1 or > FaultResolution.WantedPoints) return ApiProblem.Validation("limit", $"takes 1 to {FaultResolution.WantedPoints}");
        if (step is < 1 or > FaultResolution.MaxStepSeconds) return ApiProblem.Validation("step", $"takes 1 to {FaultResolution.MaxStepSeconds} seconds");
        source ??= [];
        if (source.Length > MaxSources || source.Any(s => !FaultSamplesEncoding.IsName(s))) return ApiProblem.Validation("source", $"takes at most {MaxSources} names of sources, of A-Z, a-z, 0-9, '.', '_' and '-'");
        if (source.FirstOrDefault(s => !FaultMetrics.IsSource(s)) is { } stranger) return ApiProblem.Validation("source", $"takes names of sources, and {stranger} is none (docs/metrics.md lists them)");
        foreach (var (name, at) in ((string, DateTimeOffset?)[])[("from", from), ("to", to), ("after", after)])
            if (at < Earliest || at > Latest) return ApiProblem.Validation(name, $"takes a time of {Earliest.Year} to {Latest.Year}");
        var now = time.GetUtcNow();
        var (since, until) = (from ?? now.AddMinutes(-15), to ?? now.AddMinutes(1));
        if (since > until) return ApiProblem.Validation("from", "takes a time before to");
        var project = http.User.ProjectId();
        if (await db.Sandboxes.Where(s => s.Id == id && s.ProjectId == project).Select(s => (DateTimeOffset?)s.CreatedAt).SingleOrDefaultAsync(ct) is not { } created) return ApiProblem.SandboxNotFound();
        var resolution = FaultResolution.Choose(since, until, step, retention.OldestSample(now));
        var history = new FaultHistory(store, id, resolution, source);
        var samples = await history.ReadAsync(since, until, after, limit + 1, ct);
        // What lies beyond may tell that a step is over what others have.
        var beyond = samples.Count > limit ? samples[limit..] : await history.ReadAsync(until, until + Beyond(resolution), after, MostBeyond, ct);
        var before = samples.Count == 0 ? [] : await history.BeforeAsync(samples[0].At, after, ct);
        var page = samples.Take(limit).ToList();
        var known = page.Count == 0 ? [] : await history.KnownBeforeAsync(page[0].At, [.. page.Select(s => s.Incarnation).Except(before.Select(s => s.Incarnation))], ct);
        // Of a sandbox that is older than what is kept, nothing kept before does not say that there was nothing.
        if (page.Count > 0 && before.Count == 0 && (await history.LastIncarnationAsync(page[0].At, ct) is { } last ? last == page[0].Incarnation : created < retention.OldestMinute(now))) known.Add(page[0].Incarnation);
        var items = FaultIncrease.Of(before, known, page, beyond).ToList();
        return new FaultHistoryAnswer(new FaultHistoryView(items, samples.Count > limit ? items[^1].At.UtcDateTime.ToString("O") : null, resolution.StepSeconds));
    }
}
