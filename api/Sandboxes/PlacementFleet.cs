using Contracts;

namespace Api.Sandboxes;

/// <summary>A picture of the fleet, indexed so that a placement looks at few nodes: those of each device class by what is free on them, and what was refused by its shape.
/// Assumes: nobody else changes the nodes' pictures; capacity is only taken, so that what no node could take before, none can take later.</summary>
public sealed class PlacementFleet
{
    private readonly List<Placement.NodePicture> nodes;
    private readonly Dictionary<string, List<int>> byName = new(StringComparer.Ordinal);
    /// <summary>By device class; under the empty name all of them. The most free vCPUs first, then in the order of the list.</summary>
    private readonly Dictionary<string, SortedSet<(int Free, int Index)>> byClass = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Placement.Refused> refused = new(StringComparer.Ordinal);
    /// <summary>Projects some of whose sandboxes are to be apart from others of theirs: what their nodes answer depends on labels.</summary>
    private readonly HashSet<Guid> apart = [];
    /// <summary>Those that nodes are kept for: they may take what others of their shape may not.</summary>
    private readonly HashSet<Guid> keeping = [];
    private readonly HashSet<string> hopeless = new(StringComparer.Ordinal);

    private static readonly Comparer<(int Free, int Index)> FreestFirst = Comparer<(int Free, int Index)>.Create((a, b) => a.Free != b.Free ? b.Free.CompareTo(a.Free) : a.Index.CompareTo(b.Index));

    public PlacementFleet(IEnumerable<Placement.NodePicture> fleet)
    {
        nodes = [.. fleet];
        for (var i = 0; i < nodes.Count; i++)
        {
            if (!byName.TryGetValue(nodes[i].Name, out var same)) byName[nodes[i].Name] = same = [];
            same.Add(i);
            foreach (var of in ClassesOf(nodes[i])) Nodes(of).Add((nodes[i].FreeVcpus, i));
            if (nodes[i].Reservation is { } kept) keeping.Add(kept.For);
            foreach (var resident in nodes[i].Residents)
                if (resident.ApartFrom is not null) apart.Add(resident.Project);
        }
    }

    public IReadOnlyList<Placement.NodePicture> All => nodes;

    /// <summary>Picks the node with the most free vCPUs (to pack: the fewest) among those that every rule accepts, and takes its capacity in the picture.</summary>
    public Placement.Result Choose(Placement.Request request)
    {
        if (nodes.Count == 0) return new Placement.Refused(Placement.NoNodes, "No node has joined yet.");
        request = Founding(request);
        var shape = IsAlike(request) ? request.Shape : null;
        if (shape is not null && refused.TryGetValue(shape, out var before)) return before;
        if (Best(request) is not { } best)
        {
            var explained = Placement.Explain(nodes.ConvertAll(n => Placement.Refusal(request, n)!), request, nodes);
            if (explained.Reason == Placement.ImageFailed && request.Registered?.Problem is { } why) explained = explained with { Message = $"{explained.Message} {why}" };
            if (shape is not null) refused[shape] = explained;
            return explained;
        }
        if (request.ApartFrom is not null) apart.Add(request.Project);
        foreach (var of in ClassesOf(nodes[best])) Nodes(of).Remove((nodes[best].FreeVcpus, best));
        var placed = Placement.Take(request, nodes[best]);
        foreach (var of in ClassesOf(nodes[best])) Nodes(of).Add((nodes[best].FreeVcpus, best));
        return placed;
    }

    /// <summary>What <see cref="Choose"/> would do, node by node, without taking anything.</summary>
    public (Placement.NodePicture? Best, IReadOnlyList<(Placement.NodePicture Node, string? Refusal)> Nodes) Judge(Placement.Request request)
    {
        request = Founding(request);
        return (Best(request) is { } best ? nodes[best] : null, nodes.ConvertAll(node => (node, Placement.Refusal(request, node))));
    }

    /// <summary>Keeps the nodes that are nearest to taking it, so many at most, from those who ask later. False: no node that is not reserved yet could take it even if it were empty.</summary>
    public bool Reserve(Placement.Request request, int most)
    {
        request = Founding(request);
        var shape = IsAlike(request) ? request.Shape : null;
        if (shape is not null && hopeless.Contains(shape)) return false;
        // The nearest is the same or a nearer one at the next look, whoever looks: what is kept for it comes nearer, or stays as near.
        var nearest = nodes.Where(n => n.Reservation is null && Placement.Refusal(request, n, emptied: true) is null)
            .Select(n => (Lack: Placement.Lack(request, n), n.Id, Node: n)).OrderBy(n => n.Lack).ThenBy(n => n.Id).Take(most).ToList();
        foreach (var (_, _, node) in nearest) node.Reservation = new(request.Id, request.Priority);
        if (nearest.Count > 0) keeping.Add(request.Id);
        if (nearest.Count == 0 && shape is not null) hopeless.Add(shape);
        return nearest.Count > 0;
    }

    private int? Best(Placement.Request request)
    {
        if (request.WantedNode is { } wanted)
            return byName.TryGetValue(wanted, out var named) ? named.Where(i => Placement.Refusal(request, nodes[i]) is null).Select(i => (int?)i).FirstOrDefault() : null;
        var candidates = Nodes(Rarest(request));
        var packs = request.Strategy == PlacementStrategy.Pack;
        foreach (var (free, index) in packs ? candidates.Reverse() : candidates)
        {
            if (free < request.Vcpus && packs) continue;
            if (free < request.Vcpus) return null;
            if (Placement.Refusal(request, nodes[index]) is null) return index;
        }
        return null;
    }

    /// <summary>Whoever wants to be with others like itself, and is the first of them, may go anywhere.</summary>
    private Placement.Request Founding(Placement.Request request) =>
        request.With is { } with && Placement.Carries(request.Labels, with) && !nodes.Exists(n => n.Residents.Exists(r => r.Project == request.Project && Placement.Carries(r.Labels, with))) ? request with { With = null } : request;

    /// <summary>Whether all of its shape are answered alike.</summary>
    private bool IsAlike(Placement.Request request) => request.With is null && request.ApartFrom is null && !keeping.Contains(request.Id) && !apart.Contains(request.Project);

    /// <summary>The wanted class of which the fewest nodes have something free.</summary>
    private string Rarest(Placement.Request request)
    {
        var rarest = "";
        foreach (var wanted in request.Accelerators)
            if (Nodes(wanted.Class).Count <= Nodes(rarest).Count) rarest = wanted.Class;
        return rarest;
    }

    private SortedSet<(int Free, int Index)> Nodes(string of) => byClass.TryGetValue(of, out var known) ? known : byClass[of] = new SortedSet<(int Free, int Index)>(FreestFirst);

    private static HashSet<string> ClassesOf(Placement.NodePicture node)
    {
        var classes = new HashSet<string>(StringComparer.Ordinal) { "" };
        foreach (var device in node.FreeDevices) classes.Add(device.Class);
        return classes;
    }
}
