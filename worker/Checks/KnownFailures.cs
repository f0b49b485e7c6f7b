using System.Text.RegularExpressions;
using Worker.Vms;

namespace Worker.Checks;

/// <summary>Where a line is looked for: the host's kernel log, or what a VMM printed.</summary>
public enum LogSource { Kernel, Vmm }

/// <summary>A line that is known to mean something. <c>Ends</c>: whether it can be why a VMM ended; a VMM goes on after the others.</summary>
public sealed record KnownFailure(LogSource Source, Regex Pattern, Reason Reason, bool Ends)
{
    public string Code => Reason.Code;
}

// Pure: lines of the kernel's log and of VMMs to reason codes. Sources: Linux drivers/iommu and drivers/vfio, QEMU hw/arm and hw/vfio, kvmtool vfio.
// The first entry that matches a line wins; a line that matches none is nobody's news here.
public static class KnownFailures
{
    private static readonly TimeSpan MatchLimit = TimeSpan.FromMilliseconds(250);

    public static readonly IReadOnlyList<KnownFailure> All =
    [
        Vmm("GroupNotViable", @"group \d+ is not viable|bound to their vfio bus driver", "A device of the same IOMMU group works for a driver of the host.", "Bind the whole group to vfio-pci, or use a slot whose path has ACS."),
        Vmm("ViommuNeedsAccel", "requires iommu MAP notifier", "An assigned device cannot stand behind an emulated SMMU that is not accelerated.", "Choose viommu virtio or none, or a node whose verdict allows the accelerated SMMU."),
        Vmm("AccelNeedsAcpi", "accel=on not supported for DT", "The accelerated SMMU needs a guest with ACPI.", "Boot the guest with UEFI."),
        Vmm("AccelNotBuilt", "accel=on support not compiled in", "This QEMU was built without the accelerated SMMU.", "Install QEMU 11.1 from Debian's backports, or build it with iommufd."),
        Vmm("AccelNeedsKvm", "accel=on requires KVM", "The accelerated SMMU needs a guest that runs in hardware.", "Choose viommu virtio or none, or a node with KVM."),
        Vmm("AccelNeedsColdPlug", "with 'auto' properties requires at least one cold-plugged", "The accelerated SMMU was left to find its values without a device to ask.", "Report this: the command line must name the values."),
        Vmm("EmulatedBehindAccel", "Emulated endpoint devices are not allowed", "An emulated device stands behind the accelerated SMMU.", "Report this: only assigned devices belong there."),
        Vmm("NoIommuGroupOnHost", "no iommu_group found", "No IOMMU of the host translates for the device.", "Switch the SMMU on in the firmware (an IORT or an iommu-map must name this root complex)."),
        Vmm(StartReasons.NestingUnavailable, "[Uu]nable to alloc(ate)? vIOMMU|(Failed to allocate hwpt|IOMMU_HWPT_ALLOC failed|IOMMU_VIOMMU_ALLOC failed).*Operation not supported"),
        Vmm("SmmuValuesTooLarge", "SSIDSIZE not compatible|support Range Invalidation|only \\d+-bit IPA|translation granule", "The guest's SMMU was given more than the host's has.", "Report this with the node's readiness: the values come from there."),
        Vmm(StartReasons.IommufdMissing, "/dev/iommu does not exist|/dev/iommu: No such file"),
        Vmm("DeviceMissingOnHost", @"vfio [0-9a-f:.]+: no such host device|/sys/bus/pci/devices/\S+: No such file", "The host no longer has the device.", "Look for a hot-unplug or a link error in the host's kernel log."),
        Vmm(StartReasons.BarWindowTooSmall, "cannot allocate MMIO space|BAR \\d+.*too large"),
        Vmm(StartReasons.NoHugePagesLeft, @"unable to map backing store for guest RAM: Cannot allocate memory|preallocating memory failed|[Ii]nsufficient free host memory pages"),
        Vmm("MemoryNotPinned", @"VFIO_MAP_DMA.*(-12|Cannot allocate memory)|dma_map\(.*= -12|IOMMU_IOAS_MAP(_FILE)? failed: Cannot allocate memory", "The guest's memory could not be pinned for the device.", "Raise the memory lock limit of the worker's unit; keep huge pages ready on the device's NUMA node."),
        Remark("PeerAccessUnavailable", @"IOMMU_IOAS_MAP(_FILE)? failed: Bad address, PCI BAR\?|dma_map\(.*= -14", "A region of a device could not be mapped for other devices: they cannot reach it directly. The guest itself can.", "Nothing, unless devices shall reach each other: that needs a newer kernel and QEMU 11 with dmabuf."),
        Remark("VmmEventsLost", @"vEVENTQ\(type \d+ id \d+\): (overflowed|lost \d+ event)", "The guest took its SMMU's events too slowly and some were lost: counts are lower bounds.", "Look at what the guest's driver does; said once, whatever is lost afterwards."),
        Remark("NoResetForVmm", "Cannot reset device .*no available reset mechanism", "The VMM found no way to reset the device alone.", "Use a device with FLR or a vendor's reset, alone on its bus. The worker offers no device without one."),
        Kernel("BarNotAssigned", @"[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]: BAR \d+(: (no space for|failed to assign|can't assign)| \[mem [^\]]+\]: (can't assign|failed to assign|no space))", "A kernel found no room for a memory region of a function, which does not work therefore.", "On a host: let the firmware place 64-bit regions high. In a guest: the regions are larger than its VMM's window (BarWindowTooSmall)."),
        Kernel("ResetNotReady", @"not ready \d+ms after .*; giving up", "A device did not come back after a reset.", "Power the slot or the node off and on, then release the device."),
        Kernel("TaskBlocked", @"INFO: task .* blocked for more than \d+ seconds", "A process waits for the kernel for minutes: an unbinding or a VMM, if it is one of ours.", "Find what still uses the device; do not try again and again. If nothing does, reboot the node."),
        Kernel("DirectRegionDemanded", "1:1 IOMMU mapping, rejecting configuring the device", "Firmware demands a 1:1 mapping; the kernel refuses to give the device to user space.", "Ask the vendor for firmware without the reserved memory region (RMR) of this device."),
        Kernel("MemlockExceeded", @"RLIMIT_MEMLOCK \(\d+\) exceeded", "A process could not pin as much memory as its guest has.", "Raise the memory lock limit of the worker's unit."),
        Kernel("PageRequestDenied", "unexpected PRI request received", "A device asked for a page; Linux denies page requests on SMMUv3.", "Keep memory present (mlock) for this device, and PRI off."),
        Kernel("SmmuCommandTimeout", "CMD_SYNC timeout", "The SMMU does not finish its commands.", "Drain the node and reboot it."),
        Kernel("DeviceIgnoresAts", "ATC invalidate timeout", "A device stopped answering ATS invalidations, often after a reset with ATS on.", "Quarantine and reset the device."),
        Kernel("SmmuEventsLost", "EVTQ overflow detected|PRIQ overflow", "The SMMU had more events than its queue holds: counts are lower bounds.", "Stop the guest whose device floods; quarantine the device."),
        Kernel("SmmuGlobalError", "unexpected global error reported|Service Failure Mode", "The SMMU reports an error that it does not recover from.", "Drain the node and reboot it."),
        Kernel("TranslationFault", @"event: F_TRANSLATION|event 0x10 received", "A device accessed an address that nobody mapped.", "Stop the guest and look at its driver; memory that is shared must be present."),
        Kernel("FaultWithoutHandler", "without domain attached or handler installed|no pending PRQ", "A page fault of a device came when nobody handled it any more.", "Harmless if rare: it races with an unbinding."),
    ];

