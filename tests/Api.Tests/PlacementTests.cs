using Api.Sandboxes;
using Contracts;
using CsCheck;
using Xunit;

namespace Api.Tests;

public sealed class PlacementTests
{
    private static Placement.FreeDevice Edu(bool fitsKvmtool = false, params Viommu[] viommus) => new(Guid.NewGuid(), "edu", viommus.ToHashSet(), fitsKvmtool);

    private static Placement.NodePicture Node(string name = "n", int vcpus = 4, NodePhase phase = NodePhase.Ready, Vmm[]? vmms = null, params Placement.FreeDevice[] devices) => new()
    {
        Id = Guid.NewGuid(),
        Name = name,
        Phase = phase,
        Vmms = (vmms ?? [Vmm.Qemu]).ToHashSet(),
        Viommus = new HashSet<Viommu> { Viommu.None },
        Images = new HashSet<string> { "guest" },
        VcpuCapacity = vcpus,
        MemoryCapacityMib = 10_000,
        FreeVcpus = vcpus,
        FreeMemoryMib = 10_000,
        FreeDevices = [.. devices],
    };

    private static Placement.Request Wants(int edu, Vmm vmm = Vmm.Qemu, Viommu viommu = Viommu.None, string? node = null, int vcpus = 1) =>
        new("guest", vcpus, 128, viommu, edu == 0 ? [] : [new AcceleratorCount("edu", edu)], vmm, node);

    private static string ReasonOf(Placement.Result result) => Assert.IsType<Placement.Refused>(result).Reason;

    [Fact]
    public void Choose_AnyFleet_NeverTakesMoreThanIsFreeAndSuits() => Gen.Select(Gen.Int[0, 8], Gen.Bool.Array[0, 4], Gen.Int[1, 3], Gen.Int[0, 3], Gen.Int[1, 12]).Sample((vcpus, suits, wantVcpus, wantDevices, requests) =>
    {
        var devices = suits.Select(s => Edu(viommus: s ? Viommu.None : Viommu.Virtio)).ToList();
        var node = Node(vcpus: vcpus, devices: [.. devices]);
        var fleet = new PlacementFleet([node]);
        var given = Enumerable.Range(0, requests).Select(_ => fleet.Choose(Wants(wantDevices, vcpus: wantVcpus))).OfType<Placement.Placed>().ToList();
        Assert.True(given.Count * wantVcpus <= vcpus);
        var taken = given.SelectMany(g => g.Devices).ToList();
        Assert.Equal(taken.Count, taken.Select(d => d.Id).Distinct().Count());
        Assert.All(taken, d => Assert.Contains(Viommu.None, d.Viommus));
        Assert.All(given, g => Assert.Equal(wantDevices, g.Devices.Count));
        var possible = Math.Min(vcpus / wantVcpus, wantDevices == 0 ? int.MaxValue : suits.Count(s => s) / wantDevices);
        Assert.Equal(Math.Min(possible, requests), given.Count);
    });

    [Theory]
    [InlineData("other", Viommu.None, 1, 128, 0, "ImageNotOnNode")]
    [InlineData("guest", Viommu.Virtio, 1, 128, 0, "ViommuUnsupported")]
    [InlineData("guest", Viommu.None, 5, 128, 0, "NotEnoughVcpus")]
    [InlineData("guest", Viommu.None, 1, 40_000, 0, "NotEnoughMemory")]
    [InlineData("guest", Viommu.None, 1, 128, 2, "NotEnoughDevices")]
    public void Choose_WhenARuleRefuses_SaysWhich(string image, Viommu viommu, int vcpus, int mib, int edu, string reason) =>
        Assert.Equal(reason, ReasonOf(new PlacementFleet([Node(devices: Edu(viommus: Viommu.None))]).Choose(Wants(edu, viommu: viommu, vcpus: vcpus) with { Image = image, MemoryMib = mib })));

    [Theory]
    [InlineData(Vmm.Qemu, true, false, null)]
    [InlineData(Vmm.Qemu, false, true, "VmmNotOnNode")]
    [InlineData(Vmm.Kvmtool, true, false, "VmmNotOnNode")]
    [InlineData(Vmm.Kvmtool, false, true, null)]
    [InlineData(Vmm.Kvmtool, true, true, null)]
    public void Refusal_ByVmm(Vmm wanted, bool qemu, bool kvmtool, string? reason) => Assert.Equal(reason, Placement.Refusal(Wants(0, wanted),
        Node(vmms: [.. qemu ? [Vmm.Qemu] : Array.Empty<Vmm>(), .. kvmtool ? [Vmm.Kvmtool] : Array.Empty<Vmm>()])));

