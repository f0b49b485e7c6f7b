using Contracts;

namespace Api.Sandboxes;

/// <summary>Which node takes a sandbox, and which devices. Pure: it sees a picture of the fleet and changes only that picture.</summary>
public static class Placement
{
    public sealed record FreeDevice(Guid Id, string Class);

    public sealed class NodePicture
    {
        public required Guid Id { get; init; }
        public required string Name { get; init; }
        public required NodePhase Phase { get; init; }
        public required IReadOnlySet<Viommu> Viommus { get; init; }
        public required IReadOnlySet<string> Images { get; init; }
        public required int FreeVcpus { get; set; }
        public required long FreeMemoryMib { get; set; }
        public required List<FreeDevice> FreeDevices { get; init; }
    }

    public sealed record Request(string Image, int Vcpus, int MemoryMib, Viommu Viommu, IReadOnlyList<AcceleratorCount> Accelerators);

    public abstract record Result;
    public sealed record Placed(NodePicture Node, IReadOnlyList<FreeDevice> Devices) : Result;
    /// <param name="Reason">Code of the rule that refused the most nodes, or NoNodes.</param>
    /// <param name="Message">The rules with how many nodes each refused.</param>
    public sealed record Refused(string Reason, string Message) : Result;

    /// <summary>Picks the node with the most free vCPUs among those that every rule accepts, and takes its capacity in the picture.</summary>
    public static Result Choose(Request request, IReadOnlyList<NodePicture> nodes)
    {
        if (nodes.Count == 0) return new Refused("NoNodes", "No node has joined yet.");
        var refusals = new List<string>();
        NodePicture? best = null;
        foreach (var node in nodes)
        {
            if (Refusal(request, node) is { } reason) refusals.Add(reason);
            else if (best is null || node.FreeVcpus > best.FreeVcpus) best = node;
        }
        if (best is null) return Explain(refusals);

        var taken = new List<FreeDevice>();
        foreach (var wanted in request.Accelerators)
            taken.AddRange(best.FreeDevices.Where(d => d.Class == wanted.Class).Take(wanted.Count));
        best.FreeDevices.RemoveAll(taken.Contains);
        best.FreeVcpus -= request.Vcpus;
        best.FreeMemoryMib -= request.MemoryMib;
        return new Placed(best, taken);
    }

    /// <summary>The first rule that refuses the node, or null.</summary>
    public static string? Refusal(Request request, NodePicture node)
    {
        if (node.Phase != NodePhase.Ready) return "NodeNotReady";
        if (!node.Images.Contains(request.Image)) return "ImageNotOnNode";
        if (!node.Viommus.Contains(request.Viommu)) return "ViommuUnsupported";
        if (node.FreeVcpus < request.Vcpus) return "NotEnoughVcpus";
        if (node.FreeMemoryMib < request.MemoryMib) return "NotEnoughMemory";
        foreach (var wanted in request.Accelerators)
            if (node.FreeDevices.Count(d => d.Class == wanted.Class) < wanted.Count) return "NoFreeDevice";
        return null;
    }

    private static Refused Explain(List<string> refusals)
    {
        var groups = refusals.GroupBy(r => r).OrderByDescending(g => g.Count()).ThenBy(g => g.Key, StringComparer.Ordinal).ToList();
        var counts = string.Join(", ", groups.Select(g => $"{g.Key} on {g.Count()}"));
        return new Refused(groups[0].Key, $"No node can take it now: {counts} of {refusals.Count} node(s).");
    }
}
