using Api.Nodes;
using Contracts;
using Microsoft.EntityFrameworkCore;

namespace Api.Sandboxes;

/// <summary>How many huge pages a node has for sandboxes, and how many of them are left: those of its NUMA nodes together.
/// A pool has the pages that are free and those that its guests have. Whatever else on the host uses some, has taken them from all: only what the kernel still has can be promised.
/// Assumes: a guest has its pages from Booting until it has ended, as QEMU takes all of them before it starts a guest. What a report said before a guest had begun, counts that guest's pages
/// as somebody else's until the next one: too few for a moment, never too many.</summary>
public sealed class HugePageUse
{
    private static readonly HugePageSize[] Sizes = [HugePageSize.Size2Mi, HugePageSize.Size1Gi];
    private readonly Dictionary<(Guid Node, HugePageSize Size), (long Placed, long Begun)> uses = [];

    /// <summary>Of sandboxes that are on nodes' account (<see cref="FleetReading.OnNodes"/>).</summary>
    public static async Task<HugePageUse> ReadAsync(IQueryable<Sandbox> onNodes, CancellationToken ct)
    {
        var rows = await onNodes.Where(s => s.HugePages != HugePageSize.None)
            .GroupBy(s => new { Node = s.NodeId!.Value, s.HugePages, Begun = s.Phase == Phase.Booting || s.Phase == Phase.Running || s.Phase == Phase.Stopping })
            .Select(g => new { g.Key.Node, g.Key.HugePages, g.Key.Begun, Mib = g.Sum(s => (long)s.MemoryMib) }).ToListAsync(ct);
        var use = new HugePageUse();
        foreach (var row in rows) use.Add(row.Node, row.HugePages, row.HugePages.PagesOf(row.Mib), row.Begun);
        return use;
    }

    public void Add(Guid node, HugePageSize size, long pages, bool begun)
    {
        var (placed, has) = uses.GetValueOrDefault((node, size));
        uses[(node, size)] = (placed + pages, has + (begun ? pages : 0));
    }

    /// <summary>As if nothing ran on it. None of a size of which a pool is unknown.</summary>
    public Dictionary<HugePageSize, long> CapacityOf(Node node)
    {
        var pages = new Dictionary<HugePageSize, long>();
        foreach (var size in Sizes)
        {
            var pools = (node.Facts?.HugePages ?? []).Where(p => p.SizeKib == size.Kib()).ToList();
            if (pools.Count == 0 || pools.Exists(p => p.Total is null || p.Free is null)) continue;
            pages[size] = Math.Min(pools.Sum(p => p.Total!.Value), pools.Sum(p => p.Free!.Value) + uses.GetValueOrDefault((node.Id, size)).Begun);
        }
        return pages;
    }

    public Dictionary<HugePageSize, long> FreeOf(Node node) => CapacityOf(node).ToDictionary(p => p.Key, p => p.Value - uses.GetValueOrDefault((node.Id, p.Key)).Placed);
}
