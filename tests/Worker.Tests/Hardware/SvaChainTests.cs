using Contracts;
using Worker.Checks;
using Worker.Hardware;
using Worker.Hardware.Pci;
using Worker.Hardware.Verdicts;
using Xunit;

namespace Worker.Tests.Hardware;

public sealed class SvaChainTests
{
    private static readonly QemuFacts Qemu11 = new("/usr/bin/qemu-system-aarch64", "11.1.3", new HashSet<string>(), new HashSet<string>(),
        new HashSet<string> { "accel", "ats", "oas", "ril", "ssidsize" }, new HashSet<string> { "host", "iommufd" });
    private static readonly QemuFacts Qemu7 = Qemu11 with { Version = "7.2.22", SmmuProperties = new HashSet<string> { "bus_num" }, VfioProperties = new HashSet<string> { "host" } };
    // 16 bits of substream, 48 bits of output, no stall, range invalidation.
    private static readonly SmmuHardware Told = new(16, 32, 48, 1, true, 20, 0x43B, 0x487);

    private static Verdict Judge(FixtureTree machine, QemuFacts? vmm = null, SmmuHardware? told = null, string address = Machines.Accelerator)
    {
        using (machine)
        {
            var host = machine.Scan();
            var function = host.Functions.Single(f => f.Address.ToString() == address);
            return SvaChain.Judge(function, told is null ? host : host with { Asked = new Dictionary<PciAddress, SmmuHardware> { [function.Address] = told } }, vmm ?? Qemu11);
        }
    }

    private static string Reason(Verdict verdict, VerdictLinkName link) => verdict.Links.Single(l => l.Link == link).Reason;

    [Fact]
    public void Judge_OfGraceHopper_SharesAddressesAndTheDeviceResumesFaults()
    {
        var verdict = Judge(Machines.GraceHopper(), told: Told);
        Assert.Equal((VerdictClass.GuestSvaDeviceFaults, Origin.Hardware), (verdict.Class, verdict.Origin));
        Assert.All(verdict.Links.Where(l => l.Link != VerdictLinkName.Guest), l => Assert.Equal(LinkStatus.Pass, l.Status));
        Assert.Equal(Enum.GetValues<VerdictLinkName>(), verdict.Links.Select(l => l.Link));
    }

    [Fact]
    public void Judge_OfAnyOtherVendorWithAtsAndPasid_NeedsMemoryThatIsPresent()
    {
        var machine = Machines.GraceHopper();
        machine.Text($"sys/bus/pci/devices/{Machines.Accelerator}/vendor", "0x15b3");
        Assert.Equal(VerdictClass.GuestSvaPrefaultOnly, Judge(machine, told: Told).Class);
    }

    [Fact]
    public void Judge_OfGraceHopperBeforeIommufdWasAsked_IsUnknownAndSaysWhy()
    {
        var verdict = Judge(Machines.GraceHopper());
        Assert.Equal((VerdictClass.Unknown, "SubstreamWidthUnread"), (verdict.Class, verdict.Reason));
    }

    [Fact]
    public void Judge_OfOtherHosts_NamesTheLinkThatBreaks()
    {
        Assert.Equal((VerdictClass.HostSvaStall, "DeviceStalls"), (Judge(Machines.Kunpeng()).Class, Judge(Machines.Kunpeng()).Reason));
        var altra = Judge(Machines.Altra());
        Assert.Equal((VerdictClass.PassthroughOnly, "DeviceHasNoAts", "SmmuDoesNotNest", "KernelOptionOff"), (altra.Class, altra.Reason, Reason(altra, VerdictLinkName.Smmu), Reason(altra, VerdictLinkName.Kernel)));
        Assert.Equal((VerdictClass.NotAssignable, "NoIommuGroup"), (Judge(Machines.GravitonMetal()).Class, Judge(Machines.GravitonMetal()).Reason));
        Assert.Equal((VerdictClass.PassthroughOnly, "IommuIsNotSmmuV3"), (Judge(Machines.Laptop()).Class, Judge(Machines.Laptop()).Reason));
    }

    [Theory]
    [InlineData("0000:01:00.0", "DeviceHasNoAts")]
    [InlineData("0000:02:00.0", "DeviceHasNoAts")]
    [InlineData("0000:03:00.0", "DeviceHasNoPasid")]
    [InlineData("0000:04:00.0", "DeviceHasNoAts")]
    public void Judge_OfTheEmulatedNode_IsPassthroughOnly(string address, string device)
    {
        var verdict = Judge(FixtureTree.Captured("emulated-node"), address: address);
        Assert.Equal((VerdictClass.PassthroughOnly, device), (verdict.Class, Reason(verdict, VerdictLinkName.Device)));
        Assert.Equal(("AloneInGroup", "SmmuTakesNoAts", "KernelIsReady"), (Reason(verdict, VerdictLinkName.IommuGroup), Reason(verdict, VerdictLinkName.Smmu), Reason(verdict, VerdictLinkName.Kernel)));
    }

