using Api.Data;
using Api.Http;
using Api.Images;
using Api.Projects;
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
        routes.MapPost("/v1/placements", TryAsync).Requires(Role.Viewer).WithTags("Placement").WithSummary("Whether a sandbox as in the body could be placed now, and which rule refuses how many nodes. Refuses what a creation would refuse. Creates nothing; name may be left out.")
            .WithMetadata(new BodyWithout("PlacementTry", "name")).Produces<PlacementView>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(409).ProducesProblem(422);
        routes.MapGet("/v1/sandboxes/{id:guid}/placement", GetAsync).Requires(Role.Viewer).WithTags("Placement").WithSummary("Where the sandbox is; while it waits, which rule refuses how many nodes now; of one that has ended, as if it were started now.")
            .Produces<PlacementView>().ProducesProblem(404);
    }

    private static async Task<IResult> TryAsync(SandboxCreate? create, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        var now = time.GetUtcNow();
        var (asked, refusal) = await SandboxAdmission.ReadAsync(create is null ? null : create with { Name = create.Name ?? DryRunName }, http.User, db, now, ct);
        if (asked is not { } sandbox) return refusal!;
        if (await ReadProjectAsync(db, sandbox.ProjectId, ct) is not { } project) return ProjectEndpoints.NotFound();
        if (await SandboxAdmission.RefusalAsync(db, project, sandbox, ct) is { } refused) return refused;
        if (create!.Name is { } name && await db.Sandboxes.AnyAsync(s => s.ProjectId == sandbox.ProjectId && s.Name == name, ct)) return SandboxAdmission.NameTaken(name);
        return Results.Ok(await JudgeAsync(db, sandbox, http.User.Operates(), now, ct));
    }

    private static async Task<IResult> GetAsync(Guid id, HttpContext http, SandboxDb db, TimeProvider time, CancellationToken ct)
    {
        var (of, now) = (http.User.ProjectId(), time.GetUtcNow());
        if (await db.Sandboxes.AsNoTracking().SingleOrDefaultAsync(s => s.Id == id && s.ProjectId == of, ct) is not { } sandbox) return ApiProblem.SandboxNotFound();
        if (sandbox.Phase is Phase.Stopped or Phase.Failed)
            return await ReadProjectAsync(db, of, ct) is { } project ? Results.Ok(await JudgeStartAsync(db, project, sandbox, http.User.Operates(), now, ct)) : ProjectEndpoints.NotFound();
        if (sandbox.NodeId is not { } on || sandbox.Phase == Phase.Pending) return Results.Ok(await JudgeAsync(db, sandbox, http.User.Operates(), now, ct));
        var node = http.User.Operates() ? await db.Nodes.Where(n => n.Id == on).Select(n => n.Name).SingleOrDefaultAsync(ct) : null;
        return Results.Ok(sandbox.Phase == Phase.Lost
            ? new PlacementView(false, node, "It is Lost: the node that it is on does not report, and it is placed nowhere else until that node is seen again or taken out of service.", [], null)
            : new PlacementView(true, node, $"It was placed; it is {sandbox.Phase}.", [], null));
    }

    private static Task<Project?> ReadProjectAsync(SandboxDb db, Guid project, CancellationToken ct) => db.Projects.AsNoTracking().SingleOrDefaultAsync(p => p.Id == project, ct);

    /// <summary>Of one that has ended: as if it were started now.</summary>
    private static async Task<PlacementView> JudgeStartAsync(SandboxDb db, Project project, Sandbox sandbox, bool seesNodes, DateTimeOffset now, CancellationToken ct)
    {
        var ended = sandbox.Phase;
        if (await Quotas.ProblemAsync(db, project, new(0, sandbox.Vcpus, sandbox.MemoryMib, sandbox.Accelerators), ct) is { } over)
            return new(false, null, $"It is {ended}, and a start would be refused: {string.Join("; ", over.Values.Select(v => v[0]))}.", [], null);
        // Of a row that nobody stores.
        SandboxWishes.PlaceAnew(sandbox, now);
        var judged = await JudgeAsync(db, sandbox, seesNodes, now, ct);
        return judged with { Message = $"It is {ended}. If it were started now: {judged.Message}" };
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
