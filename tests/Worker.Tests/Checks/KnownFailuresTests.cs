using Contracts;
using Worker.Checks;
using Worker.Vms;
using Xunit;

namespace Worker.Tests.Checks;

public sealed class KnownFailuresTests
{
    public static TheoryData<LogSource, string, string> Lines() => new()
    {
        { LogSource.Vmm, "qemu-system-aarch64: -device vfio-pci,host=0000:01:00.0: vfio 0000:01:00.0: group 8 is not viable", "GroupNotViable" },
        { LogSource.Vmm, "Please ensure all devices within the iommu_group are bound to their vfio bus driver.", "GroupNotViable" },
        { LogSource.Vmm, "  Error: IOMMU group 8 is not viable", "GroupNotViable" },
        { LogSource.Vmm, "vfio 0000:01:00.0: requires iommu MAP notifier which is not currently supported", "ViommuNeedsAccel" },
        { LogSource.Vmm, "SMMUv3 with accel=on not supported for DT", "AccelNeedsAcpi" },
        { LogSource.Vmm, "SMMUv3 accel=on requires KVM with kernel-irqchip=on support", "AccelNeedsKvm" },
        { LogSource.Vmm, "accel=on support not compiled in", "AccelNotBuilt" },
        { LogSource.Vmm, "arm-smmuv3 accel=on with 'auto' properties requires at least one cold-plugged VFIO device", "AccelNeedsColdPlug" },
        { LogSource.Vmm, "Emulated endpoint devices are not allowed when using arm-smmuv3,accel=on", "EmulatedBehindAccel" },
        { LogSource.Vmm, "Unable to alloc vIOMMU", "NestingUnavailable" },
        { LogSource.Vmm, "Host SMMUv3 SSIDSIZE not compatible", "SmmuValuesTooLarge" },
        { LogSource.Vmm, "Host SMMUv3 doesn't support Range Invalidation", "SmmuValuesTooLarge" },
        { LogSource.Vmm, "Host SMMUv3 supports only 44-bit IPA", "SmmuValuesTooLarge" },
        { LogSource.Vmm, "Host SMMUv3 doesn't support 16K translation granule", "SmmuValuesTooLarge" },
        { LogSource.Vmm, "vfio 0000:01:00.0: no iommu_group found: No such file or directory", "NoIommuGroupOnHost" },
        { LogSource.Vmm, "qemu-system-aarch64: Failed to allocate hwpt: Operation not supported", "NestingUnavailable" },
        { LogSource.Vmm, "qemu-system-aarch64: IOMMU_VIOMMU_ALLOC failed: Operation not supported", "NestingUnavailable" },
        { LogSource.Vmm, "/dev/iommu does not exist", "IommufdMissing" },
        { LogSource.Vmm, "vfio 0000:09:00.0: no such host device: No such file or directory", "DeviceMissingOnHost" },
        { LogSource.Vmm, "cannot allocate MMIO space", "BarWindowTooSmall" },
        { LogSource.Vmm, "qemu-system-aarch64: unable to map backing store for guest RAM: Cannot allocate memory", "NoHugePagesLeft" },
        { LogSource.Vmm, "qemu-system-aarch64: qemu_prealloc_mem: preallocating memory failed: Bad address", "NoHugePagesLeft" },
        { LogSource.Vmm, "qemu-system-aarch64: Insufficient free host memory pages available to allocate guest RAM", "NoHugePagesLeft" },
        { LogSource.Vmm, "VFIO_MAP_DMA failed: Cannot allocate memory", "MemoryNotPinned" },
        { LogSource.Vmm, "qemu-system-aarch64: vfio_container_dma_map(0xaaaae9ef1dd0, 0x40000000, 0x40000000, 0xffff27e00000) = -12 (Cannot allocate memory)", "MemoryNotPinned" },
        { LogSource.Vmm, "qemu-system-aarch64: warning: IOMMU_IOAS_MAP failed: Bad address, PCI BAR?", "PeerAccessUnavailable" },
        { LogSource.Vmm, "qemu-system-aarch64: warning: vfio_container_dma_map(0xaaaea68471b0, 0xc090000, 0x10000, 0xffffb5c90000) = -14 (Bad address)", "PeerAccessUnavailable" },
        { LogSource.Vmm, "qemu-system-aarch64: vEVENTQ(type 1 id 1): overflowed", "VmmEventsLost" },
        { LogSource.Vmm, "qemu-system-aarch64: vEVENTQ(type 1 id 1): lost 12 event(s)", "VmmEventsLost" },
        { LogSource.Vmm, "qemu-system-aarch64: vfio: Cannot reset device 0000:01:00.0, no available reset mechanism.", "NoResetForVmm" },
        { LogSource.Kernel, "pci 0000:01:00.0: BAR 2 [mem size 0x2000000000 64bit pref]: can't assign; no space", "BarNotAssigned" },
        { LogSource.Kernel, "pci 0000:01:00.0: BAR 2 [mem size 0x2000000000 64bit pref]: failed to assign", "BarNotAssigned" },
        { LogSource.Kernel, "pci 0000:01:00.0: BAR 2: no space for [mem size 0x2000000000 64bit pref]", "BarNotAssigned" },
        { LogSource.Kernel, "vfio-pci 0000:01:00.0: not ready 65535ms after FLR; giving up", "ResetNotReady" },
        { LogSource.Kernel, "INFO: task qemu-system-aar:1234 blocked for more than 120 seconds.", "TaskBlocked" },
        { LogSource.Kernel, "arm-smmu-v3 arm-smmu-v3.0.auto: no pending PRQ, drop response", "FaultWithoutHandler" },
        { LogSource.Kernel, "vfio-pci 0000:01:00.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping.", "DirectRegionDemanded" },
        { LogSource.Kernel, "vfio_pin_pages_remote: RLIMIT_MEMLOCK (8388608) exceeded", "MemlockExceeded" },
        { LogSource.Kernel, "arm-smmu-v3 arm-smmu-v3.0.auto: unexpected PRI request received:", "PageRequestDenied" },
        { LogSource.Kernel, "arm-smmu-v3 arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x00000012 [hwprod 0x13, hwcons 0x12]", "SmmuCommandTimeout" },
        { LogSource.Kernel, "arm-smmu-v3 arm-smmu-v3.0.auto: CMDQ error (cons 0x03000012): ATC invalidate timeout", "DeviceIgnoresAts" },
        { LogSource.Kernel, "arm-smmu-v3 arm-smmu-v3.0.auto: EVTQ overflow detected -- events lost", "SmmuEventsLost" },
        { LogSource.Kernel, "arm-smmu-v3 arm-smmu-v3.0.auto: PRIQ overflow detected -- requests lost", "SmmuEventsLost" },
        { LogSource.Kernel, "arm-smmu-v3 arm-smmu-v3.0.auto: unexpected global error reported (0x00000001), this could be serious", "SmmuGlobalError" },
        { LogSource.Kernel, "arm-smmu-v3 arm-smmu-v3.0.auto: device has entered Service Failure Mode!", "SmmuGlobalError" },
        { LogSource.Kernel, "arm-smmu-v3 9050000.smmuv3: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0xffff8a2c0000 ipa: 0x0", "TranslationFault" },
        { LogSource.Kernel, "arm-smmu-v3 9050000.smmuv3: event 0x10 received:", "TranslationFault" },
        { LogSource.Kernel, "iopf (pasid 3) without domain attached or handler installed", "FaultWithoutHandler" },
    };

