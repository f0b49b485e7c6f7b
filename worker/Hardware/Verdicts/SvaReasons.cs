using Contracts;

namespace Worker.Hardware.Verdicts;

/// <summary>What one link of the chain can be found to be: a stable code, a sentence and, unless it passes, what to do about it.</summary>
public sealed record SvaReason(VerdictLinkName Link, LinkStatus Status, string Code, string Message, string? Remedy)
{
    public VerdictLink ToLink(string? detail = null) => new(Link, Status, Code, detail is null ? Message : $"{Message} {detail}", Remedy);
}

// The one table of reason codes of a physical device's chain. docs/neoverse-node.md is written from it, and a test keeps the two the same.
// Facts: PCI Express Base Specification (ATS, PASID, ACS), Linux drivers/iommu/arm/arm-smmu-v3, drivers/vfio, include/uapi/linux/iommufd.h.
public static class SvaReasons
{
    private static readonly List<SvaReason> Table = [];

    public static readonly SvaReason DeviceSharesAddresses = Pass(VerdictLinkName.Device, "DeviceHasAtsAndPasid", "The function translates by ATS and tags its DMA with a PASID.");
    public static readonly SvaReason DeviceStalls = Pass(VerdictLinkName.Device, "DeviceStalls", "The function's queues take a process's addresses on the host (uacce); its faults are resumed by stall.");
    public static readonly SvaReason ConfigTruncated = Unknown(VerdictLinkName.Device, "ConfigSpaceTruncated", "The function's extended configuration space could not be read, so ATS and PASID are not known.", "Run the worker as root: reading more than 64 bytes needs CAP_SYS_ADMIN.");
    public static readonly SvaReason ConfigDamaged = Unknown(VerdictLinkName.Device, "CapabilityListDamaged", "The function's list of capabilities runs in a circle or out of its space.", "Update the device's firmware; quarantine it until then.");
    public static readonly SvaReason DeviceGone = Unknown(VerdictLinkName.Device, "DeviceDoesNotAnswer", "The function's configuration space reads as all ones.", "Look for link errors in the kernel's log; power the slot off and on.");
    public static readonly SvaReason PhysicalFunctionUnread = Unknown(VerdictLinkName.Device, "PhysicalFunctionUnread", "PASID lives in the physical function of this virtual function, and that could not be read.", "Keep the physical function on the host and readable.");
    public static readonly SvaReason NoPasid = Fail(VerdictLinkName.Device, "DeviceHasNoPasid", "The function has no PASID capability: one address space for the whole function.", "Use a device with ATS and PASID; without, memory can be mapped ahead.");
    public static readonly SvaReason NoAts = Fail(VerdictLinkName.Device, "DeviceHasNoAts", "The function has no ATS capability.", "Use a device with ATS and PASID; without, memory can be mapped ahead.");
    public static readonly SvaReason CapabilitiesNotRead = Unknown(VerdictLinkName.Device, "CapabilitiesNotRead", "The function exists only inside a guest: the node itself cannot read its capabilities.", "Start a sandbox with it and read the probe's result.");
    public static readonly SvaReason PasidInGuest = Pass(VerdictLinkName.Device, "DeviceHasPasid", "The function has a PASID capability in the guest.");
    public static readonly SvaReason PasidUnknownInGuest = Unknown(VerdictLinkName.Device, "PasidUnknown", "The function's extended configuration space could not be read in the guest.", "Read it as root on the node.");

    public static readonly SvaReason GroupAlone = Pass(VerdictLinkName.IommuGroup, "AloneInGroup", "No other endpoint shares the function's IOMMU group.");
    public static readonly SvaReason GroupFree = Pass(VerdictLinkName.IommuGroup, "GroupIsFree", "The other endpoints of the group are on vfio-pci or have no driver; all of them go to one sandbox.");
    public static readonly SvaReason NoGroup = Fail(VerdictLinkName.IommuGroup, "NoIommuGroup", "No IOMMU translates for the function.", "Switch the SMMU on in the firmware (an IORT or an iommu-map must name this root complex).");
    public static readonly SvaReason GroupDirect = Fail(VerdictLinkName.IommuGroup, "GroupHasDirectRegion", "Firmware demands a 1:1 mapping for the group; the kernel refuses to give it to user space.", "Ask the vendor for firmware without the reserved memory region (RMR) of this device.");
    public static readonly SvaReason GroupInUse = Fail(VerdictLinkName.IommuGroup, "GroupSharedWithHost", "Another endpoint of the group works for a driver of the host.", "Bind the whole group to vfio-pci, or use a slot whose path has ACS.");
    public static readonly SvaReason GroupUnread = Unknown(VerdictLinkName.IommuGroup, "ReservedRegionsUnread", "The group's reserved regions could not be read.", "Run the worker as root.");
    public static readonly SvaReason AloneBehindRootPort = Pass(VerdictLinkName.IommuGroup, "AloneBehindRootPort", "Each emulated or simulated accelerator is alone behind a root port of its own.");

