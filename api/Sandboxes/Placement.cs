using Contracts;

namespace Api.Sandboxes;

/// <summary>Which node takes a sandbox, and which devices. Pure: it sees a picture of the fleet and changes only that picture.</summary>
public static class Placement
{
    /// <summary><c>Viommus</c>: what QEMU can put it behind. A simulated device and the VMM that simulates it are for each other only.</summary>
    public sealed record FreeDevice(Guid Id, string Class, IReadOnlySet<Viommu> Viommus, bool FitsKvmtool)
    {
        public bool IsSimulated { get; init; }

        public bool Suits(Request request) => request.Vmm switch
        {
            Vmm.Simulated => IsSimulated,
            Vmm.Kvmtool => !IsSimulated && FitsKvmtool,
            _ => !IsSimulated && Viommus.Contains(request.Viommu),
        };
    }

    public const string OtherNodeWanted = "OtherNodeWanted", NoNodes = "NoNodes";

    public sealed class NodePicture
    {
        public required Guid Id { get; init; }
        public required string Name { get; init; }
        public required NodePhase Phase { get; init; }
        public required IReadOnlySet<Vmm> Vmms { get; init; }
        /// <summary>QEMU's.</summary>
        public required IReadOnlySet<Viommu> Viommus { get; init; }
        public required IReadOnlySet<string> Images { get; init; }
        public required int FreeVcpus { get; set; }
        public required long FreeMemoryMib { get; set; }
        public required List<FreeDevice> FreeDevices { get; init; }
    }

    public sealed record Request(string Image, int Vcpus, int MemoryMib, Viommu Viommu, IReadOnlyList<AcceleratorCount> Accelerators, Vmm Vmm = Vmm.Qemu, string? WantedNode = null);

    public abstract record Result;
    public sealed record Placed(NodePicture Node, IReadOnlyList<FreeDevice> Devices) : Result;
    /// <param name="Reason">Code of the rule that refused the most nodes (of the wanted node, if it is here), or NoNodes.</param>
    /// <param name="Message">The rules with how many nodes each refused.</param>
    public sealed record Refused(string Reason, string Message) : Result;

    /// <summary>Picks the node with the most free vCPUs among those that every rule accepts, and takes its capacity in the picture.</summary>
    public static Result Choose(Request request, IReadOnlyList<NodePicture> nodes)
    {
        if (nodes.Count == 0) return new Refused(NoNodes, "No node has joined yet.");
        var refusals = new List<string>();
        NodePicture? best = null;
        foreach (var node in nodes)
        {
            if (Refusal(request, node) is { } reason) refusals.Add(reason);
            else if (best is null || IsBetter(node, best)) best = node;
        }
        if (best is null) return Explain(refusals);

        var taken = new List<FreeDevice>();
        foreach (var wanted in request.Accelerators)
            taken.AddRange(best.FreeDevices.Where(d => d.Class == wanted.Class && d.Suits(request)).Take(wanted.Count));
        best.FreeDevices.RemoveAll(taken.Contains);
        best.FreeVcpus -= request.Vcpus;
        best.FreeMemoryMib -= request.MemoryMib;
        return new Placed(best, taken);
    }

    /// <summary>What <see cref="Choose"/> would do, node by node, without taking anything.</summary>
    public static (NodePicture? Best, IReadOnlyList<(NodePicture Node, string? Refusal)> Nodes) Judge(Request request, IReadOnlyList<NodePicture> nodes)
    {
        var judged = nodes.Select(node => (Node: node, Refusal: Refusal(request, node))).ToList();
        return (judged.Where(n => n.Refusal is null).Select(n => n.Node).Aggregate((NodePicture?)null, (best, node) => best is null || IsBetter(node, best) ? node : best), judged);
    }

    private static bool IsBetter(NodePicture node, NodePicture best) => node.FreeVcpus > best.FreeVcpus;

    /// <summary>The first rule that refuses the node, or null.</summary>
    public static string? Refusal(Request request, NodePicture node)
    {
        if (request.WantedNode is not null && node.Name != request.WantedNode) return OtherNodeWanted;
        if (node.Phase == NodePhase.Cordoned) return "NodeCordoned";
        if (node.Phase == NodePhase.Draining) return "NodeDraining";
        if (node.Phase == NodePhase.Maintenance) return "NodeMaintenance";
        if (node.Phase != NodePhase.Ready) return "NodeNotReady";
        if (!node.Images.Contains(request.Image)) return "ImageNotOnNode";
        if (!node.Vmms.Contains(request.Vmm)) return "VmmNotOnNode";
        if (request.Vmm == Vmm.Qemu && !node.Viommus.Contains(request.Viommu)) return "ViommuUnsupported";
        if (node.FreeVcpus < request.Vcpus) return "NotEnoughVcpus";
        if (node.FreeMemoryMib < request.MemoryMib) return "NotEnoughMemory";
        return request.Accelerators.Select(wanted => RefusalOfDevices(request, wanted, node)).FirstOrDefault(reason => reason is not null);
    }

    // That more become free helps only where one of them could suit.
    private static string? RefusalOfDevices(Request request, AcceleratorCount wanted, NodePicture node)
    {
        var free = node.FreeDevices.Where(d => d.Class == wanted.Class).ToList();
        var suitable = free.Count(d => d.Suits(request));
        if (suitable >= wanted.Count) return null;
        return free.Count > 0 && (suitable == 0 || free.Count >= wanted.Count) ? "NoSuitableDevice" : "NoFreeDevice";
    }

    private static Refused Explain(List<string> refusals)
    {
        // That the other nodes are not the wanted one says nothing of why the wanted one refuses.
        var groups = refusals.GroupBy(r => r).OrderBy(g => g.Key == OtherNodeWanted).ThenByDescending(g => g.Count()).ThenBy(g => g.Key, StringComparer.Ordinal).ToList();
        var counts = string.Join(", ", groups.Select(g => $"{g.Key} on {g.Count()}"));
        return new Refused(groups[0].Key, $"No node can take it now: {counts} of {refusals.Count} node(s).");
    }
}
