using Contracts;
using Worker.Checks;
using Worker.Hardware.Assignment;
using Worker.Hardware.Pci;
using Xunit;

namespace Worker.Tests.Hardware.Assignment;

public sealed class AssignedViommusTests
{
    private static readonly QemuFacts Whole = new("/q", "11.1.3", new HashSet<string> { "virtio-iommu-pci" }, new HashSet<string>(),
        new HashSet<string> { "accel", "oas" }, new HashSet<string> { "host", "iommufd" })
    { Firmware = "/efi.fd" };

    private static readonly Dictionary<string, (Func<FixtureTree> Host, QemuFacts Qemu, Viommu[] Can)> Cases = new()
    {
        ["everything there"] = (Machines.GraceHopper, Whole, [Viommu.Smmuv3, Viommu.Virtio, Viommu.None]),
        ["no QEMU"] = (Machines.GraceHopper, QemuFacts.None, []),
        ["no virtio-iommu"] = (Machines.GraceHopper, Whole with { Devices = new HashSet<string>() }, [Viommu.Smmuv3, Viommu.None]),
        ["no firmware"] = (Machines.GraceHopper, Whole with { Firmware = null }, [Viommu.Virtio, Viommu.None]),
        ["an SMMU that QEMU cannot accelerate"] = (Machines.GraceHopper, Whole with { SmmuProperties = new HashSet<string> { "bus_num" } }, [Viommu.Virtio, Viommu.None]),
        ["QEMU without iommufd"] = (Machines.GraceHopper, Whole with { VfioProperties = new HashSet<string> { "host" } }, [Viommu.Virtio, Viommu.None]),
        ["kernel without iommufd"] = (() => Machines.GraceHopperWith(options: ["VFIO_DEVICE_CDEV", "ARM_SMMU_V3_IOMMUFD"]), Whole, [Viommu.Virtio, Viommu.None]),
        ["kernel without device nodes"] = (() => Machines.GraceHopperWith(options: ["IOMMUFD", "ARM_SMMU_V3_IOMMUFD"]), Whole, [Viommu.Virtio, Viommu.None]),
        ["kernel whose SMMU does not nest"] = (() => Machines.GraceHopperWith(options: ["IOMMUFD", "VFIO_DEVICE_CDEV"]), Whole, [Viommu.Virtio, Viommu.None]),
        ["kernel that does not say"] = (() => Machines.GraceHopperWith(options: []), Whole, [Viommu.Smmuv3, Viommu.Virtio, Viommu.None]),
        ["SMMU that does not nest"] = (() => Machines.GraceHopperWith(features: Machines.NoNesting), Whole, [Viommu.Virtio, Viommu.None]),
        ["SMMU that does not say"] = (() => Machines.GraceHopperWith(features: null), Whole, [Viommu.Virtio, Viommu.None]),
        ["IOMMU of another kind"] = (Machines.Laptop, Whole, [Viommu.Virtio, Viommu.None]),
        ["no IOMMU"] = (Machines.GravitonMetal, Whole, []),
    };

    public static TheoryData<string> CaseNames => [.. Cases.Keys];

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void Of_EachHostAndQemu_AreThese(string name)
    {
        var (host, qemu, can) = Cases[name];
        using var files = host();
        var seen = files.Scan();
        Assert.Equal(can, AssignedViommus.Of(seen.Functions.Single(f => f.Address.ToString() == Machines.Accelerator), seen, qemu, Acceleration.Kvm, null));
    }

    [Theory]
    [InlineData(Acceleration.Tcg, null)]
    [InlineData(Acceleration.Kvm, VfioAccess.Container)]
    public void Of_WhenGuestsRunInSoftwareOrTheRuleTakesTheContainer_CannotAccelerate(Acceleration acceleration, VfioAccess? access)
    {
        using var files = Machines.GraceHopper();
        var seen = files.Scan();
        Assert.Equal([Viommu.Virtio, Viommu.None], AssignedViommus.Of(seen.Functions.Single(f => f.Address.ToString() == Machines.Accelerator), seen, Whole, acceleration, access));
    }

    [Fact]
    public void Of_AFunctionBehindAnotherSmmuThanTheOneThatNests_CannotAccelerate()
    {
        using var files = Machines.GraceHopper().Smmu("smmu3.0x0000000012000000", "arm-smmu-v3.9.auto", Machines.NoNesting)
            .Function("0001:01:00.0", 0x15B3101D, 0x020000, new ConfigBytes(0x15B3101D).Express().Build(), group: 30, iommu: "smmu3.0x0000000012000000");
        var seen = files.Scan();
        PciFunction At(string address) => seen.Functions.Single(f => f.Address.ToString() == address);
        Assert.Equal((true, false), (AssignedViommus.CanAccelerate(At(Machines.Accelerator), seen, Whole), AssignedViommus.CanAccelerate(At("0001:01:00.0"), seen, Whole)));
    }
}