    public static readonly SvaReason SmmuNests = Pass(VerdictLinkName.Smmu, "SmmuNestsWithSubstreams", "The SMMU nests two stages, takes ATS and has substream IDs.");
    public static readonly SvaReason SmmuStalls = Pass(VerdictLinkName.Smmu, "SmmuStalls", "The SMMU can stall a faulting transaction until the host has resolved it.");
    public static readonly SvaReason NoSmmu = Fail(VerdictLinkName.Smmu, "NoSmmu", "No IOMMU stands in front of the function.", "Use an Arm host with SMMUv3, switched on in its firmware.");
    public static readonly SvaReason NotAnSmmu = Fail(VerdictLinkName.Smmu, "IommuIsNotSmmuV3", "The IOMMU in front of the function is no SMMUv3.", "Use an Arm host with SMMUv3.");
    public static readonly SvaReason NoNesting = Fail(VerdictLinkName.Smmu, "SmmuDoesNotNest", "The driver does not nest stages on this SMMU: the hardware cannot, or an erratum forbids it.", "On MMU-700 r1p1 use Linux 7.1 or newer; MMU-600 before r2 cannot.");
    public static readonly SvaReason SmmuNoAts = Fail(VerdictLinkName.Smmu, "SmmuTakesNoAts", "The SMMU, or the root complex in front of it, takes no ATS requests.", "Use a slot behind a root complex with ATS.");
    public static readonly SvaReason NoSubstreams = Fail(VerdictLinkName.Smmu, "SmmuHasNoSubstreams", "The SMMU has no substream IDs (SSIDSIZE is 0): no PASID reaches it.", "Use a node whose SMMU has them.");
    public static readonly SvaReason NoPasidHere = Fail(VerdictLinkName.Smmu, "NoPasidBehindThisSmmu", "The kernel gives the function no PASID behind this SMMU.", "Use Linux 6.15 or newer, and firmware that names the PASIDs of the root complex.");
    public static readonly SvaReason SubstreamsUnread = Unknown(VerdictLinkName.Smmu, "SubstreamWidthUnread", "How many substream IDs (PASIDs) the SMMU has is told only through iommufd, once the function is bound to vfio-pci.", "Bind the function to vfio-pci, which resets it.");
    public static readonly SvaReason SmmuUnread = Unknown(VerdictLinkName.Smmu, "SmmuFeaturesUnread", "The kernel's log no longer has the SMMU's features, or may not be read.", "Run the worker as root, and once soon after a boot.");

    public static readonly SvaReason KernelReady = Pass(VerdictLinkName.Kernel, "KernelIsReady", "The kernel has iommufd, VFIO devices, SVA and nested translation for SMMUv3.");
    public static readonly SvaReason KernelOptionOff = Fail(VerdictLinkName.Kernel, "KernelOptionOff", "The kernel was built without what guest SVA needs.", "Build one with deploy's configuration fragment; Debian's own kernels leave these off.");
    public static readonly SvaReason KernelTooOld = Fail(VerdictLinkName.Kernel, "KernelTooOld", "PASIDs reach a guest from Linux 6.15 on.", "Use Linux 6.15 or newer.");
    public static readonly SvaReason KernelUnread = Unknown(VerdictLinkName.Kernel, "KernelConfigUnread", "The kernel's configuration can be read neither from /proc/config.gz nor from /boot.", "Build the kernel with IKCONFIG_PROC, or install its configuration in /boot.");
    public static readonly SvaReason KernelNotInvolved = Pass(VerdictLinkName.Kernel, "NotInvolved", "The host's kernel takes no part in the DMA of an emulated or simulated device.");