    /// <summary>Why a VMM ended, if its last words are known.</summary>
    public static KnownFailure? EndOf(string vmmLog) => vmmLog.Length == 0 ? null : All.FirstOrDefault(known => known.Ends && known.Pattern.IsMatch(vmmLog));

    /// <summary>The first failure that a text is known to tell of.</summary>
    public static KnownFailure? In(LogSource source, string text) => text.Length == 0 ? null : All.FirstOrDefault(known => known.Source == source && known.Pattern.IsMatch(text));

    /// <summary>Every failure that a log is known to tell of, with the number of its lines.</summary>
    public static IReadOnlyList<(KnownFailure Failure, int Lines)> Count(LogSource source, string? log) => log is null
        ? []
        : [.. log.Split('\n').Select(line => In(source, line)).OfType<KnownFailure>().GroupBy(known => known).Select(group => (group.Key, group.Count()))];

    private static KnownFailure Vmm(string code, string pattern, string message, string remedy) => new(LogSource.Vmm, Compile(pattern), new Reason(code, message, remedy), true);
    private static KnownFailure Vmm(Reason reason, string pattern) => new(LogSource.Vmm, Compile(pattern), reason, true);
    private static KnownFailure Remark(string code, string pattern, string message, string remedy) => new(LogSource.Vmm, Compile(pattern), new Reason(code, message, remedy), false);
    private static KnownFailure Kernel(string code, string pattern, string message, string remedy) => new(LogSource.Kernel, Compile(pattern), new Reason(code, message, remedy), false);
    private static Regex Compile(string pattern) => new(pattern, RegexOptions.CultureInvariant, MatchLimit);
}
