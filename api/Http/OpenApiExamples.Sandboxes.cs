using Api.Sandboxes;
using Contracts;

namespace Api.Http;

/// <summary>A sandbox that runs, its faults, its guest, and where it could be.</summary>
public static partial class OpenApiExamples
{
    private const string WithoutPasid = "SharedAddressProbePassedWithoutPasid",
        SaysWithoutPasid = "The device worked on a process's own addresses, mapped ahead for the whole function: one address space at a time, and no faults that could be resumed.",
        SharedAt = "0xffff8c1f3000", GuestKernel = "6.12.43";

    private static SandboxView Sandbox => new(
        SandboxId, "train-1", "guest", 2, 1024, [new("edu", 1, "1234", null, VerdictClass.PassthroughOnly)], Viommu.Smmuv3, new(At.AddHours(1), LeaseEnd.Delete), Train, true, 0,
        DesiredState.Running, Phase.Running, 1, 1, NodeId, "host-7", Acceleration.Tcg, [new(DeviceId, "edu", "edu-0", Origin.Emulated)], Origin.Emulated,
        [
            new(ConditionType.Placed, ConditionStatus.True, "Placed", "Placed on host-7.", At.AddSeconds(1)),
            new(ConditionType.DevicesReady, ConditionStatus.True, "DevicesPrepared", "The devices are clean and given to the guest.", At.AddSeconds(2)),
            new(ConditionType.VmmRunning, ConditionStatus.True, "VmmConfirmed", "The VMM runs and answers.", At.AddSeconds(3)),
            new(ConditionType.GuestReady, ConditionStatus.True, "AgentReady", $"The guest's user space is up. Its kernel is {GuestKernel}.", At.AddSeconds(11)),
            new(ConditionType.SvaReady, ConditionStatus.True, WithoutPasid, SaysWithoutPasid, At.AddSeconds(12)),
            new(ConditionType.FaultStorm, ConditionStatus.False, "NoFaultStorm", "Faults come more slowly than the storm policy's rate.", At.AddSeconds(42)),
        ],
        [new(Phase.Pending, At), new(Phase.Scheduled, At.AddSeconds(1)), new(Phase.Preparing, At.AddSeconds(2)), new(Phase.Booting, At.AddSeconds(3)), new(Phase.Running, At.AddSeconds(11))],
        null, EmulatedVerdict(probed: true), new("0.1.0", GuestKernel, "8f0a1c52-6d3e-4b97-a6c1-2e5f7d904b13", 2, 1_001_472),
        [
            new("0000:01:00.0", "1234", "11e8", ProbeOutcome.Passed, ProbeReasons.SharedAddressesMatched,
                "the device read and wrote 2048 bytes at the process's own addresses, and its access to an unmapped one changed nothing", SharedAt, true, true, "sent", false, false, false, "arm-smmu-v3", 48_210),
        ],
        At.AddSeconds(3), At.AddSeconds(11), At, At.AddSeconds(42), Vmm.Qemu, null, new(1000, 30, StormAction.Stop, null), 0, new(PlacementStrategy.Pack, null, Train, NumaLocality.Preferred), null,
        new(RestartWhen.OnFailure, 5, 30, 0, null), At.AddSeconds(11));

    private static EventView Happened => new(42, At.AddSeconds(11), "sandbox.phaseChanged", SandboxId, "train-1", "Running", "train-1 is Running.", Phase.Running);

