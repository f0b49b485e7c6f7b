using Api.Data;
using Api.Http;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Nodes;

/// <summary>What a node's worker found when it started; apart from the node's row, which every report reads.</summary>
public sealed class NodeInventoryRow
{
    public Guid NodeId { get; init; }
    public required NodeInventory Inventory { get; set; }
}

/// <summary>Takes inventories in and answers how ready a node is. An inventory replaces the one before; told twice it changes nothing.</summary>
public sealed class NodeInventories(IServiceScopeFactory scopes)
{
    public const int MaxFunctions = 16_384, MaxOthers = 4096, MaxText = 1024;

    public async Task StoreAsync(Guid nodeId, NodeInventory inventory, CancellationToken ct)
    {
        await using var scope = scopes.CreateAsyncScope();
        var db = scope.ServiceProvider.GetRequiredService<SandboxDb>();
        if (await db.NodeInventories.SingleOrDefaultAsync(i => i.NodeId == nodeId, ct) is { } row) row.Inventory = inventory;
        else db.NodeInventories.Add(new NodeInventoryRow { NodeId = nodeId, Inventory = inventory });
        await db.SaveChangesAsync(ct);
    }

    public static async Task<IResult> Readiness(Guid id, SandboxDb db, CancellationToken ct)
    {
        if (await db.Nodes.AsNoTracking().SingleOrDefaultAsync(n => n.Id == id, ct) is not { } node) return NodeEndpoints.NotFound();
        var row = await db.NodeInventories.AsNoTracking().SingleOrDefaultAsync(i => i.NodeId == id, ct);
        var hasImage = await db.NodeImages.AnyAsync(i => i.NodeId == id, ct) || node.ProtocolMinor >= NodeProtocol.RegisteredImages && await db.RegisteredImages.AnyAsync(i => i.Phase == ImagePhase.Ready, ct);
        return Results.Ok(new NodeReadinessView(
            node.Id, node.Name, node.Phase, CanRun(node) && hasImage, node.Facts?.Problems ?? [], row?.Inventory));
    }

    private static bool CanRun(Node node) => node is { Phase: NodePhase.Ready, Facts: { VcpuCapacity: > 0 } facts } && ((facts.VmmVersion ?? facts.KvmtoolVersion) is not null || facts.Origin == Origin.Simulated);

    /// <summary>Null when nothing is missing.</summary>
    public static string? Problem(NodeInventory? told)
    {
        if (told is not { Cpus: not null, Numa: not null, Smmus: not null, Uacce: not null, Functions: not null }) return "every list is required";
        if (told.Functions.Count > MaxFunctions || told.Cpus.Count > MaxOthers || told.Numa.Count > MaxOthers || told.Smmus.Count > MaxOthers || told.Uacce.Count > MaxOthers) return "a list is too long";
        return told.Functions.All(f => f is { Capabilities: not null, Verdict.Links: not null } && Fits(f.Address) && Fits(f.VendorId) && Fits(f.DeviceId) && Fits(f.ClassCode) && f.Verdict.Links.All(l => l is not null))
            ? null
            : "a function is not complete";
    }

    private static bool Fits(string? text) => text is { Length: > 0 and <= MaxText };
}
