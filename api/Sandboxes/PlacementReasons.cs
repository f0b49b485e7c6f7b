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
        [Placement.ImageFailed] = ("The registered image could not be downloaded.", "Look at its failure (GET /v1/images/{id}), and upload its files, or delete sandbox and image and register it anew."),
        ["ImageNotReady"] = ("Not every file of the registered image is here yet.", "Upload what is missing (GET /v1/images/{id} says what), or wait until it is downloaded."),
        ["WorkerTooOldForImage"] = ("The node's worker does not fetch registered images yet.", "Update the node's worker, or use an image that the node has in a folder."),
        ["DiskImageUnsupported"] = ("The image is a disk, which kvmtool starts no guest from.", "Ask for vmm qemu, or for an image that has a kernel."),
        ["FirmwareMissing"] = ("The image is a disk, and the node has no UEFI for arm64 guests.", "Install qemu-efi-aarch64 on the node, or use an image that has a kernel."),
        ["ImageTooLarge"] = ("The registered image is larger than all that the node keeps of images.", "Raise Worker__ImageCacheMaxBytes on the node, or ask for another image."),
        ["ImageCacheFull"] = ("The registered image does not fit on the node beside those from which its sandboxes run.", "Wait until others end, raise Worker__ImageCacheMaxBytes on the node, or ask for another node."),
        ["ImageNotOnNode"] = ("The node does not have the image.", "Put it into the node's image directory."),
        ["VmmNotOnNode"] = ("The node does not have the VMM.", "Install it there, or ask for another."),
        ["ViommuUnsupported"] = ("The node's QEMU cannot give a guest that IOMMU.", "Ask for another viommu, or update the node's QEMU."),
        ["NotEnoughVcpus"] = ("Too few of the node's vCPUs are free.", "Ask for fewer, or wait until others end."),
        ["NotEnoughMemory"] = ("Too little of the node's memory is free.", "Ask for less, or wait until others end."),
        [Placement.NoHugePages] = ("Too few of the node's huge pages of that size are free.", "Have more set aside on the node (nr_hugepages), wait until others end, or ask for another size or none."),
        ["HugePagesUnknown"] = ("The node does not tell how many huge pages of that size it has: it has no such size, could not read it, or its worker is older.", "Ask for another size or none, or have the node's worker updated."),
        ["NoSuitableDevice"] = ("The node has devices of the class, but not enough that fit behind that IOMMU and into that VMM.", "Ask for another viommu or VMM (GET /v1/devices says what each fits)."),
        ["NoDeviceOfThatKind"] = ("The node's devices of the class are not, or too few of them, of that vendor and device.", "Leave vendorId and deviceId out, or name others (GET /v1/devices says which there are)."),
        ["VerdictTooLow"] = ("The node judges its devices of the class, or too many of them, below the wanted verdict.", "Ask for a lower minVerdict; GET /v1/devices says which link of the chain breaks each."),
        ["NumaSplit"] = ("No NUMA node of the host has all the devices, or the host does not say where they are.", "Ask for numa preferred, for fewer devices, or wait until others end."),
        ["AffinityUnmet"] = ("No sandbox of the project that carries the labels of placement.with is on the node.", "Start one that does first, or leave placement.with out."),
        ["AntiAffinity"] = ("A sandbox of the project is on the node from which this one, or which from this one, is to be apart.", "Join another node, wait until that one ends, or leave placement.apartFrom out."),
        ["NodeReserved"] = ("The node is kept for another sandbox: one that was passed over for long, or one for which others end.", "Wait, or ask with a higher priority."),
        ["NoFreeDevice"] = ("Too few devices that the sandbox could have are free on the node.", "Wait until others end, or ask for fewer."),
        ["NotEnoughDevices"] = ("The node has too few devices of the class, even if none were in use. Those in quarantine, and those that are gone, do not count.", "Ask for fewer, or for another class (GET /v1/device-classes)."),
    };
}