    /// <summary>Of QEMU's edu device: on its node, and in a sandbox whose probe has passed.</summary>
    private static Verdict EmulatedVerdict(bool probed) => new(
        VerdictClass.PassthroughOnly, probed ? WithoutPasid : "EmulatedDevice", probed ? SaysWithoutPasid : "An emulated accelerator behind an emulated SMMU: shared addresses work by mapping ahead, without PASID.", Origin.Emulated,
        [
            new(VerdictLinkName.Device, LinkStatus.Fail, "DeviceHasNoPasid",
                "The function has no PASID capability: one address space for the whole function. " + (probed ? "So the guest sees it." : "QEMU's edu model is a conventional PCI function: it has neither ATS nor PRI."),
                "Use a device with ATS and PASID; without, memory can be mapped ahead."),
            new(VerdictLinkName.IommuGroup, LinkStatus.Pass, "AloneBehindRootPort", "Each emulated or simulated accelerator is alone behind a root port of its own.", null),
            new(VerdictLinkName.Smmu, LinkStatus.Fail, "SmmuHasNoSubstreams",
                "The SMMU has no substream IDs (SSIDSIZE is 0): no PASID reaches it. It is QEMU's emulated SMMUv3, which offers neither ATS nor PRI nor stall.", "Use a node whose SMMU has them."),
            new(VerdictLinkName.Kernel, LinkStatus.Pass, "NotInvolved", "The host's kernel takes no part in the DMA of an emulated or simulated device.", null),
            new(VerdictLinkName.Vmm, LinkStatus.Pass, "DeviceModelPresent", "The installed QEMU has the device's model. It is edu.", null),
            probed ? new(VerdictLinkName.Guest, LinkStatus.Pass, "SharedAddressProbePassed", $"The device read and wrote a process's buffer at the process's own address. It is {SharedAt}.", null) : NotProbed(),
        ]);

    private static VerdictLink NotProbed() => new(
        VerdictLinkName.Guest, LinkStatus.Unknown, "NotProbed", "No guest's probe counts here: what a guest finds is kept with its sandbox and not with the device.",
        "Read the verdict of a sandbox that has or had the device (GET /v1/sandboxes/{id}), or start one.");

    private static IEnumerable<object> OfSandboxes() =>
    [
        Sandbox,
        PageOf(Sandbox),
        new SandboxesDeleted(100, SandboxId.ToString()),
        Happened,
        PageOf(Happened),
        new PlacementView(false, null, "None of 1 node(s) can take it now.", [new("NotEnoughDevices", 1, PlacementReasons.All["NotEnoughDevices"].Message, PlacementReasons.All["NotEnoughDevices"].Remedy)], [new(NodeId, "host-7", "NotEnoughDevices")]),
    ];

    /// <summary>Of that sandbox, whose device raises no page faults; a reading that has latencies is of a simulated machine, and says so.</summary>
    private static IEnumerable<object> OfFaults()
    {
        var before = Latencies(40, 12, 0, 1_500_000);
        var now = Latencies(60, 17, 1, 2_295_000);
        var added = now.Since(before)!;
        return
        [
            new FaultHistoryView([new(At.AddSeconds(60), 1,
            [
                new(FaultSource.GuestMinor, 18_244, null, false, Origin.Emulated, null, 12, 12, null),
                new(FaultSource.SmmuEvents, 1, null, false, Origin.Emulated, null, 0, 0, null),
                new(FaultSource.SmmuTlbMisses, null, "TraceCostTooHigh", false, Origin.Emulated, null, null, null, null),
                new(FaultSource.KvmGuestFaults, null, "NotUnderKvm", false, Origin.Emulated, null, null, null, null),
            ])], null, 1),
            new FaultReadingView(FaultSource.IoPageFaults, now.Total, null, false, Origin.Simulated, now, added.Total, added.Total, new(added, added.Total, added.Quantile(0.5), added.Quantile(0.9), added.Quantile(0.99))),
        ];
    }

    /// <summary>Above 16, 32 and 64 µs.</summary>
    private static LatencyHistogram Latencies(long above16, long above32, long above64, long sumNanoseconds)
    {
        var counts = new long[LatencyHistogram.Buckets];
        (counts[5], counts[6], counts[7]) = (above16, above32, above64);
        return new(counts, sumNanoseconds);
    }

    private static IEnumerable<object> OfGuests() =>
    [
        new ExecAnswer(ExecId, "Linux\n"u8.ToArray(), [], false, new("Done", 0, null)),
        new ExecLine(null, "stdout", "Linux\n"u8.ToArray(), null),
        new GuestFileView("/root/train.py", 5, Sha256),
    ];
}
