namespace Worker.Faults;

// Why a reading has no value. The one table; docs/metrics.md is written from it.
public static class NullReasons
{
    public const string NoAgentInImage = "NoAgentInImage", NoAgentUnderKvmtool = "NoAgentUnderKvmtool", GuestNotReady = "GuestNotReady", AgentSilent = "AgentSilent",
        NotReportedByAgent = "NotReportedByAgent", VmmGone = "VmmGone", VmmNotConfirmed = "VmmNotConfirmed", NoSmmu = "NoSmmu", TraceOff = "TraceOff",
        TraceEventMissing = "TraceEventMissing", TraceCostTooHigh = "TraceCostTooHigh", TraceLogFull = "TraceLogFull", TlbInHardware = "TlbInHardware",
        NoAssignedDevice = "NoAssignedDevice", KernelLogUnreadable = "KernelLogUnreadable", KernelLogNamesNoDevice = "KernelLogNamesNoDevice", NotSimulated = "NotSimulated",
        NoWorkload = "NoWorkload", GuestLogUnreadable = "GuestLogUnreadable", GuestTracingMissing = "GuestTracingMissing", NoCgroup = "NoCgroup", CgroupControllerOff = "CgroupControllerOff",
        PressureOff = "PressureOff", NotToldByKernel = "NotToldByKernel", NotToldByVmm = "NotToldByVmm", NotUnderKvm = "NotUnderKvm", KvmStatisticsMissing = "KvmStatisticsMissing",
        TracingUnavailable = "TracingUnavailable", TracePointMissing = "TracePointMissing", TracingNotReady = "TracingNotReady", NoVirtioIommu = "NoVirtioIommu",
        NoSmmuPmu = "NoSmmuPmu", PmuNotPermitted = "PmuNotPermitted", PmuTaken = "PmuTaken", PmuEventMissing = "PmuEventMissing", PmuFailed = "PmuFailed", StreamIdUnknown = "StreamIdUnknown",
        NoAer = "NoAer", HostSilent = "HostSilent";

    public static readonly IReadOnlyList<(string Code, string Meaning)> All =
    [
        (NoAgentInImage, "The image has no agent that could tell the guest's faults."),
        (NoAgentUnderKvmtool, "kvmtool gives a guest no port through which an agent could tell its faults."),
        (GuestNotReady, "The guest's agent has told nothing yet."),
        (AgentSilent, "The guest's agent has told nothing for more than five seconds."),
        (NotReportedByAgent, "What the guest's agent tells has no such count, or an impossible one."),
        (VmmGone, "The VMM's process is gone."),
        (VmmNotConfirmed, "Which process is the VMM is not known yet."),
        (NoSmmu, "The guest has no SMMU: it was asked for without one, or with another IOMMU."),
        (TraceOff, "QEMU's trace is not switched on yet, or QEMU cannot be told to."),
        (TraceEventMissing, "This QEMU has no such trace event."),
        // Measured under TCG with QEMU 7.2, medians of 120 paired 64 MiB reads with 95 % intervals: hits 1.35 (1.11 to 1.51), misses 1.37 (1.29 to 1.50),
        // both 1.57 (1.42 to 1.74), nothing switched 0.96 (0.87 to 1.01).
        (TraceCostTooHigh, "Tracing each look-up slows a guest's I/O by more than 5 %, so it is off unless Worker__TraceTlb is true."),
        (TraceLogFull, "The file system does not give read parts of QEMU's log back, and it has grown too large: tracing has ended."),
        (TlbInHardware, "Look-ups happen in the host's SMMU, which QEMU does not see."),
        (NoAssignedDevice, "The sandbox has no function of the host: neither its SMMU nor its PCI Express errors concern it."),
        (KernelLogUnreadable, "The host's kernel log (/dev/kmsg) cannot be read."),
        (KernelLogNamesNoDevice, "Kernels before 6.18 do not name the function in the SMMU's events."),
        (NotSimulated, "The simulated machine has nothing of this kind, as it was asked for."),
        (NoWorkload, "The guest was given no user data script to run, or it has not begun."),
        (GuestLogUnreadable, "The guest's agent cannot read the guest's kernel log."),
        (GuestTracingMissing, "The guest's kernel has no kprobes with histograms, no functions that serve page requests, or is older than 6.11: decided once in a boot (docs/images.md)."),
        (NoCgroup, "The VM has no cgroup v2 of its own on this node."),
        (CgroupControllerOff, "The memory controller of cgroup v2 is not delegated to the worker."),
        (PressureOff, "The host's kernel measures no memory pressure (CONFIG_PSI, psi=1)."),
        (NotToldByKernel, "The host's kernel tells no such count."),
        (NotToldByVmm, "The VMM tells no such count."),
        (NotUnderKvm, "The guest does not run under KVM."),
        (KvmStatisticsMissing, "Neither the VMM nor debugfs tells KVM's statistics of this guest."),
        (TracingUnavailable, "The host's kernel has no tracing with kprobes and histograms, or the worker may not use it."),
        (TracePointMissing, "The host's kernel has no such function or event that could be traced."),
        (TracingNotReady, "The host's kernel tracing is being set up, or has failed and is being set up again."),
        (NoVirtioIommu, "The guest has no virtio-iommu."),
        (NoSmmuPmu, "The SMMU of the sandbox's functions has no performance monitor (PMCG) that the kernel drives."),
        (PmuNotPermitted, "The worker may not open the SMMU's performance monitor (CAP_PERFMON)."),
        (PmuTaken, "The performance monitor's counters or its one stream filter are taken."),
        (PmuEventMissing, "The performance monitor has no such event, or none that could be filtered by stream."),
        (PmuFailed, "The kernel did not open or read the performance monitor; the worker's log has its error."),
        (StreamIdUnknown, "The firmware's tables (IORT) do not say by which StreamID the function's SMMU knows it, may not be read, or the host has a device tree instead."),
        (NoAer, "The sandbox's functions have no Advanced Error Reporting, or the kernel does not count it."),
        (HostSilent, "The host's kernel has not answered yet, or not for more than five seconds."),
    ];
}
