namespace Api.Sandboxes;

/// <summary>The rules by which placement refuses a node, each with a sentence and what helps. A test finds one that is not here.</summary>
public static class PlacementReasons
{
    public static readonly IReadOnlyDictionary<string, (string Message, string Remedy)> All = new Dictionary<string, (string, string)>(StringComparer.Ordinal)
    {
        [Placement.NoNodes] = ("No node has joined yet.", "Join one: POST /v1/nodes/join-tokens."),
        [Placement.OtherNodeWanted] = ("The sandbox asks for another node by name.", "Leave node out, or name this one."),
        ["NodeCordoned"] = ("An operator lets the node take nothing new.", "Wait, or have it uncordoned: POST /v1/nodes/{id}/uncordon."),
        ["NodeDraining"] = ("An operator is emptying the node.", "Wait, or ask for another node."),
        ["NodeMaintenance"] = ("The node is in maintenance.", "Wait, or ask for another node."),
        ["NodeNotReady"] = ("The node does not report, or has not reported yet.", "Look at the node's worker."),
        ["ImageNotOnNode"] = ("The node does not have the image.", "Put it into the node's image directory."),
        ["VmmNotOnNode"] = ("The node does not have the VMM.", "Install it there, or ask for another."),
        ["ViommuUnsupported"] = ("The node's QEMU cannot give a guest that IOMMU.", "Ask for another viommu, or update the node's QEMU."),
        ["NotEnoughVcpus"] = ("Too few of the node's vCPUs are free.", "Ask for fewer, or wait until others end."),
        ["NotEnoughMemory"] = ("Too little of the node's memory is free.", "Ask for less, or wait until others end."),
        ["NoSuitableDevice"] = ("The node has devices of the class, but not enough that fit behind that IOMMU and into that VMM.", "Ask for another viommu or VMM (GET /v1/devices says what each fits)."),
        ["NoFreeDevice"] = ("Too few devices of the class are free on the node.", "Wait until others end, or ask for fewer."),
    };
}
