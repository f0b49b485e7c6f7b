using Contracts;

namespace Api.Sandboxes;

/// <summary>Which rules let a node take a sandbox, and which devices it takes there. Pure: it sees a picture of the fleet and changes only that picture.
/// <see cref="PlacementFleet"/> finds the node, <see cref="PlacementQueue"/> says whose turn it is.</summary>
public static class Placement
{
    /// <summary><c>Viommus</c>: what QEMU can put it behind. A simulated device and the VMM that simulates it are for each other only.</summary>
    public sealed record FreeDevice(Guid Id, string Class, IReadOnlySet<Viommu> Viommus, bool FitsKvmtool)
    {
        public bool IsSimulated { get; init; }
        /// <summary>Hexadecimal.</summary>
        public string VendorId { get; init; } = "";
        public string DeviceId { get; init; } = "";
        public VerdictClass Verdict { get; init; } = VerdictClass.Unknown;
        /// <summary>Of the host; null: it does not say, or nobody asked.</summary>
        public int? NumaNode { get; set; }

        public bool Suits(Request request) => request.Vmm switch
        {
            Vmm.Simulated => IsSimulated,
            Vmm.Kvmtool => !IsSimulated && FitsKvmtool,
            _ => !IsSimulated && Viommus.Contains(request.Viommu),
        };

        public bool IsOfKind(AcceleratorCount wanted) => (wanted.VendorId is null || wanted.VendorId == VendorId) && (wanted.DeviceId is null || wanted.DeviceId == DeviceId);

        public bool IsJudged(AcceleratorCount wanted) => wanted.MinVerdict is not { } least || Level(Verdict) >= Level(least);

        public bool Serves(Request request, AcceleratorCount wanted) => Class == wanted.Class && IsOfKind(wanted) && IsJudged(wanted) && Suits(request);

        // To a guest, a device that only processes of the host share addresses with is passed through like others.
        private static int Level(VerdictClass verdict) => verdict switch
        {
            VerdictClass.GuestSvaDeviceFaults => 3,
            VerdictClass.GuestSvaPrefaultOnly => 2,
            VerdictClass.HostSvaStall or VerdictClass.PassthroughOnly => 1,
            _ => 0,
        };
    }

    /// <summary>A sandbox on a node, as far as rules ask for it.</summary>
    public sealed record Resident(Guid Id, Guid Project, IReadOnlyDictionary<string, string> Labels, IReadOnlyDictionary<string, string>? ApartFrom);

    /// <summary>A registered image. <c>Problem</c>: why it could not be downloaded; null: it could, or may yet.</summary>
    public sealed record Image(Guid Id, ImagePhase Phase, bool IsDisk, string? Problem = null)
    {
        public IReadOnlyList<ImageFile> Files { get; init; } = [];
    }

    public sealed record ImageFile(string Sha256, long Bytes);

    /// <summary>A node is kept for a waiting sandbox, from others of its priority and lower ones.</summary>
    public sealed record Reservation(Guid For, int Priority);

    public const string OtherNodeWanted = "OtherNodeWanted", NoNodes = "NoNodes", AffinityUnmet = "AffinityUnmet", AntiAffinity = "AntiAffinity", NoHugePages = "NoHugePages", ImageFailed = "ImageFailed";

