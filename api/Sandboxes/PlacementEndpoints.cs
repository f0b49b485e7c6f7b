using Api.Data;
using Api.Http;
using Api.Images;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>Placement asked for its reasons: of a sandbox that there is, or of one that there might be. Nothing is taken and nothing is stored.</summary>
public static class PlacementEndpoints
{
    private const string DryRunName = "dry-run";
    /// <summary>Of those who wait longer, how many are looked at.</summary>
    private const int MostBefore = 200;

    public static void MapPlacements(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/v1/placements", TryAsync).Requires(Role.Viewer).WithTags("Placement").WithSummary("Whether a sandbox as in the body could be placed now, and which rule refuses how many nodes. Creates nothing; name may be left out.")
            .Produces<PlacementView>().ProducesProblem(400).ProducesProblem(422);
        routes.MapGet("/v1/sandboxes/{id:guid}/placement", GetAsync).Requires(Role.Viewer).WithTags("Placement").WithSummary("Where the sandbox is; while it waits, which rule refuses how many nodes now.")
            .Produces<PlacementView>().ProducesProblem(404);
    }

    private static async Task<IResult> TryAsync(SandboxCreate? create, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        if (create is null) return ApiProblem.Of(400, "invalid_request", "A JSON object is expected.");
        create = create with { Name = create.Name ?? DryRunName };
        if (SandboxValidation.Check(create) is { Count: > 0 } errors) return ApiProblem.Validation(errors);
        if (await SandboxPriorities.RefusalAsync(db, http.User.ProjectId(), create.Priority ?? 0, ct) is { } refusal) return refusal;
        // That there is no such image yet is an answer here: no node has it.
        var (_, registered) = await ImageChoice.FindAsync(db, http.User.ProjectId(), create.Image!, ct);
        return Results.Ok(await JudgeAsync(db, SandboxEndpoints.From(create, http.User.ProjectId(), registered, time.GetUtcNow()), http.User.Operates(), time.GetUtcNow(), ct));
    }

    private static async Task<IResult> GetAsync(Guid id, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        var project = http.User.ProjectId();
        if (await db.Sandboxes.AsNoTracking().SingleOrDefaultAsync(s => s.Id == id && s.ProjectId == project, ct) is not { } sandbox) return ApiProblem.SandboxNotFound();
        if (sandbox.NodeId is not { } on || sandbox.Phase == Phase.Pending) return Results.Ok(await JudgeAsync(db, sandbox, http.User.Operates(), time.GetUtcNow(), ct));
        var node = await db.Nodes.Where(n => n.Id == on).Select(n => n.Name).SingleOrDefaultAsync(ct);
        return Results.Ok(new PlacementView(true, http.User.Operates() ? node : null, $"It was placed; it is {sandbox.Phase}.", [], null));
    }

    private static async Task<PlacementView> JudgeAsync(SandboxDb db, Sandbox sandbox, bool seesNodes, DateTimeOffset now, CancellationToken ct)
    {
        var request = FleetReading.RequestOf(sandbox, await ImageChoice.ReadAsync(db, [sandbox.ImageId], ct));
        var before = await ReadBeforeAsync(db, sandbox, now, ct);
        var fleet = await FleetReading.ReadFleetAsync(db, ct);
        await FleetReading.AddDetailsAsync(db, fleet, [request, .. before.Select(w => w.Request)], ct);
        var indexed = new PlacementFleet(fleet);
        if (before.Count > 0)
        {
            // What stands before it and has waited long is placed, or has nodes kept for it.
            var self = new PlacementQueue.Waiting(sandbox.Id, sandbox.ProjectId, sandbox.Priority, sandbox.QueuedAt, request);
            var queue = new PlacementQueue(before.Append(self), await FleetReading.ReadSharesAsync(db, fleet, ct), now);
            foreach (var _ in new PlacementRound(indexed, queue, now).Decide(until: sandbox.Id)) { }
        }
        var (best, nodes) = indexed.Judge(request);
        var refusals = (fleet.Count == 0 ? [Placement.NoNodes] : nodes.Select(n => n.Refusal).OfType<string>()).GroupBy(r => r)
            .OrderBy(g => g.Key == Placement.OtherNodeWanted).ThenByDescending(g => g.Count()).ThenBy(g => g.Key, StringComparer.Ordinal)
            .Select(g => new PlacementRefusal(g.Key, fleet.Count == 0 ? 0 : g.Count(), Message(g.Key), PlacementReasons.All[g.Key].Remedy)).ToList();
        var taking = nodes.Count(n => n.Refusal is null);
        var victims = best is null && request.Preempts ? Preemption.Choose(request, fleet, await FleetReading.ReadGuestsAsync(db, fleet, request.Priority, ct))?.Victims.Count : null;
        return new PlacementView(best is not null, seesNodes ? best?.Name : null,
            best is null ? $"None of {fleet.Count} node(s) can take it now." : $"{taking} of {fleet.Count} node(s) can take it now.", refusals,
            seesNodes ? nodes.Select(n => new NodePlacement(n.Node.Id, n.Node.Name, n.Refusal, n.Refusal == Placement.NoHugePages ? Placement.HugePagesWords(request, [n.Node]) : null)).ToList() : null, victims);

        string Message(string reason)
        {
            var counts = reason == Placement.NoHugePages ? Placement.HugePagesWords(request, [.. nodes.Where(n => n.Refusal == reason).Select(n => n.Node)]) : null;
            return PlacementReasons.All[reason].Message + (counts is null ? "" : $" Of {counts}.");
        }
    }

    private static async Task<List<PlacementQueue.Waiting>> ReadBeforeAsync(SandboxDb db, Sandbox sandbox, DateTimeOffset now, CancellationToken ct)
    {
        var since = now - PlacementRound.ReserveAfter;
        var before = FleetReading.Waiting(db).Where(s => s.QueuedAt <= since && s.Priority >= sandbox.Priority && s.Id != sandbox.Id).OrderByDescending(s => s.Priority).ThenBy(s => s.QueuedAt).Take(MostBefore);
        return (await FleetReading.ReadWaitingAsync(db, before, ct)).ConvertAll(q => q.Waiting);
    }
}
