using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

public static class NodeEndpoints
{
    public static void MapNodes(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/v1/nodes").WithTags("Nodes");
        group.MapGet("/", async (SandboxDb db, CancellationToken ct) => TypedResults.Ok(new Page<NodeView>(await ViewsAsync(db, null, ct), null))).RequiresService(Role.Viewer)
            .WithSummary("Every node, what it is and what of it is in use.");
        group.MapPost("/join-tokens", (JoinTokenCreate? create, NodeJoining joining, CancellationToken ct) => joining.CreateTokenAsync(create, ct)).RequiresService(Role.Admin)
            .WithSummary("A token by which one machine may become a node, once. It is shown here only.").Produces<JoinTokenView>(201).ProducesProblem(400).ProducesProblem(409).ProducesProblem(422);
        group.MapPost("/join", (NodeJoin? join, HttpContext http, NodeJoining joining, CancellationToken ct) => joining.JoinAsync(http.User, join, ct)).RequireAuthorization(Schemes.JoinToken)
            .WithSummary("What a worker does with its join token as bearer: become the node, and get the node's own token.").Produces<NodeJoined>(201).ProducesProblem(400).ProducesProblem(401).ProducesProblem(409).ProducesProblem(422).ProducesProblem(429).ProducesProblem(503);
        group.MapGet("/{id:guid}/readiness", NodeInventories.Readiness).RequiresService(Role.Viewer)
            .WithSummary("What the node has for SVA: cores, SMMUs, and every PCI function with its verdict, link by link.").Produces<NodeReadinessView>().ProducesProblem(404);
        group.MapGet("/{id:guid}", Get).RequiresService(Role.Viewer).WithSummary("One node.").Produces<NodeView>().ProducesProblem(404);
    }

    private static async Task<IResult> Get(Guid id, SandboxDb db, CancellationToken ct) =>
        await ViewsAsync(db, id, ct) is [var node] ? Results.Ok(node) : ApiProblem.Of(404, "node_not_found", "There is no node with that id.");

    private static async Task<List<NodeView>> ViewsAsync(SandboxDb db, Guid? only, CancellationToken ct)
    {
        var nodes = await db.Nodes.AsNoTracking().Where(n => only == null || n.Id == only).OrderBy(n => n.Name).ToListAsync(ct);
        var used = await db.Sandboxes.AsNoTracking().Where(s => s.NodeId != null && s.Phase != Phase.Stopped && s.Phase != Phase.Failed && s.Phase != Phase.Pending)
            .GroupBy(s => s.NodeId!.Value).Select(g => new { g.Key, Count = g.Count(), Vcpus = g.Sum(s => s.Vcpus), Mib = g.Sum(s => (long)s.MemoryMib) }).ToDictionaryAsync(g => g.Key, ct);
        var devices = await db.Devices.AsNoTracking().Where(d => d.Present).GroupBy(d => d.NodeId).Select(g => new { g.Key, Count = g.Count() }).ToDictionaryAsync(g => g.Key, g => g.Count, ct);
        return nodes.Select(n =>
        {
            used.TryGetValue(n.Id, out var u);
            return new NodeView(n.Id, n.Name, n.Phase, n.LastReportAt, n.WorkerVersion, n.Facts, u?.Vcpus ?? 0, u?.Mib ?? 0, u?.Count ?? 0, devices.GetValueOrDefault(n.Id));
        }).ToList();
    }
}
