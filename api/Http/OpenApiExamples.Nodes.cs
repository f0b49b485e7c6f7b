using Contracts;

namespace Api.Http;

/// <summary>host-7: an arm64 virtual machine without KVM, whose SMMU is its own VMM's.</summary>
public static partial class OpenApiExamples
{
    private const string Smmu = "smmu3.0x0000000009050000";

    private static NodeView Node => new(
        NodeId, "host-7", NodePhase.Ready, At.AddSeconds(60), "0.1.0",
        new("arm64", "6.12.48+deb13-arm64", "Debian GNU/Linux 13 (trixie)", "implementer 0x41 part 0xd0c", 8, 15_994, 128, 13_995, Acceleration.Tcg, "/dev/kvm cannot be opened (errno 2).", "QEMU 10.0.3",
            [Viommu.Smmuv3, Viommu.Virtio, Viommu.None], true, true, null, "c1e6f0d2-94b8-4f35-8d27-7a3b5e1f6c08", [], null, Origin.Emulated, [new(0, 2048, 512, 512)], true, 20L << 30),
        2, 1024, 1, 4);

    private static DeviceView Device => new(
        DeviceId, NodeId, "host-7", "edu-0", "edu", "1234", "11e8", "QEMU edu device with a 64-bit DMA engine", Origin.Emulated, DevicePhase.Assigned, SandboxId, "train-1", null, EmulatedVerdict(probed: false),
        [Viommu.Smmuv3, Viommu.Virtio, Viommu.None], false);

    private static DeviceClassView DeviceClass => new("edu", "QEMU's teaching device: a DMA engine without PASID, ATS or PRI.", Origin.Emulated, 4, 3);

    /// <summary>The network card that the machine's own VMM gives it.</summary>
    private static FunctionFacts Card => new(
        "0000:01:00.0", "1af4", "1041", "020000", "virtio-pci", 1, Smmu, null, null, ["flr", "bus"], new(false, false, false, null, false, false, false, true),
        new(VerdictClass.PassthroughOnly, "DeviceHasNoAts", "A guest can have the device, without shared addresses: The function has no ATS capability.", Origin.Emulated,
        [
            new(VerdictLinkName.Device, LinkStatus.Fail, "DeviceHasNoAts", "The function has no ATS capability.", "Use a device with ATS and PASID; without, memory can be mapped ahead."),
            new(VerdictLinkName.IommuGroup, LinkStatus.Pass, "AloneInGroup", "No other endpoint shares the function's IOMMU group.", null),
            new(VerdictLinkName.Smmu, LinkStatus.Fail, "SmmuDoesNotNest", "The driver does not nest stages on this SMMU: the hardware cannot, or an erratum forbids it.", "On MMU-700 r1p1 use Linux 7.1 or newer; MMU-600 before r2 cannot."),
            new(VerdictLinkName.Kernel, LinkStatus.Fail, "KernelOptionOff", "The kernel was built without what guest SVA needs. Off: VFIO_DEVICE_CDEV, ARM_SMMU_V3_IOMMUFD.", "Build one with deploy's configuration fragment; Debian's own kernels leave these off."),
            new(VerdictLinkName.Vmm, LinkStatus.Fail, "VmmHasNoAcceleratedSmmu", "The installed QEMU's arm-smmuv3 has no property accel, or no ssidsize. This is QEMU 10.0.3.", "Install QEMU 11.1 or newer, built with accelerated SMMUv3."),
            NotProbed(),
        ]));

    private static IEnumerable<object> OfNodes() =>
    [
        Node,
        PageOf(Node),
        new DrainView(At, At.AddSeconds(1800), "New firmware.", 1, null, true),
        new NodeReadinessView(NodeId, "host-7", NodePhase.Ready, true, [], new(
            At.AddHours(-1), [new("Neoverse N1", 0x41, 0xD0C, 8)], [new(0, "0-7", 15_994, [new(2048, 512, 512)])], [new(Smmu, true, 2, ["Coherency", "Stage1", "RangeInvalidation"], 44)], [], [Card])),
        // Only hosts with such a unit have one; host-7 has none.
        new UacceFacts("hisi_zip-0", "zlib gzip", true, 256, "0000:75:00.0"),
        Device,
        PageOf(Device),
        DeviceClass,
        PageOf(DeviceClass),
        new JoinTokenView("host-7", "sbj_…", At.AddHours(1)),
        new NodeJoined(NodeId, "host-7", "sbn_…"),
    ];
}