    [Theory]
    [MemberData(nameof(Lines))]
    public void In_OfAKnownLine_NamesIt(LogSource source, string line, string code) => Assert.Equal(code, KnownFailures.In(source, line)?.Code);

    [Fact]
    public void EveryKnownFailure_HasALineThatShowsIt_AndItsOwnCode()
    {
        Assert.Equal(KnownFailures.All.Select(k => k.Code).Order(), Lines().Select(row => row.Data.Item3).Distinct().Order());
        Assert.All(KnownFailures.All, known => Assert.NotEmpty(known.Reason.Remedy));
    }

    [Theory]
    [InlineData("")]
    [InlineData("nvme nvme0: 2/0/0 default/read/poll queues")]
    [InlineData("qemu-system-aarch64: terminating on signal 15 from pid 1")]
    public void In_OfAnyOtherLine_IsNothing(string line)
    {
        Assert.Null(KnownFailures.In(LogSource.Kernel, line));
        Assert.Null(KnownFailures.In(LogSource.Vmm, line));
    }

    [Fact]
    public void Count_OfALog_CountsLinesOfEachKind()
    {
        var found = KnownFailures.Count(LogSource.Kernel, "a: event 0x10 received:\nboot\nb: event 0x10 received:\nc: CMD_SYNC timeout at 0x1");
        Assert.Equal([("TranslationFault", 2), ("SmmuCommandTimeout", 1)], found.Select(f => (f.Failure.Code, f.Lines)));
        Assert.Empty(KnownFailures.Count(LogSource.Kernel, null));
    }

    /// <summary>What a VMM says and goes on is not why it was killed later.</summary>
    [Theory]
    [InlineData("warning: IOMMU_IOAS_MAP failed: Bad address, PCI BAR?", "VmmKilled")]
    [InlineData("warning: IOMMU_IOAS_MAP failed: Bad address, PCI BAR? IOMMU_IOAS_MAP failed: Cannot allocate memory", "MemoryNotPinned")]
    [InlineData("vEVENTQ(type 1 id 1): overflowed", "VmmKilled")]
    public void Ending_OfAVmmThatOnlyRemarked_IsNotThat(string said, string reason) =>
        Assert.Equal(reason, VmEnding.Apply(new VmRecord(Guid.NewGuid(), 1, VmState.Running), EndCause.VmmKilled, said, DateTimeOffset.UnixEpoch).Failure!.Reason);

    [Fact]
    public void Ending_WhenTheVmmSaidWhatIsKnown_HasThatReasonAndItsRemedy()
    {
        var now = DateTimeOffset.UnixEpoch;
        var ended = VmEnding.Apply(new VmRecord(Guid.NewGuid(), 1, VmState.Preparing), EndCause.VmmKilled, "vfio: requires iommu MAP notifier which is not currently supported", now);
        Assert.Equal((VmState.Failed, "ViommuNeedsAccel"), (ended.State, ended.Failure!.Reason));
        Assert.Contains("MAP notifier", ended.Failure.Message, StringComparison.Ordinal);
    }
}