    [Fact]
    public void Refusal_OfKvmtool_DoesNotAskWhichIommusQemuHas() =>
        Assert.Null(Placement.Refusal(Wants(0, Vmm.Kvmtool), new Placement.NodePicture { Id = Guid.Empty, Name = "n", Phase = NodePhase.Ready, Vmms = new HashSet<Vmm> { Vmm.Kvmtool }, Viommus = new HashSet<Viommu>(), Images = new HashSet<string> { "guest" }, VcpuCapacity = 1, MemoryCapacityMib = 128, FreeVcpus = 1, FreeMemoryMib = 128, FreeDevices = [] }));

    /// <summary>Devices: one letter each. q: QEMU without an IOMMU; s: QEMU behind an SMMUv3; k: kvmtool; m: simulated, whatever else it says that it fits.</summary>
    [Theory]
    [InlineData(Vmm.Qemu, 1, "q", null)]
    [InlineData(Vmm.Qemu, 1, "s", "NoSuitableDevice")]
    [InlineData(Vmm.Qemu, 1, "k", "NoSuitableDevice")]
    [InlineData(Vmm.Qemu, 1, "", "NotEnoughDevices")]
    [InlineData(Vmm.Qemu, 2, "s", "NoSuitableDevice")]
    [InlineData(Vmm.Qemu, 2, "qs", "NoSuitableDevice")]
    [InlineData(Vmm.Qemu, 3, "qs", "NotEnoughDevices")]
    [InlineData(Vmm.Qemu, 2, "sqsq", null)]
    [InlineData(Vmm.Kvmtool, 1, "q", "NoSuitableDevice")]
    [InlineData(Vmm.Kvmtool, 1, "qk", null)]
    [InlineData(Vmm.Kvmtool, 2, "kqk", null)]
    [InlineData(Vmm.Kvmtool, 1, "", "NotEnoughDevices")]
    [InlineData(Vmm.Simulated, 1, "qsk", "NoSuitableDevice")]
    [InlineData(Vmm.Simulated, 2, "qmkm", null)]
    [InlineData(Vmm.Simulated, 1, "", "NotEnoughDevices")]
    [InlineData(Vmm.Qemu, 1, "m", "NoSuitableDevice")]
    [InlineData(Vmm.Kvmtool, 1, "m", "NoSuitableDevice")]
    public void Choose_ByWhatDevicesFit(Vmm vmm, int wanted, string free, string? reason)
    {
        var devices = free.Select(f => f switch { 'q' => Edu(viommus: Viommu.None), 's' => Edu(viommus: Viommu.Smmuv3), 'm' => Edu(true, Viommu.None, Viommu.Smmuv3) with { IsSimulated = true }, _ => Edu(fitsKvmtool: true) }).ToArray();
        var request = Wants(wanted, vmm);
        var result = new PlacementFleet([Node(vmms: [Vmm.Qemu, Vmm.Kvmtool, Vmm.Simulated], devices: devices)]).Choose(request);
        if (reason is not null) Assert.Equal(reason, ReasonOf(result));
        else Assert.All(Assert.IsType<Placement.Placed>(result).Devices, d => Assert.True(d.Suits(request)));
    }

    [Fact]
    public void Choose_WhenANodeIsWanted_TakesNoOther()
    {
        var (big, wanted) = (Node("big", vcpus: 64), Node("wanted"));
        Assert.Equal("wanted", Assert.IsType<Placement.Placed>(new PlacementFleet([big, wanted]).Choose(Wants(0, node: "wanted"))).Node.Name);
        Assert.Equal("OtherNodeWanted", ReasonOf(new PlacementFleet([big, wanted]).Choose(Wants(0, node: "elsewhere"))));
    }

    [Fact]
    public void Choose_WhenTheWantedNodeRefuses_SaysWhyIt_NotThatTheOthersAreOthers()
    {
        var refused = Assert.IsType<Placement.Refused>(new PlacementFleet([Node("a"), Node("b"), Node("wanted", phase: NodePhase.Unreachable)]).Choose(Wants(0, node: "wanted")));
        Assert.Equal("NodeNotReady", refused.Reason);
        Assert.Contains("OtherNodeWanted on 2", refused.Message, StringComparison.Ordinal);
    }
}
