namespace Contracts;

/// <summary>Names that readings say by number (<see cref="FaultSamplesEncoding"/>). A word keeps its number for ever, for numbers are stored: new ones go to the end,
/// and none is taken away. A name that is not here is written out, so a source needs no entry.</summary>
public static class FaultWords
{
    public static readonly IReadOnlyList<string> All =
    [
        // Sources.
        "guest.minorFaults", "guest.majorFaults", "vmm.minorFaults", "vmm.majorFaults", "smmu.events", "hostSmmu.events", "smmu.tlbHits", "smmu.tlbMisses", "smmu.lostEvents",
        "virtioIommu.events", "io.pageFaults", "io.pageFaults.success", "io.pageFaults.invalid", "io.pageFaults.failure", "io.lostPageRequests", "ats.requests", "ats.hits",
        // Parts of sources.
        "smmu.events.F_TRANSLATION", "smmu.events.F_PERMISSION", "smmu.events.F_ADDR_SIZE", "smmu.events.F_ACCESS", "smmu.events.C_BAD_SUBSTREAMID",
        "hostSmmu.events.F_TRANSLATION", "hostSmmu.events.F_PERMISSION",
        // Reasons.
        "NoAgentInImage", "NoAgentUnderKvmtool", "GuestNotReady", "AgentSilent", "NotReportedByAgent", "VmmGone", "VmmNotConfirmed", "NoSmmu", "TraceOff", "TraceEventMissing",
        "TraceCostTooHigh", "TraceLogFull", "TlbInHardware", "NoAssignedDevice", "KernelLogUnreadable", "KernelLogNamesNoDevice", "NotSimulated",
        // Sources and reasons that came later.
        "workload.minorFaults", "workload.majorFaults", "guestSmmu.events", "guestIo.pageFaults", "guestIo.pageFaults.success", "guestIo.pageFaults.invalid",
        "guestIo.pageFaults.failure", "cgroup.pageFaults", "cgroup.majorPageFaults", "cgroup.hugePageFaults", "cgroup.refaults", "cgroup.memoryStallSomeMicroseconds",
        "cgroup.memoryStallFullMicroseconds", "kvm.guestFaults", "kvm.exits", "kvm.mmioExits", "kvm.tlbFlushes", "hostSmmu.tlbMisses", "pci.correctableErrors",
        "pci.nonFatalErrors", "pci.fatalErrors", "guestSmmu.events.F_TRANSLATION", "NoWorkload", "GuestLogUnreadable", "GuestTracingMissing", "NoCgroup",
        "CgroupControllerOff", "PressureOff", "NotToldByKernel", "NotToldByVmm", "NotUnderKvm", "KvmStatisticsMissing", "TracingUnavailable", "TracePointMissing",
        "TracingNotReady", "NoVirtioIommu", "NoSmmuPmu", "PmuNotPermitted", "PmuTaken", "NoAer",
        "PmuEventMissing", "PmuFailed", "StreamIdUnknown", "HostSilent",
    ];

    private static readonly Dictionary<string, int> Numbers = All.Select((word, number) => (word, number)).ToDictionary(w => w.word, w => w.number, StringComparer.Ordinal);

    /// <summary>Null of a name that is written out.</summary>
    public static int? NumberOf(string name) => Numbers.TryGetValue(name, out var number) ? number : null;
}