    public static readonly SvaReason VmmReady = Pass(VerdictLinkName.Vmm, "VmmAcceleratesSmmu", "The VMM gives a guest the host's SMMU (arm-smmuv3 with accel) and assigns by iommufd.");
    public static readonly SvaReason VmmMissing = Fail(VerdictLinkName.Vmm, "VmmMissing", "The node has no QEMU.", "Install qemu-system-arm.");
    public static readonly SvaReason VmmNoAccel = Fail(VerdictLinkName.Vmm, "VmmHasNoAcceleratedSmmu", "The installed QEMU's arm-smmuv3 has no property accel, or no ssidsize.", "Install QEMU 11.1 or newer, built with accelerated SMMUv3.");
    public static readonly SvaReason VmmNoIommufd = Fail(VerdictLinkName.Vmm, "VmmHasNoIommufd", "The installed QEMU's vfio-pci has no property iommufd.", "Install QEMU 11.1 or newer, built with iommufd.");
    public static readonly SvaReason KvmtoolHidesCapabilities = Fail(VerdictLinkName.Vmm, "KvmtoolHidesCapabilities", "kvmtool shows a guest neither ATS nor PASID nor PRI of a device, and no IOMMU.", "Create the sandbox with vmm qemu and viommu smmuv3.");
    public static readonly SvaReason ModelPresent = Pass(VerdictLinkName.Vmm, "DeviceModelPresent", "The installed QEMU has the device's model.");
    public static readonly SvaReason SimulatedMachine = Pass(VerdictLinkName.Vmm, "SimulatedMachine", "The worker simulates the device, its SMMU and a guest's kernel itself; no guest runs.");
    public static readonly SvaReason ModelMissing = Fail(VerdictLinkName.Vmm, "DeviceModelMissing", "The installed QEMU has not the device's model.", "Install qemu-system-arm from Debian.");
    public static readonly SvaReason VmmNotProbed = Unknown(VerdictLinkName.Vmm, "VmmNotProbed", "QEMU could not be asked for its devices.", "Install qemu-system-arm.");

    public static readonly SvaReason GuestUnprobed = Unknown(VerdictLinkName.Guest, "NotProbed", "No guest's probe counts here: what a guest finds is kept with its sandbox and not with the device.", "Read the verdict of a sandbox that has or had the device (GET /v1/sandboxes/{id}), or start one.");
    public static readonly SvaReason GuestShares = Pass(VerdictLinkName.Guest, "SharedAddressProbePassed", "The device read and wrote a process's buffer at the process's own address.");
    public static readonly SvaReason NoIommuInGuest = Fail(VerdictLinkName.Guest, "NoIommuInGuest", "The guest sees no IOMMU, so a device cannot be given a process's addresses.", "Create the sandbox with viommu smmuv3 or virtio.");
    public static readonly SvaReason GuestDirectRegion = Fail(VerdictLinkName.Guest, ProbeReasons.GuestDirectRegion, "The guest's firmware tables demand a 1:1 mapping for the function, as QEMU's do behind its accelerated SMMU, so the guest's kernel gives it to no user space.", "Create the sandbox with viommu virtio, or use the device by its own kernel driver in the guest: no user space of this guest can have it by VFIO.");
    public static readonly SvaReason NoProbeForDevice = Unknown(VerdictLinkName.Guest, ProbeReasons.NoProbeForDevice, "The agent cannot drive this device's DMA engine.", "Run the device's own driver and a workload of its vendor in the guest.");

    public static IReadOnlyList<SvaReason> All => Table;

    private static SvaReason Pass(VerdictLinkName link, string code, string message) => Add(new(link, LinkStatus.Pass, code, message, null));
    private static SvaReason Fail(VerdictLinkName link, string code, string message, string remedy) => Add(new(link, LinkStatus.Fail, code, message, remedy));
    private static SvaReason Unknown(VerdictLinkName link, string code, string message, string remedy) => Add(new(link, LinkStatus.Unknown, code, message, remedy));

    private static SvaReason Add(SvaReason reason)
    {
        Table.Add(reason);
        return reason;
    }
}