    public sealed class NodePicture
    {
        public required Guid Id { get; init; }
        public required string Name { get; init; }
        public required NodePhase Phase { get; init; }
        public required IReadOnlySet<Vmm> Vmms { get; init; }
        /// <summary>QEMU's.</summary>
        public required IReadOnlySet<Viommu> Viommus { get; init; }
        /// <summary>Those in folders.</summary>
        public required IReadOnlySet<string> Images { get; init; }
        /// <summary>Whether its worker fetches registered images.</summary>
        public bool StartsRegistered { get; init; }
        /// <summary>Null: it does not say.</summary>
        public bool? HasFirmware { get; init; }
        /// <summary>What it keeps of registered images at most; null: it does not say.</summary>
        public long? ImageCacheMaxBytes { get; init; }
        /// <summary>The files of registered images from which its sandboxes run: those stay, whoever else comes.</summary>
        public HashSet<ImageFile> ImageFiles { get; init; } = [];
        /// <summary>All that it offers, in use or not.</summary>
        public required int VcpuCapacity { get; init; }
        public required long MemoryCapacityMib { get; init; }
        public required int FreeVcpus { get; set; }
        public required long FreeMemoryMib { get; set; }
        /// <summary>Huge pages of each size; of none that the node does not tell.</summary>
        public IReadOnlyDictionary<HugePageSize, long> HugePageCapacity { get; init; } = new Dictionary<HugePageSize, long>();
        public Dictionary<HugePageSize, long> FreeHugePages { get; init; } = [];
        public required List<FreeDevice> FreeDevices { get; init; }
        /// <summary>Those that a sandbox has, or that are being cleaned after one.</summary>
        public List<FreeDevice> HeldDevices { get; init; } = [];
        /// <summary>At least those of projects that ask for their own, and those that are to be apart from others.</summary>
        public List<Resident> Residents { get; } = [];
        /// <summary>Null: nobody has it kept.</summary>
        public Reservation? Reservation { get; set; }
    }

    public sealed record Request(string Image, int Vcpus, int MemoryMib, Viommu Viommu, IReadOnlyList<AcceleratorCount> Accelerators, Vmm Vmm = Vmm.Qemu, string? WantedNode = null)
    {
        /// <summary>The sandbox's; empty of one that there might be.</summary>
        public Guid Id { get; init; }

        /// <summary>Null: the image is a folder.</summary>
        public Image? Registered { get; init; }
        public Guid Project { get; init; }
        public int Priority { get; init; }
        /// <summary>Whether others of lower priority may end for it.</summary>
        public bool Preempts { get; init; }
        public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();
        public PlacementStrategy Strategy { get; init; }
        public IReadOnlyDictionary<string, string>? With { get; init; }
        public IReadOnlyDictionary<string, string>? ApartFrom { get; init; }
        public NumaLocality Numa { get; init; }
        public HugePageSize HugePages { get; init; }
        public long PagesNeeded => HugePages.PagesOf(MemoryMib);

        /// <summary>The same for all that every node answers alike, but for rules about others on it.</summary>
        public string Shape => $"{Image} {Registered?.Id} {Vcpus} {MemoryMib} {Viommu} {Vmm} {WantedNode} {Numa == NumaLocality.Required} {HugePages} {string.Join(' ', Accelerators.Select(a => $"{a.Count}*{a.Class}/{a.VendorId}/{a.DeviceId}/{a.MinVerdict}"))}";
    }

    public abstract record Result;
    public sealed record Placed(NodePicture Node, IReadOnlyList<FreeDevice> Devices) : Result;
    /// <param name="Reason">Code of the rule that refused the most nodes (of the wanted node, if it is here), or NoNodes.</param>
    /// <param name="Message">The rules with how many nodes each refused.</param>
    public sealed record Refused(string Reason, string Message) : Result;

    /// <summary>The first rule that refuses the node, or null. <paramref name="emptied"/>: as if nothing ran on it and nobody had it reserved.</summary>
    public static string? Refusal(Request request, NodePicture node, bool emptied = false)
    {
        if (request.WantedNode is not null && node.Name != request.WantedNode) return OtherNodeWanted;
        if (node.Phase == NodePhase.Cordoned) return "NodeCordoned";
        if (node.Phase == NodePhase.Draining) return "NodeDraining";
        if (node.Phase == NodePhase.Maintenance) return "NodeMaintenance";
        if (node.Phase != NodePhase.Ready) return "NodeNotReady";
        if ((request.Registered is { } image ? RefusalOfImage(image, request.Vmm, node, emptied) : node.Images.Contains(request.Image) ? null : "ImageNotOnNode") is { } ofImage) return ofImage;
        if (!node.Vmms.Contains(request.Vmm)) return "VmmNotOnNode";
        if (request.Vmm == Vmm.Qemu && !node.Viommus.Contains(request.Viommu)) return "ViommuUnsupported";
        if ((emptied ? node.VcpuCapacity : node.FreeVcpus) < request.Vcpus) return "NotEnoughVcpus";
        if ((emptied ? node.MemoryCapacityMib : node.FreeMemoryMib) < request.MemoryMib) return "NotEnoughMemory";
        if (request.HugePages != HugePageSize.None && RefusalOfHugePages(request, node, emptied) is { } pages) return pages;
        for (var i = 0; i < request.Accelerators.Count; i++)
            if (RefusalOfDevices(request, request.Accelerators[i], node, emptied) is { } reason) return reason;
        if (request.Numa == NumaLocality.Required && request.Accelerators.Count > 0 && Local(request, emptied ? [.. node.FreeDevices, .. node.HeldDevices] : node.FreeDevices) is null) return "NumaSplit";
        if (request.With is { } with && !node.Residents.Any(r => r.Project == request.Project && Carries(r.Labels, with))) return AffinityUnmet;
        if (!emptied && node.Residents.Any(r => IsApart(request, r))) return AntiAffinity;
        return !emptied && node.Reservation is { } kept && kept.For != request.Id && request.Priority <= kept.Priority ? "NodeReserved" : null;
    }

