namespace Contracts;

/// <summary>Names of fault sources. Events of SMMUs and of virtio-iommu appear in total and once for each type seen: <c>smmu.events.F_TRANSLATION</c>.</summary>
public static class FaultSource
{
    public const string GuestMinor = "guest.minorFaults";
    public const string GuestMajor = "guest.majorFaults";
    /// <summary>Of the guest's user data script and the children that it has waited for.</summary>
    public const string WorkloadMinor = "workload.minorFaults";
    public const string WorkloadMajor = "workload.majorFaults";
    /// <summary>Events of its SMMU that the guest's own kernel has logged, in total and by type; a lower bound, because that log limits its rate.</summary>
    public const string GuestSmmuEvents = "guestSmmu.events";
    /// <summary>Recoverable page faults of devices as the guest's kernel was told them; <see cref="SourceReading.Latency"/> until it answered, in whole microseconds.
    /// A group of page requests is one, and so is a stalled transaction (include/linux/iommu.h).</summary>
    public const string GuestIoPageFaults = "guestIo.pageFaults";
    public const string GuestIoPageFaultsSuccess = "guestIo.pageFaults.success";
    public const string GuestIoPageFaultsInvalid = "guestIo.pageFaults.invalid";
    public const string GuestIoPageFaultsFailure = "guestIo.pageFaults.failure";
    public const string VmmMinor = "vmm.minorFaults";
    public const string VmmMajor = "vmm.majorFaults";
    /// <summary>Page faults of all processes of the VM's control group, memory.stat pgfault (Linux admin-guide/cgroup-v2.rst): minor and major together.</summary>
    public const string CgroupFaults = "cgroup.pageFaults";
    public const string CgroupMajor = "cgroup.majorPageFaults";
    /// <summary>Faults that were given a transparent huge page at once (thp_fault_alloc).</summary>
    public const string CgroupHugePages = "cgroup.hugePageFaults";
    /// <summary>Pages that were reclaimed and soon needed again (workingset_refault_anon and _file).</summary>
    public const string CgroupRefaults = "cgroup.refaults";
    /// <summary>Microseconds in which at least one task of the VM waited for memory (memory.pressure, Linux accounting/psi.rst).</summary>
    public const string MemoryStallSome = "cgroup.memoryStallSomeMicroseconds";
    /// <summary>Microseconds in which all of them waited.</summary>
    public const string MemoryStallFull = "cgroup.memoryStallFullMicroseconds";
    /// <summary>Stage 2 aborts of the guest's CPUs that KVM handled (kvm:kvm_guest_fault): pages to be mapped and accesses to emulated registers.</summary>
    public const string KvmGuestFaults = "kvm.guestFaults";
    /// <summary>Returns of the guest's CPUs to KVM (vCPU statistic exits).</summary>
    public const string KvmExits = "kvm.exits";
    /// <summary>Of those, accesses to emulated registers (mmio_exit_user and mmio_exit_kernel).</summary>
    public const string KvmMmioExits = "kvm.mmioExits";
    /// <summary>Invalidations of the guest's stage 2 TLB entries on all CPUs (VM statistics remote_tlb_flush and remote_tlb_flush_requests, the larger: arm64 counts the second alone in some releases).</summary>
    public const string KvmTlbFlushes = "kvm.tlbFlushes";
    public const string SmmuEvents = "smmu.events";
    /// <summary>Events of the host's SMMU for the sandbox's assigned functions, in total and by type like <see cref="SmmuEvents"/>, which are those of the SMMU that the guest sees.</summary>
    public const string HostSmmuEvents = "hostSmmu.events";
    /// <summary>Look-ups of the sandbox's functions that missed in the host's SMMU (PMCG event 2, IHI 0070, 10.4), summed over its monitors: one that misses in a unit near the device
    /// and in the one behind it counts in both.</summary>
    public const string HostSmmuTlbMisses = "hostSmmu.tlbMisses";
    public const string SmmuTlbHits = "smmu.tlbHits";
    public const string SmmuTlbMisses = "smmu.tlbMisses";
    /// <summary>Event records that found the event queue full (Arm SMMUv3, IHI 0070, 7.4).</summary>
    public const string SmmuEventsLost = "smmu.lostEvents";
    /// <summary>Fault events of virtio-iommu that the guest was told, in total and by reason: DOMAIN, MAPPING or UNKNOWN (Virtual I/O Device 1.3, 5.13.6.9).</summary>
    public const string VirtioIommuEvents = "virtioIommu.events";
    /// <summary>Recoverable page faults of devices: groups of page requests (PCI Express, PRI) and stalled transactions (IHI 0070, 3.12.2). The value counts those that
    /// were raised; <see cref="SourceReading.Latency"/> those that the guest has answered, from the fault to the answer.</summary>
    public const string IoPageFaults = "io.pageFaults";
    /// <summary>Of <see cref="IoPageFaults"/>, those answered with Success: the page is there, the device goes on.</summary>
    public const string IoPageFaultsSuccess = "io.pageFaults.success";
    /// <summary>Those answered with Invalid Request: there is no such page, or not for this access.</summary>
    public const string IoPageFaultsInvalid = "io.pageFaults.invalid";
    /// <summary>Those answered with Response Failure: the device sends no page requests any more.</summary>
    public const string IoPageFaultsFailure = "io.pageFaults.failure";
    /// <summary>Page requests that found the PRI queue full; the SMMU answers their groups itself (IHI 0070, 8.1).</summary>
    public const string IoPageRequestsLost = "io.lostPageRequests";
    /// <summary>Translation requests of devices (PCI Express, ATS).</summary>
    public const string AtsRequests = "ats.requests";
    /// <summary>Translation requests that were answered with a translation.</summary>
    public const string AtsHits = "ats.hits";
    /// <summary>Errors that the functions' AER capability has told since the tenancy's start (aer_dev_correctable and the others, TOTAL_ERR).</summary>
    public const string PciCorrectable = "pci.correctableErrors";
    public const string PciNonFatal = "pci.nonFatalErrors";
    public const string PciFatal = "pci.fatalErrors";
}
