using Contracts;

namespace Api.Sandboxes;

/// <summary>Who ends so that one of higher priority has a place. Pure.
/// Guarantees: only guests of lower priority; on one node; together enough, and none of them could be spared; no more than needed where that can be told by looking at all sets of up to three,
/// then those of the lowest priority. Nobody when it fits already or will once those have ended that end anyway, or when no node would do without all of its lower guests.</summary>
public static class Preemption
{
    /// <summary>One that could end, or that ends anyway (<c>Leaves</c>). <c>Devices</c>: what it gives back then.</summary>
    public sealed record Guest(Guid Id, Guid Node, int Priority, int Vcpus, int MemoryMib, IReadOnlyList<Placement.FreeDevice> Devices, bool Leaves = false)
    {
        public HugePageSize HugePages { get; init; }
    }

    public sealed record Choice(Placement.NodePicture Node, IReadOnlyList<Guest> Victims);

    private const int MostSets = 2000, MostTogether = 3;

    public static Choice? Choose(Placement.Request request, IReadOnlyList<Placement.NodePicture> nodes, ILookup<Guid, Guest> guests)
    {
        var choices = new List<Choice>();
        foreach (var node in nodes)
        {
            var soon = Without(node, [.. guests[node.Id].Where(g => g.Leaves)]);
            if (Placement.Refusal(request, soon) is null) return null;
            var lower = guests[node.Id].Where(g => !g.Leaves && g.Priority < request.Priority).OrderBy(g => g.Priority).ThenByDescending(g => g.Id).ToList();
            if (lower.Count > 0 && Fits(request, soon, lower)) choices.Add(new(node, Fewest(request, soon, lower)));
        }
        return choices.OrderBy(c => c.Victims.Count).ThenBy(c => Cost(c.Victims)).ThenBy(c => c.Node.Id).FirstOrDefault();
    }

    /// <summary>Whether it would be taken if these had ended.</summary>
    public static bool Fits(Placement.Request request, Placement.NodePicture node, IReadOnlyCollection<Guest> ended) => Placement.Refusal(request, Without(node, ended)) is null;

    private static IReadOnlyList<Guest> Fewest(Placement.Request request, Placement.NodePicture node, List<Guest> lower)
    {
        for (var size = 1; size <= MostTogether && SetsOf(lower.Count, size) <= MostSets; size++)
            if (Sets(lower, size).Where(set => Fits(request, node, set)).MinBy(Cost) is { } found) return found;
        // Spares the smallest first, of those the highest in priority: what is left is what it takes.
        var victims = lower.ToList();
        foreach (var guest in lower.OrderBy(g => g.Devices.Count).ThenBy(g => g.Vcpus).ThenBy(g => g.MemoryMib).ThenByDescending(g => g.Priority))
        {
            victims.Remove(guest);
            if (!Fits(request, node, victims)) victims.Add(guest);
        }
        return victims;
    }

    /// <summary>The highest priority among them, then all of them.</summary>
    private static (int Highest, int Sum) Cost(IReadOnlyList<Guest> victims) => (victims.Max(v => v.Priority), victims.Sum(v => v.Priority));

    private static IEnumerable<IReadOnlyList<Guest>> Sets(List<Guest> of, int size, int from = 0)
    {
        if (size == 0) { yield return []; yield break; }
        for (var i = from; i <= of.Count - size; i++)
            foreach (var rest in Sets(of, size - 1, i + 1)) yield return [of[i], .. rest];
    }

    private static long SetsOf(int count, int size) => Enumerable.Range(0, size).Aggregate(1L, (sets, i) => sets * (count - i) / (i + 1));

    private static Placement.NodePicture Without(Placement.NodePicture node, IReadOnlyCollection<Guest> ended)
    {
        var ids = ended.Select(g => g.Id).ToHashSet();
        var without = new Placement.NodePicture
        {
            Id = node.Id,
            Name = node.Name,
            Phase = node.Phase,
            Vmms = node.Vmms,
            Viommus = node.Viommus,
            Images = node.Images,
            StartsRegistered = node.StartsRegistered,
            HasFirmware = node.HasFirmware,
            ImageCacheMaxBytes = node.ImageCacheMaxBytes,
            // Those of them too: who else runs from the same is not known here, so nobody ends to make room for an image.
            ImageFiles = [.. node.ImageFiles],
            VcpuCapacity = node.VcpuCapacity,
            MemoryCapacityMib = node.MemoryCapacityMib,
            FreeVcpus = node.FreeVcpus + ended.Sum(g => g.Vcpus),
            FreeMemoryMib = node.FreeMemoryMib + ended.Sum(g => (long)g.MemoryMib),
            HugePageCapacity = node.HugePageCapacity,
            FreeHugePages = node.FreeHugePages.ToDictionary(p => p.Key, p => p.Value + ended.Where(g => g.HugePages == p.Key).Sum(g => g.HugePages.PagesOf(g.MemoryMib))),
            FreeDevices = [.. node.FreeDevices, .. ended.SelectMany(g => g.Devices)],
            Reservation = node.Reservation,
        };
        without.Residents.AddRange(node.Residents.Where(r => !ids.Contains(r.Id)));
        return without;
    }
}
