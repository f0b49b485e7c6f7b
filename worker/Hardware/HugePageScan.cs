using System.Globalization;
using Contracts;
using Worker.Checks;

namespace Worker.Hardware;

// The kernel's huge page pools as they are now: of each NUMA node, or of the host where the kernel tells of no NUMA nodes.
// A pool that is there and cannot be read is told as unknown, never as empty. The kernel still counts pages as free that it has promised to processes (resv_hugepages, of the host as a
// whole): they are taken off here, from one NUMA node's pool after the other, so that all pools of a size together are right.
public static class HugePageScan
{
    private const string Nodes = "sys/devices/system/node", Host = "sys/kernel/mm/hugepages";

    public static IReadOnlyList<HugePagePool> Read(HostTree tree)
    {
        var pools = new List<HugePagePool>();
        foreach (var name in tree.Names(Nodes))
            if (name.StartsWith("node", StringComparison.Ordinal) && int.TryParse(name.AsSpan(4), NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                pools.AddRange(Pools(tree, $"{Nodes}/{name}/hugepages", number));
        if (pools.Count == 0)
            pools.AddRange(Pools(tree, Host, null));
        return [.. pools.GroupBy(pool => pool.SizeKib).SelectMany(same => Unpromised(same, Count(tree, $"{Host}/hugepages-{same.Key}kB/resv_hugepages"))).OrderBy(pool => pool.NumaNode).ThenBy(pool => pool.SizeKib)];
    }

    private static IEnumerable<HugePagePool> Unpromised(IEnumerable<HugePagePool> pools, long? promised)
    {
        var left = promised;
        foreach (var pool in pools)
        {
            if (pool.Free is not { } free || left is null)
            {
                yield return Unreadable(pool.NumaNode, pool.SizeKib);
                continue;
            }
            var taken = Math.Min(free, left.Value);
            left -= taken;
            yield return pool with { Free = free - taken };
        }
    }

    internal static IEnumerable<HugePagePool> Pools(HostTree tree, string directory, int? node)
    {
        foreach (var name in tree.Names(directory))
        {
            if (SizeKib(name) is not { } kib)
                continue;
            var (total, free) = (Count(tree, $"{directory}/{name}/nr_hugepages"), Count(tree, $"{directory}/{name}/free_hugepages"));
            yield return total is null || free is null || free > total
                ? Unreadable(node, kib)
                : new HugePagePool(node, kib, total, free);
        }
    }

    private static HugePagePool Unreadable(int? node, int kib) => new(node, kib, null, null, NodeReasons.HugePagesUnreadable.Code);

    /// <summary>"hugepages-2048kB".</summary>
    private static int? SizeKib(string name) =>
        name.StartsWith("hugepages-", StringComparison.Ordinal) && name.EndsWith("kB", StringComparison.Ordinal)
            && int.TryParse(name.AsSpan(10, name.Length - 12), NumberStyles.None, CultureInfo.InvariantCulture, out var kib) && kib > 0 ? kib : null;

    private static long? Count(HostTree tree, string path) => tree.Number(path) is { } pages and >= 0 ? pages : null;
}
