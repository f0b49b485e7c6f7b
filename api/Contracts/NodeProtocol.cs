using System.Text.Json.Serialization;

namespace Contracts;

// The worker dials out to NodeProtocol.HubPath with its node token, tells its Inventory once, and calls Sync: everything observed goes up, everything desired comes down.
// The API only ever says PlanChanged (and passes console keystrokes). Losing any message costs one period, never correctness.

/// <summary>Names and version of the protocol between workers and API.</summary>
public static class NodeProtocol
{
    public const string HubPath = "/hubs/node";
    public const int Version = 3;
    // Worker to API.
    public const string Sync = "Sync";
    public const string Inventory = "Inventory";
    /// <summary>A batch of <see cref="FaultSamplesEncoding"/> as base64. Answers whether it was taken in; false: not now, tell it again.
    /// A batch that was told and not answered may be told again: what was taken in before is known by its time.</summary>
    public const string Faults = "Faults";
    public const string ConsoleOutput = "ConsoleOutput";
    // API to worker.
    public const string PlanChanged = "PlanChanged";
    public const string ConsoleInput = "ConsoleInput";
}

/// <summary>All that a node sees at one moment. Sandboxes and devices are one consistent snapshot. <c>Installation</c>: made once for a worker's state directory;
/// it tells a node from another machine that shows the same token.</summary>
public sealed record NodeReport(
    int Protocol, string WorkerVersion, DateTimeOffset At, long AppliedPlanRevision, NodeFacts Facts,
    IReadOnlyList<ReportedDevice> Devices, IReadOnlyList<ReportedImage> Images, IReadOnlyList<ReportedSandbox> Sandboxes, Guid Installation);

/// <summary>The machine. <c>VcpuCapacity</c> and <c>MemoryCapacityMib</c> are what the node offers to sandboxes, overcommit included.
/// <c>Problems</c> are findings of the self checks that a person should read, each a failure with a remedy.
/// <c>VmmVersion</c> is QEMU's, <c>Viommus</c> what it can give a guest; <c>KvmtoolVersion</c>: null where there is no kvmtool that could run.
/// <c>Origin</c>: Emulated for a machine that QEMU emulates, whose KVM is no hardware either; Simulated for a node of a fleet, which is no machine at all; null where the worker does not say.</summary>
public sealed record NodeFacts(
    string Architecture, string Kernel, string OperatingSystem, string CpuModel, int HostCpus, long HostMemoryMib,
    int VcpuCapacity, long MemoryCapacityMib, Acceleration Acceleration, string AccelerationReason, string? VmmVersion,
    IReadOnlyList<Viommu> Viommus, bool OwnUidPerVm, bool CgroupPerVm, string? CgroupLimitsReason, string BootId,
    IReadOnlyList<Failure> Problems, string? KvmtoolVersion, Origin? Origin = null);

/// <summary>One assignable function. <c>HeldBy</c> is the sandbox whose tenancy has not been fully cleaned yet; null means clean and free.
/// <c>Quarantine</c>: why the node hands it out no more. <c>Viommus</c>: the IOMMUs that QEMU can put it behind; <c>FitsKvmtool</c>: whether kvmtool can assign it.</summary>
public sealed record ReportedDevice(
    string Address, string Class, string VendorId, string DeviceId, string Description, Origin Origin,
    Guid? HeldBy, DevicePhase Phase, Failure? Quarantine, Verdict Verdict, IReadOnlyList<Viommu> Viommus, bool FitsKvmtool);

/// <summary>A guest image on the node's disk. <c>Digest</c> is <c>sha256:</c> of the manifest that names every file with its own digest.</summary>
public sealed record ReportedImage(string Name, string Digest, string Architecture, string Kernel, bool HasAgent, long SizeBytes);

[JsonConverter(typeof(NamedEnum<VmState>))]
public enum VmState { Absent, Preparing, Booting, Running, Stopping, Stopped, Failed }

/// <summary>What a node sees of one sandbox. <c>Absent</c> answers a plan entry that asks for deletion once nothing of it is left
/// (no process, cgroup, socket, file or device). <c>Incarnation</c> is the plan's number for this start of the guest.
/// <c>ExecAt</c>: when the VMM was executed. <c>GuestReadyAt</c>: when the agent's first Ready arrived.</summary>
public sealed record ReportedSandbox(
    Guid Id, int Incarnation, VmState State, IReadOnlyList<Condition> Conditions, Failure? Failure, Verdict? Verdict,
    int? VmmPid, DateTimeOffset? ExecAt, DateTimeOffset? GuestReadyAt, DateTimeOffset? EndedAt,
    GuestFacts? Guest, IReadOnlyList<ProbeResult>? Probe);