    [Fact]
    public void Judge_WhenOneThingIsWrong_NamesIt()
    {
        void Is(VerdictClass found, VerdictLinkName link, string reason, Verdict verdict) => Assert.Equal((found, reason), (verdict.Class, Reason(verdict, link)));

        Is(VerdictClass.Unknown, VerdictLinkName.Device, "ConfigSpaceTruncated", Judge(Machines.GraceHopperWith(config: Machines.GpuConfig(c => c.Ats())[..64]), told: Told));
        Is(VerdictClass.Unknown, VerdictLinkName.Device, "CapabilityListDamaged", Judge(Machines.GraceHopperWith(config: new ConfigBytes(0x10DE2342).Express().Ats().Looping()), told: Told));
        Is(VerdictClass.Unknown, VerdictLinkName.Device, "DeviceDoesNotAnswer", Judge(Machines.GraceHopperWith(config: Enumerable.Repeat((byte)0xFF, 4096).ToArray()), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Device, "DeviceHasNoPasid", Judge(Machines.GraceHopperWith(config: Machines.GpuConfig(c => c.Ats())), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Device, "DeviceHasNoPasid", Judge(Machines.GraceHopperWith(config: Machines.GpuConfig(c => c.Ats().Pasid(0))), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Device, "DeviceHasNoAts", Judge(Machines.GraceHopperWith(config: Machines.GpuConfig(c => c.Pasid())), told: Told));
        Is(VerdictClass.NotAssignable, VerdictLinkName.IommuGroup, "GroupSharedWithHost", Judge(Machines.GraceHopperWith(neighbour: true), told: Told));
        Is(VerdictClass.NotAssignable, VerdictLinkName.IommuGroup, "GroupHasDirectRegion", Judge(Machines.GraceHopperWith(direct: true), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Smmu, "SmmuDoesNotNest", Judge(Machines.GraceHopperWith(features: Machines.NoNesting), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Smmu, "SmmuTakesNoAts", Judge(Machines.GraceHopperWith(features: Machines.AllFeatures & ~(1u << 5)), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Smmu, "SmmuHasNoSubstreams", Judge(Machines.GraceHopperWith(), told: Told with { SubstreamBits = 0 }));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Smmu, "NoPasidBehindThisSmmu", Judge(Machines.GraceHopperWith(), told: Told with { MaxPasidBits = 0 }));
        Is(VerdictClass.Unknown, VerdictLinkName.Smmu, "SmmuFeaturesUnread", Judge(Machines.GraceHopperWith(features: null), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Kernel, "KernelOptionOff", Judge(Machines.GraceHopperWith(options: ["IOMMUFD"]), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Kernel, "KernelTooOld", Judge(Machines.GraceHopperWith(kernel: "6.14.9"), told: Told));
        Is(VerdictClass.Unknown, VerdictLinkName.Kernel, "KernelConfigUnread", Judge(Machines.GraceHopperWith(options: []), told: Told));
        Is(VerdictClass.Unknown, VerdictLinkName.Kernel, "KernelConfigUnread", Judge(Machines.GraceHopperWith(kernel: "strange"), told: Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Vmm, "VmmHasNoAcceleratedSmmu", Judge(Machines.GraceHopperWith(), Qemu7, Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Vmm, "VmmHasNoIommufd", Judge(Machines.GraceHopperWith(), Qemu11 with { VfioProperties = new HashSet<string>() }, Told));
        Is(VerdictClass.PassthroughOnly, VerdictLinkName.Vmm, "VmmMissing", Judge(Machines.GraceHopperWith(), QemuFacts.None, Told));
    }

    [Theory]
    [InlineData(true, VerdictClass.GuestSvaPrefaultOnly, "DeviceHasAtsAndPasid")]
    [InlineData(false, VerdictClass.Unknown, "PhysicalFunctionUnread")]
    public void Judge_OfAVirtualFunction_LooksForPasidInItsPhysicalOne(bool readable, VerdictClass found, string device)
    {
        var machine = Machines.GraceHopperWith();
        const string smmu = "smmu3.0x0000000011000000";
        machine.Function("0001:01:00.2", 0x15B3101E, 0x020000, new ConfigBytes(0x15B3101E).Express().Ats().Build(), group: 21, iommu: smmu, physfn: "0001:01:00.0");
        if (readable)
            machine.Function("0001:01:00.0", 0x15B3101D, 0x020000, new ConfigBytes(0x15B3101D).Express().Pasid(20).Pri().Sriov(8, 1).Build(), group: 20, iommu: smmu);
        var verdict = Judge(machine, told: Told, address: "0001:01:00.2");
        Assert.Equal((found, device), (verdict.Class, Reason(verdict, VerdictLinkName.Device)));
    }

    [Fact]
    public void Judge_WhenANeighbourIsOnAVariantOfVfio_TheGroupIsFree()
    {
        var machine = Machines.GraceHopperWith(neighbour: true);
        machine.Text("sys/bus/pci/devices/0009:01:00.1/vfio-dev/vfio3/dev", "511:3");
        Assert.Equal("GroupIsFree", Reason(Judge(machine, told: Told), VerdictLinkName.IommuGroup));
    }

    [Fact]
    public void EveryReason_HasItsOwnCode_AndARemedyUnlessItPasses()
    {
        Assert.Equal(SvaReasons.All.Count, SvaReasons.All.Select(r => (r.Link, r.Code)).Distinct().Count());
        Assert.All(SvaReasons.All, r => Assert.Equal(r.Status == LinkStatus.Pass, r.Remedy is null));
        Assert.All(SvaReasons.All, r => Assert.Matches("^[A-Z][A-Za-z0-9]+$", r.Code));
    }

    /// <summary>The registers that the emulated node's iommufd gave: ../emulated-node says IDR0, IDR1 and IDR3; a 44-bit IDR5 as its driver logs.</summary>
    [Fact]
    public void Decode_OfTheEmulatedSmmu_HasNoSubstreamsAndNoStall()
    {
        var data = new byte[SmmuHardware.Bytes];
        foreach (var (at, value) in ((int, uint)[])[(8, 0x0d44101b), (12, 0x02730010), (20, 0x1414), (28, 0x74)])
            System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(at), value);
        Assert.Equal(new SmmuHardware(0, 16, 44, 1, true, 0, 0, 0), SmmuHardware.Decode(data, 0));
        Assert.Null(SmmuHardware.Decode(data.AsSpan(0, 39), 0));
        data[28] = 7;
        Assert.Null(SmmuHardware.Decode(data, 0));
    }
}
