using Api.Data;
using Api.Http;
using Api.Sandboxes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

public static class NodeEndpoints
{
    public static void MapNodes(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/nodes").WithTags("Nodes");
        group.MapGet("/", ListAsync).RequiresService(Role.Viewer).WithSummary("Nodes by name, what each is and what of it is in use; name: that one; phase: those in it; next goes on with after.")
            .Produces<Page<NodeView>>().ProducesProblem(422);
        group.MapPost("/join-tokens", (JoinTokenCreate? create, NodeJoining joining, CancellationToken ct) => joining.CreateTokenAsync(create, ct)).RequiresService(Role.Admin)
            .WithSummary("A token by which one machine may become a node, once. It is shown here only.").Produces<JoinTokenView>(201).ProducesProblem(400).ProducesProblem(409).ProducesProblem(422);
        group.MapPost("/join", (NodeJoin? join, HttpContext http, NodeJoining joining, CancellationToken ct) => joining.JoinAsync(http.User, join, ct)).RequireAuthorization(Schemes.JoinToken)
            .WithSummary("What a worker does with its join token as bearer: become the node, and get the node's own token.").Produces<NodeJoined>(201).ProducesProblem(400).ProducesProblem(401).ProducesProblem(409).ProducesProblem(422).ProducesProblem(429).ProducesProblem(503);
        group.MapGet("/{id:guid}/readiness", NodeInventories.Readiness).RequiresService(Role.Viewer)
            .WithSummary("What the node has for SVA: cores, SMMUs, and every PCI function with its verdict, link by link.").Produces<NodeReadinessView>().ProducesProblem(404);
        group.MapPost("/{id:guid}/cordon", (Guid id, HttpContext http, NodeCordons cordons, CancellationToken ct) => cordons.SetAsync(id, true, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("Let the node take nothing new; what runs there goes on.").Produces<NodeView>().ProducesProblem(404);
        group.MapPost("/{id:guid}/uncordon", (Guid id, HttpContext http, NodeCordons cordons, CancellationToken ct) => cordons.SetAsync(id, false, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("Let the node take sandboxes again.").Produces<NodeView>().ProducesProblem(404);
        group.MapPost("/{id:guid}/drain", (Guid id, NodeDrainRequest? drain, HttpContext http, NodeCordons cordons, CancellationToken ct) => cordons.DrainAsync(id, drain, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("Empty the node: it takes nothing new, the owners of what runs there are told, and at the deadline that is stopped. Again: another deadline.")
            .Produces<NodeView>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(409).ProducesProblem(422);
        group.MapDelete("/{id:guid}/drain", (Guid id, HttpContext http, NodeCordons cordons, CancellationToken ct) => cordons.EndDrainAsync(id, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("Empty the node no more; what was stopped stays so.").Produces<NodeView>().ProducesProblem(404).ProducesProblem(409);
        group.MapPost("/{id:guid}/maintenance", (Guid id, NodeMaintenanceRequest? maintenance, HttpContext http, NodeCordons cordons, CancellationToken ct) => cordons.BeginMaintenanceAsync(id, maintenance, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("Put an empty node into maintenance, or have it drained for that: its silence is no news then.").Produces<NodeView>().ProducesProblem(400).ProducesProblem(404).ProducesProblem(409).ProducesProblem(422);
        group.MapDelete("/{id:guid}/maintenance", (Guid id, HttpContext http, NodeCordons cordons, CancellationToken ct) => cordons.EndMaintenanceAsync(id, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("End the node's maintenance, and the drain that was for it.").Produces<NodeView>().ProducesProblem(404);
        group.MapPost("/{id:guid}/credentials/rotate", (Guid id, HttpContext http, NodeRotations rotations, CancellationToken ct) => rotations.RotateAsync(id, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("Have the node's worker fetch another token over its connection; the old one is good until the new one is used.").Produces<NodeView>().ProducesProblem(404);
        group.MapDelete("/{id:guid}/credentials", (Guid id, HttpContext http, NodeRotations rotations, CancellationToken ct) => rotations.RevokeAsync(id, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("Revoke the node's token at once; what runs there goes on, and the machine is let in again by a join token with replace.").Produces<NodeView>().ProducesProblem(404);
        group.MapDelete("/{id:guid}", (Guid id, HttpContext http, NodeDecommissions decommissions, CancellationToken ct, bool force = false) => decommissions.RemoveAsync(id, force, http.User, ct)).RequiresService(Role.Admin)
            .WithSummary("Take an empty node out of service. force: also one that is Unreachable with sandboxes, which fail; by it you say that the machine is off.").Produces(204).ProducesProblem(404).ProducesProblem(409).ProducesProblem(422);
        group.MapGet("/{id:guid}", Get).RequiresService(Role.Viewer).WithSummary("One node.").Produces<NodeView>().ProducesProblem(404);
    }

    public static IResult NotFound() => ApiProblem.Of(404, "node_not_found", "There is no node with that id.");

    public static async Task<IResult> Get(Guid id, SandboxDb db, CancellationToken ct) =>
        await ViewsAsync(db, db.Nodes.Where(n => n.Id == id), 1, ct) is [var node] ? Results.Ok(node) : NotFound();

    private static async Task<IResult> ListAsync(SandboxDb db, CancellationToken ct, int limit = Paging.MaxLimit, string? after = null, string? name = null, string? phase = null)
    {
        if (limit is < 1 or > Paging.MaxLimit) return Paging.LimitProblem();
        NodePhase? only = null;
        if (phase is not null)
        {
            if (!NamedEnum.TryParse<NodePhase>(phase, out var wanted)) return ApiProblem.Validation("phase", $"takes one of {string.Join(", ", Enum.GetNames<NodePhase>())}");
            only = wanted;
        }
        // Names are of letters, digits and hyphens, compared by the database as it orders them.
        var asked = db.Nodes.Where(n => (name == null || n.Name == name) && (only == null || n.Phase == only) && (after == null || string.Compare(n.Name, after) > 0));
        var views = await ViewsAsync(db, asked, limit + 1, ct);
        return Results.Ok(new Page<NodeView>(views.Take(limit).ToList(), views.Count > limit ? views[limit - 1].Name : null));
    }

    private static async Task<List<NodeView>> ViewsAsync(SandboxDb db, IQueryable<Node> asked, int most, CancellationToken ct)
    {
        var nodes = await asked.AsNoTracking().OrderBy(n => n.Name).Take(most).ToListAsync(ct);
        var ids = nodes.Select(n => (Guid?)n.Id).ToList();
        var used = await FleetReading.OnNodes(db).Where(s => ids.Contains(s.NodeId))
            .GroupBy(s => s.NodeId!.Value).Select(g => new { g.Key, Count = g.Count(), Vcpus = g.Sum(s => s.Vcpus), Mib = g.Sum(s => (long)s.MemoryMib) }).ToDictionaryAsync(g => g.Key, ct);
        var devices = await db.Devices.AsNoTracking().Where(d => d.Present && ids.Contains(d.NodeId)).GroupBy(d => d.NodeId).Select(g => new { g.Key, Count = g.Count() }).ToDictionaryAsync(g => g.Key, g => g.Count, ct);
        return nodes.Select(n =>
        {
            used.TryGetValue(n.Id, out var u);
            return new NodeView(n.Id, n.Name, n.Phase, n.LastReportAt, n.WorkerVersion, n.Facts, u?.Vcpus ?? 0, u?.Mib ?? 0, u?.Count ?? 0, devices.GetValueOrDefault(n.Id),
                n.Drain is { } d ? new(d.StartedAt, d.Deadline, d.Reason, u?.Count ?? 0, d.DrainedAt, d.ThenMaintenance) : null, n.MaintenanceSince, n.RotationWantedAt, n.Refusal);
        }).ToList();
    }
}