/// <summary>What the guest's agent says of its machine. The guest is not trusted: a count that cannot be true is null, like one that could not be read.</summary>
public sealed record GuestFacts(string AgentVersion, string Kernel, string BootId, int? Cpus, long? MemoryKib);

/// <summary>All that a node should run. A sandbox that the node has and the plan does not name is destroyed.
/// <c>Revision</c> grows whenever the plan computed for the node is another than the one before.</summary>
public sealed record NodePlan(long Revision, IReadOnlyList<PlannedSandbox> Sandboxes, IReadOnlyList<Guid> WatchedConsoles, IReadOnlyList<PlannedDevice> Devices);

/// <summary>A device whose quarantine an operator has lifted: the node's own quarantine that carries this very time (<see cref="Failure.At"/>) ends
/// once the node has cleaned the device again. A later quarantine is another one and stays.</summary>
public sealed record PlannedDevice(string Address, DateTimeOffset LiftQuarantineOf);

/// <summary><c>Launched</c>: a node has already reported this incarnation past Preparing, so a node that knows nothing of it
/// must report Failed (VmmLost) instead of starting a second guest.</summary>
public sealed record PlannedSandbox(Guid Id, string Name, int Incarnation, DesiredState Desired, bool Launched, SandboxSpec Spec);

/// <summary>Everything the VMM's command line is built from. <c>Devices</c> are addresses of the node's own report.</summary>
public sealed record SandboxSpec(
    string Image, int Vcpus, int MemoryMib, Viommu Viommu, IReadOnlyList<string> Devices, string? UserData, IReadOnlyList<string> SshKeys, Vmm Vmm);

/// <summary>Bytes of a serial console. <c>Offset</c>: how many bytes the console had put out before <c>Data</c>, since the sandbox's first start.</summary>
public sealed record ConsoleChunk(Guid SandboxId, long Offset, byte[] Data);

/// <summary>What a viewer typed: at most <see cref="DashboardHubContract.MaxConsoleWriteBytes"/> bytes.</summary>
public sealed record ConsoleKeys(Guid SandboxId, byte[] Data);

/// <summary>One reading of one source. Exactly one of <c>Value</c> and <c>NullReason</c> is set: what cannot be observed is never 0.
/// <c>Value</c> is a monotonic counter within one incarnation. <c>LowerBound</c>: events are known to have been merged or dropped.
/// <c>Latency</c>: of those that have an end and had one, where it was measured; null elsewhere.</summary>
public sealed record SourceReading(string Source, long? Value, string? NullReason, bool LowerBound, Origin Origin, LatencyHistogram? Latency = null);

/// <summary>The readings of one sandbox at one second.</summary>
public sealed record FaultSample(Guid SandboxId, int Incarnation, DateTimeOffset At, IReadOnlyList<SourceReading> Readings);

/// <summary>Names of fault sources. SMMU events appear in total and once for each type seen: <c>smmu.events.F_TRANSLATION</c>.</summary>
public static class FaultSource
{
    public const string GuestMinor = "guest.minorFaults";
    public const string GuestMajor = "guest.majorFaults";
    public const string VmmMinor = "vmm.minorFaults";
    public const string VmmMajor = "vmm.majorFaults";
    public const string SmmuEvents = "smmu.events";
    /// <summary>Events of the host's SMMU for the sandbox's assigned functions, in total and by type like <see cref="SmmuEvents"/>, which are those of the SMMU that the guest sees.</summary>
    public const string HostSmmuEvents = "hostSmmu.events";
    public const string SmmuTlbHits = "smmu.tlbHits";
    public const string SmmuTlbMisses = "smmu.tlbMisses";
    /// <summary>Event records that found the event queue full (Arm SMMUv3, IHI 0070, 7.4).</summary>
    public const string SmmuEventsLost = "smmu.lostEvents";
    /// <summary>Fault events of virtio-iommu (Virtual I/O Device 1.3, 5.13.6.9).</summary>
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
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(NodeReport))]
[JsonSerializable(typeof(NodePlan))]
[JsonSerializable(typeof(NodeInventory))]
[JsonSerializable(typeof(NodeJoin))]
[JsonSerializable(typeof(NodeJoined))]
[JsonSerializable(typeof(byte[]))]
[JsonSerializable(typeof(bool))]
[JsonSerializable(typeof(ConsoleChunk))]
[JsonSerializable(typeof(ConsoleKeys))]
public sealed partial class NodeJson : JsonSerializerContext;