    private static string? RefusalOfImage(Image image, Vmm vmm, NodePicture node, bool emptied) =>
        image.Phase == ImagePhase.Failed ? ImageFailed
        : image.Phase != ImagePhase.Ready ? "ImageNotReady"
        : !node.StartsRegistered ? "WorkerTooOldForImage"
        : image.IsDisk && vmm == Vmm.Kvmtool ? "DiskImageUnsupported"
        : image.IsDisk && vmm == Vmm.Qemu && node.HasFirmware == false ? "FirmwareMissing"
        // A simulated machine starts nothing of it, so that nothing of it is fetched.
        : vmm == Vmm.Simulated ? null
        : image.Files.Sum(f => f.Bytes) > node.ImageCacheMaxBytes ? "ImageTooLarge"
        : !emptied && !HasRoom(node.ImageFiles.Union(image.Files), node) ? "ImageCacheFull"
        : null;

    /// <summary>Whether the node can keep all these.</summary>
    public static bool HasRoom(IEnumerable<ImageFile> files, NodePicture node) => !(files.Sum(f => f.Bytes) > node.ImageCacheMaxBytes);

    public static bool Carries(IReadOnlyDictionary<string, string> labels, IReadOnlyDictionary<string, string> wanted)
    {
        foreach (var (key, value) in wanted)
            if (!labels.TryGetValue(key, out var has) || has != value) return false;
        return true;
    }

    /// <summary>Whether one of the two is kept from the other.</summary>
    public static bool IsApart(Request request, Resident resident) => request.Project == resident.Project && (
        request.ApartFrom is { } apart && Carries(resident.Labels, apart) || resident.ApartFrom is { } from && Carries(request.Labels, from));

    // A pool that could not be read, or that an older worker does not tell of, is none that anything may be promised from.
    private static string? RefusalOfHugePages(Request request, NodePicture node, bool emptied) =>
        !(emptied ? node.HugePageCapacity : node.FreeHugePages).TryGetValue(request.HugePages, out var pages) ? "HugePagesUnknown" : pages < request.PagesNeeded ? NoHugePages : null;

    /// <summary>The counts behind a refusal for want of huge pages: of the node, or of the best of several. Null: nobody asks for any, or none of the nodes tells how many it has.</summary>
    public static string? HugePagesWords(Request request, IReadOnlyCollection<NodePicture> nodes)
    {
        var told = nodes.Where(n => n.FreeHugePages.ContainsKey(request.HugePages)).Select(n => Math.Max(0, n.FreeHugePages[request.HugePages])).ToList();
        return request.HugePages == HugePageSize.None || told.Count == 0 ? null : $"{request.HugePages.Words()}: {request.PagesNeeded} needed, {(nodes.Count > 1 ? "at most " : "")}{told.Max()} free{(nodes.Count > 1 ? " on a node" : "")}";
    }

