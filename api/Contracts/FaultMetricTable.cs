namespace Contracts;

/// <summary>What is known of one fault source, for people and for Prometheus.</summary>
/// <param name="Source">One of <see cref="FaultSource"/>.</param>
/// <param name="Name">Of its metric; sources that differ by a label share one.</param>
/// <param name="Help">A sentence.</param>
/// <param name="Labels">That tell it from those that share its name.</param>
/// <param name="ByType">The metric of its parts, labelled <c>type</c>; null where it has none.</param>
/// <param name="Duration">The histogram of its latencies; null where none is measured.</param>
/// <param name="ObservedBy">Where the worker reads it.</param>
/// <param name="Origins">What it can be of, and when.</param>
/// <param name="Cost">Of observing it.</param>
/// <param name="NullReasons">Codes of docs/metrics.md that make it null.</param>
public sealed record FaultMetric(
    string Source, string Name, string Help, IReadOnlyList<(string Name, string Value)> Labels, string? ByType, string? Duration,
    string ObservedBy, string Origins, string Cost, IReadOnlyList<string> NullReasons)
{
    /// <summary>Whether the source counts microseconds; its metric then has seconds. Otherwise it counts events.</summary>
    public bool IsTime { get; init; }

    /// <summary>The types of events that a specification names, and UNKNOWN for any other; empty where its parts are not counted.</summary>
    public IReadOnlyList<string> Types { get; init; } = [];
}

/// <summary>The one table of fault sources. docs/metrics.md is written from it.</summary>
public static class FaultMetricTable
{
    private const string ByAcceleration = "hardware under KVM, emulated under TCG; emulated on an emulated host", OfHost = "hardware; emulated on an emulated host", OrSimulated = "; simulated",
        OfGuestSmmu = "emulated; of the host where the SMMU is accelerated", OfSmmu = OfGuestSmmu + OrSimulated, AgentLine = "one line a second from the guest", NoMeasurableCost = "not measurable", OneRead = "one read a second",
        TranslationCost = "one line of QEMU's log for each look-up: NVMe reads took 1.3 times as long, so it is off unless Worker__TraceTlb is true",
        InKernel = "counted in the kernel, one read of its table a second", TheMachine = "the simulated machine, which is asked once a second", PageFaultHelp = "Recoverable page faults of devices";
    private static readonly string[] Machine = ["NotSimulated", "GuestNotReady", "AgentSilent", "NotReportedByAgent"];
    private static readonly string[] Agent = ["NoAgentInImage", "NoAgentUnderKvmtool", .. Machine], Trace = ["NoSmmu", "TraceOff", "TraceEventMissing", "TraceLogFull", .. Machine];
    private static readonly string[] Vmm = ["VmmGone", "VmmNotConfirmed", "NotSimulated"], Assigned = ["NoAssignedDevice"], Cgroup = ["NoCgroup", "VmmGone", "NotToldByKernel", "NotSimulated"], MemoryStat = ["CgroupControllerOff", .. Cgroup];
    private static readonly string[] Kvm = ["NotUnderKvm", "KvmStatisticsMissing", "VmmGone", "VmmNotConfirmed", "NotSimulated"], Tracing = ["TracingUnavailable", "TracePointMissing", "TracingNotReady"];
    private static readonly string[] Pmu = [.. Assigned, "NoSmmuPmu", "PmuNotPermitted", "PmuTaken", "PmuEventMissing", "PmuFailed", "StreamIdUnknown", "HostSilent"], GuestTracing = [.. Agent, "GuestTracingMissing"];

    /// <summary>Arm SMMUv3 (IHI 0070, 7.3).</summary>
    private static readonly string[] SmmuTypes =
    [
        "F_UUT", "C_BAD_STREAMID", "F_STE_FETCH", "C_BAD_STE", "F_BAD_ATS_TREQ", "F_STREAM_DISABLED", "F_TRANSL_FORBIDDEN", "C_BAD_SUBSTREAMID", "F_CD_FETCH", "C_BAD_CD", "F_WALK_EABT",
        "F_TRANSLATION", "F_ADDR_SIZE", "F_ACCESS", "F_PERMISSION", "F_TLB_CONFLICT", "F_CFG_CONFLICT", "E_PAGE_REQUEST", "F_VMS_FETCH", "UNKNOWN",
    ];

    /// <summary>Virtio I/O Device 1.3, 5.13.6.9.</summary>
    private static readonly string[] ViommuTypes = ["DOMAIN", "MAPPING", "UNKNOWN"];