    // That it may wait for others to end is told only where it would be placed then; else the first step that leaves too few of all the node's devices.
    private static string? RefusalOfDevices(Request request, AcceleratorCount wanted, NodePicture node, bool emptied)
    {
        var (all, kind, judged, suitable) = (0, 0, 0, 0);
        Count(node.FreeDevices);
        if (suitable >= wanted.Count) return null;
        Count(node.HeldDevices);
        if (suitable >= wanted.Count) return emptied ? null : "NoFreeDevice";
        if (Ends(all, kind)) return "NoDeviceOfThatKind";
        if (Ends(kind, judged)) return "VerdictTooLow";
        return Ends(judged, suitable) ? "NoSuitableDevice" : "NotEnoughDevices";

        bool Ends(int before, int after) => before > 0 && after < wanted.Count && (after == 0 || before >= wanted.Count);

        void Count(List<FreeDevice> devices)
        {
            foreach (var device in devices)
            {
                if (device.Class != wanted.Class) continue;
                all++;
                if (!device.IsOfKind(wanted)) continue;
                kind++;
                if (!device.IsJudged(wanted)) continue;
                judged++;
                if (device.Suits(request)) suitable++;
            }
        }
    }

    /// <summary>The devices, all of one NUMA node: the one that would have the fewest left; null: none has them.</summary>
    private static List<FreeDevice>? Local(Request request, List<FreeDevice> free) => free.Where(d => d.NumaNode is not null).GroupBy(d => d.NumaNode).OrderBy(g => g.Count()).ThenBy(g => g.Key)
        .Select(g => Pick(request, g)).FirstOrDefault(picked => picked.Count == request.Accelerators.Sum(a => a.Count));

    private static List<FreeDevice> Pick(Request request, IEnumerable<FreeDevice> free) =>
        request.Accelerators.SelectMany(wanted => free.Where(d => d.Serves(request, wanted)).Take(wanted.Count)).ToList();

    /// <summary>Takes the node's capacity and devices in the picture. Of a node that does not refuse it.</summary>
    public static Placed Take(Request request, NodePicture node)
    {
        var taken = request.Accelerators.Count == 0 ? [] : (request.Numa == NumaLocality.Any ? null : Local(request, node.FreeDevices)) ?? Pick(request, node.FreeDevices);
        if (taken.Count > 0)
        {
            node.FreeDevices.RemoveAll(taken.Contains);
            node.HeldDevices.AddRange(taken);
        }
        node.FreeVcpus -= request.Vcpus;
        node.FreeMemoryMib -= request.MemoryMib;
        if (request.HugePages != HugePageSize.None) node.FreeHugePages[request.HugePages] -= request.PagesNeeded;
        if (request is { Registered: { } image, Vmm: not Vmm.Simulated }) node.ImageFiles.UnionWith(image.Files);
        node.Residents.Add(new(request.Id, request.Project, request.Labels, request.ApartFrom));
        return new Placed(node, taken);
    }

    /// <summary>How far the node is from taking it, 0 when its capacity would do. It never grows while the node is given nothing.</summary>
    public static double Lack(Request request, NodePicture node)
    {
        var lack = Math.Max(0, request.Vcpus - node.FreeVcpus) / (double)request.Vcpus + Math.Max(0, request.MemoryMib - node.FreeMemoryMib) / (double)request.MemoryMib;
        if (request.HugePages != HugePageSize.None) lack += Math.Max(0, request.PagesNeeded - node.FreeHugePages.GetValueOrDefault(request.HugePages)) / (double)request.PagesNeeded;
        foreach (var wanted in request.Accelerators)
            lack += Math.Max(0, wanted.Count - node.FreeDevices.Count(d => d.Serves(request, wanted))) / (double)wanted.Count;
        return lack;
    }

    /// <summary>Of a request and its refusal by each node; without them the reasons alone.</summary>
    public static Refused Explain(IReadOnlyList<string> refusals, Request? request = null, IReadOnlyList<NodePicture>? nodes = null)
    {
        // That the other nodes are not the wanted one says nothing of why the wanted one refuses.
        var groups = refusals.GroupBy(r => r).OrderBy(g => g.Key == OtherNodeWanted).ThenByDescending(g => g.Count()).ThenBy(g => g.Key, StringComparer.Ordinal).ToList();
        var counts = string.Join(", ", groups.Select(g => $"{g.Key} on {g.Count()}"));
        var pages = request is not null && refusals.Contains(NoHugePages) ? HugePagesWords(request, [.. nodes!.Where((_, i) => refusals[i] == NoHugePages)]) : null;
        return new Refused(groups[0].Key, $"No node can take it now: {counts} of {refusals.Count} node(s).{(pages is null ? "" : $" Huge pages of {pages}.")}");
    }
}