    public static readonly IReadOnlyList<FaultMetric> Rows =
    [
        Of(FaultSource.GuestMinor, "sandbox_guest_page_faults_total", "Page faults of the guest's CPUs.", "the guest's agent, /proc/vmstat pgfault without pgmajfault", ByAcceleration + OrSimulated, AgentLine, Agent, ("severity", "minor")),
        Of(FaultSource.GuestMajor, "sandbox_guest_page_faults_total", "Page faults of the guest's CPUs.", "the guest's agent, /proc/vmstat pgmajfault", ByAcceleration, AgentLine, Agent, ("severity", "major")),
        Of(FaultSource.WorkloadMinor, "sandbox_workload_page_faults_total", "Page faults of the guest's user data script.", "the guest's agent, /proc/PID/stat minflt and cminflt; after its end ru_minflt", ByAcceleration, AgentLine, [.. Agent, "NoWorkload"], ("severity", "minor")),
        Of(FaultSource.WorkloadMajor, "sandbox_workload_page_faults_total", "Page faults of the guest's user data script.", "the guest's agent, /proc/PID/stat majflt and cmajflt; after its end ru_majflt", ByAcceleration, AgentLine, [.. Agent, "NoWorkload"], ("severity", "major")),
        Of(FaultSource.GuestSmmuEvents, "sandbox_guest_smmu_events_total", "Events of its SMMU that the guest's kernel logged; always a lower bound.", "the guest's agent, /dev/kmsg of the guest, whose rate is limited", OfGuestSmmu, AgentLine,
            [.. Agent, "NoSmmu", "GuestLogUnreadable"]) with { ByType = "sandbox_guest_smmu_events_by_type_total", Types = SmmuTypes },
        Of(FaultSource.GuestIoPageFaults, "sandbox_guest_io_page_faults_total", PageFaultHelp + " as the guest's kernel was told them.", "the guest's agent: kprobes and histograms of the guest's kernel", OfGuestSmmu, InKernel, GuestTracing)
            with { Duration = "sandbox_guest_io_page_fault_duration_seconds" },
        .. Answers("guest_io", "the guest's kernel", "the guest's agent: a kprobe on the guest's answers", OfGuestSmmu, GuestTracing, FaultSource.GuestIoPageFaultsSuccess, FaultSource.GuestIoPageFaultsInvalid, FaultSource.GuestIoPageFaultsFailure),
        Of(FaultSource.VmmMinor, "sandbox_vmm_page_faults_total", "Page faults of the VMM's process, the guest's memory among it.", "/proc/PID/stat minflt", OfHost, OneRead, Vmm, ("severity", "minor")),
        Of(FaultSource.VmmMajor, "sandbox_vmm_page_faults_total", "Page faults of the VMM's process, the guest's memory among it.", "/proc/PID/stat majflt", OfHost, OneRead, Vmm, ("severity", "major")),
        Of(FaultSource.CgroupFaults, "sandbox_cgroup_page_faults_total", "Page faults of all processes of the VM, minor and major together.", "memory.stat pgfault of the VM's cgroup", OfHost, OneRead, MemoryStat),
        Of(FaultSource.CgroupMajor, "sandbox_cgroup_major_page_faults_total", "Major page faults of all processes of the VM.", "memory.stat pgmajfault of the VM's cgroup", OfHost, OneRead, MemoryStat),
        Of(FaultSource.CgroupHugePages, "sandbox_cgroup_huge_page_faults_total", "Page faults of the VM that got a transparent huge page.", "memory.stat thp_fault_alloc of the VM's cgroup", OfHost, OneRead, MemoryStat),
        Of(FaultSource.CgroupRefaults, "sandbox_cgroup_refaults_total", "Pages of the VM that were reclaimed and soon needed again.", "memory.stat workingset_refault_anon and _file of the VM's cgroup", OfHost, OneRead, MemoryStat),
        Of(FaultSource.MemoryStallSome, "sandbox_memory_stall_seconds_total", "Time in which tasks of the VM waited for memory.", "memory.pressure of the VM's cgroup", OfHost, OneRead, ["PressureOff", .. Cgroup], ("tasks", "some")) with { IsTime = true },
        Of(FaultSource.MemoryStallFull, "sandbox_memory_stall_seconds_total", "Time in which tasks of the VM waited for memory.", "memory.pressure of the VM's cgroup", OfHost, OneRead, ["PressureOff", .. Cgroup], ("tasks", "all")) with { IsTime = true },
        Of(FaultSource.KvmGuestFaults, "sandbox_kvm_guest_faults_total", "Stage 2 aborts of the guest's CPUs.", "the event kvm:kvm_guest_fault by vCPU thread", OfHost, InKernel, [.. Tracing, "NotUnderKvm", "VmmGone", "VmmNotConfirmed", "NotSimulated"]),
        Of(FaultSource.KvmExits, "sandbox_kvm_exits_total", "Returns of the guest's CPUs to KVM.", "KVM's statistics: debugfs, or else QMP query-stats", OfHost, "one question a second", Kvm),
        Of(FaultSource.KvmMmioExits, "sandbox_kvm_mmio_exits_total", "Returns for accesses to emulated registers.", "KVM's statistics: debugfs, or else QMP query-stats", OfHost, "one question a second", Kvm),
        Of(FaultSource.KvmTlbFlushes, "sandbox_kvm_tlb_flushes_total", "Invalidations of the guest's stage 2 translations on all CPUs.", "KVM's statistics: debugfs, or else QMP query-stats", OfHost, "one question a second", Kvm),
        Of(FaultSource.SmmuEvents, "sandbox_smmu_events_total", "Events of the SMMU that the guest sees.", "QEMU's trace of its SMMU", OfSmmu, NoMeasurableCost, Trace) with { ByType = "sandbox_smmu_events_by_type_total", Types = SmmuTypes },
        Of(FaultSource.SmmuTlbHits, "sandbox_smmu_tlb_hits_total", "Look-ups that the SMMU's TLB answered.", "QEMU's trace of its SMMU", OfSmmu, TranslationCost, [.. Trace, "TraceCostTooHigh", "TlbInHardware"]),
        Of(FaultSource.SmmuTlbMisses, "sandbox_smmu_tlb_misses_total", "Look-ups that needed a walk.", "QEMU's trace of its SMMU", OfSmmu, TranslationCost, [.. Trace, "TraceCostTooHigh", "TlbInHardware"]),
        Of(FaultSource.SmmuEventsLost, "sandbox_smmu_events_lost_total", "Events that found the SMMU's queue full.", TheMachine, "simulated", "none: what counts is simulated too", [.. Machine, "NoSmmu", "NotToldByVmm"]),
        Of(FaultSource.VirtioIommuEvents, "sandbox_virtio_iommu_events_total", "Fault events of virtio-iommu.", "QEMU's trace of its virtio-iommu", "emulated" + OrSimulated, NoMeasurableCost, ["NoVirtioIommu", .. Trace.Except(["NoSmmu", "NotSimulated"])]) with { ByType = "sandbox_virtio_iommu_events_by_type_total", Types = ViommuTypes },
        Of(FaultSource.HostSmmuEvents, "sandbox_host_smmu_events_total", "Events of the host's SMMU for the sandbox's functions.", "a kprobe on the driver's event handler, by stream; else the host's kernel log, whose rate is limited: then a lower bound", OfHost,
            InKernel + "; one reader of /dev/kmsg a node", [.. Assigned, "KernelLogUnreadable", "KernelLogNamesNoDevice"]) with { ByType = "sandbox_host_smmu_events_by_type_total", Types = SmmuTypes },
        Of(FaultSource.HostSmmuTlbMisses, "sandbox_host_smmu_tlb_misses_total", "Look-ups of the sandbox's functions that missed in the host's SMMU.", "the SMMU's PMCGs, event 2, filtered by StreamID: a miss in two of its units is two", OfHost, "none: a counter of the hardware", Pmu),
        Of(FaultSource.IoPageFaults, "sandbox_io_page_faults_total", PageFaultHelp + ": groups of page requests, or stalled transactions.", "kprobes on iommu_report_device_fault and the answer, by function", OfHost + OrSimulated, InKernel, [.. Assigned, .. Tracing, .. Machine, "NoSmmu"])
            with { Duration = "sandbox_io_page_fault_duration_seconds" },
        .. Answers("io", "the guest or the host", "a kprobe on the SMMU driver's answers", OfHost + OrSimulated, [.. Assigned, .. Tracing, .. Machine, "NoSmmu"], FaultSource.IoPageFaultsSuccess, FaultSource.IoPageFaultsInvalid, FaultSource.IoPageFaultsFailure),
        Of(FaultSource.IoPageRequestsLost, "sandbox_io_page_requests_lost_total", "Page requests that found the PRI queue full.", TheMachine, "simulated", "none: what counts is simulated too", [.. Assigned, .. Machine, "NoSmmu", "NotToldByKernel"]),
        Of(FaultSource.AtsRequests, "sandbox_ats_requests_total", "Translation requests of devices (ATS).", "the SMMU's PMCGs, event 6, filtered by StreamID", OfHost + OrSimulated, "none: a counter of the hardware", [.. Pmu, .. Machine, "NoSmmu"]),
        Of(FaultSource.AtsHits, "sandbox_ats_hits_total", "Translation requests that were answered with a translation.", "the SMMU's PMCGs, event 7, filtered by StreamID", OfHost + OrSimulated, "none: a counter of the hardware", [.. Pmu, .. Machine, "NoSmmu"]),
        .. new[] { (FaultSource.PciCorrectable, "correctable"), (FaultSource.PciNonFatal, "nonFatal"), (FaultSource.PciFatal, "fatal") }.Select(error =>
            Of(error.Item1, "sandbox_pci_errors_total", "PCI Express errors that the sandbox's functions reported (AER).", $"aer_dev_{error.Item2.ToLowerInvariant()} of the functions", OfHost, OneRead, [.. Assigned, "NoAer", "HostSilent"], ("severity", error.Item2))),
    ];

    private static FaultMetric Of(string source, string name, string help, string observedBy, string origins, string cost, string[] reasons, params (string, string)[] labels) =>
        new(source, name, help, labels, null, null, observedBy, origins, cost, reasons);

    private static IEnumerable<FaultMetric> Answers(string prefix, string by, string observedBy, string origins, string[] reasons, string success, string invalid, string failure) =>
        new[] { (success, "success"), (invalid, "invalid"), (failure, "failure") }.Select(answer =>
            Of(answer.Item1, $"sandbox_{prefix}_page_faults_answered_total", $"{PageFaultHelp} that {by} has answered.", observedBy, origins, InKernel, reasons, ("outcome", answer.Item2)));
}
