using System.Text.Json.Serialization;

namespace Contracts;

// The worker dials out to NodeProtocol.HubPath with its node token, tells its Inventory once, and calls Sync: everything observed goes up, everything desired comes down.
// The API only ever says PlanChanged (and passes console keystrokes, and steps of sessions in a guest). Losing any message costs one period, never correctness.

/// <summary>Names and version of the protocol between workers and API.</summary>
public static class NodeProtocol
{
    public const string HubPath = "/hubs/node";
    /// <summary>With a SHA-256 behind it, which a file of a <see cref="PlannedImage"/> has: its bytes. Takes the node's token, and ranges.</summary>
    public const string ImageFilesPath = "/v1/nodes/images/files/";
    /// <summary>Another number means that the two cannot talk. Minor ones only add: fields that the other side may leave out or pass over, and calls that are made only to a side that says it has them;
    /// no member is added to an enum that the other side reads.</summary>
    public const int Version = 3;
    /// <summary>1: <see cref="RenewToken"/>. 2: <see cref="NodeFacts.HugePages"/> and <see cref="SandboxSpec.HugePages"/>; a worker that does not tell the first is sent nothing that has the second; and <see cref="SandboxSpec.Registered"/>, which a worker before it would pass over.</summary>
    public const int Minor = 2;
    /// <summary>The first minor version whose workers start guests from registered images.</summary>
    public const int RegisteredImages = 2;
    // Worker to API.
    public const string Sync = "Sync";
    public const string Inventory = "Inventory";
    /// <summary>A batch of <see cref="FaultSamplesEncoding"/> as base64. Answers whether it was taken in; false: not now, tell it again.
    /// A batch that was told and not answered may be told again: what was taken in before is known by its time.</summary>
    public const string Faults = "Faults";
    public const string ConsoleOutput = "ConsoleOutput";
    /// <summary>A <see cref="NodeOfSession"/>, in the order in which the guest's agent said it.</summary>
    public const string OfSession = "OfSession";
    /// <summary>Answers another token of the node's own. It is good for ten minutes or until the next is asked for; when it is used first, it becomes the node's only one.</summary>
    public const string RenewToken = "RenewToken";
    /// <summary>How the message of a call's refusal begins when the API's database did not answer: the connection, and what is open over it, goes on, and the worker makes the call again.</summary>
    public const string DatabaseUnavailable = "database_unavailable";
    // API to worker.
    public const string PlanChanged = "PlanChanged";
    public const string ConsoleInput = "ConsoleInput";
    /// <summary>A <see cref="NodeToSession"/>. A worker that does not know it answers nothing.</summary>
    public const string ToSession = "ToSession";
}

/// <summary>All that a node sees at one moment. Sandboxes and devices are one consistent snapshot. <c>Installation</c>: made once for a worker's state directory;
/// it tells a node from another machine that shows the same token.</summary>
public sealed record NodeReport(
    int Protocol, string WorkerVersion, DateTimeOffset At, long AppliedPlanRevision, NodeFacts Facts,
    IReadOnlyList<ReportedDevice> Devices, IReadOnlyList<ReportedImage> Images, IReadOnlyList<ReportedSandbox> Sandboxes, Guid Installation, int ProtocolMinor = 0);

/// <summary>The machine. <c>VcpuCapacity</c> and <c>MemoryCapacityMib</c> are what the node offers to sandboxes, overcommit included.
/// <c>Problems</c> are findings of the self checks that a person should read, each a failure with a remedy.
/// <c>VmmVersion</c> is QEMU's, <c>Viommus</c> what it can give a guest; <c>KvmtoolVersion</c>: null where there is no kvmtool that could run.
/// <c>HasFirmware</c>: whether it has UEFI for arm64 guests, by which QEMU starts them from disks; null where the worker does not say.
/// <c>Origin</c>: Emulated for a machine that QEMU emulates, whose KVM is no hardware either; Simulated for a node of a fleet, which is no machine at all; null where the worker does not say.
/// <c>HugePages</c>: the kernel's pools as they are now, empty where it has none or nothing uses them (a simulated node); null from a worker that does not say.
/// <c>ImageCacheMaxBytes</c>: what it keeps of registered images at most; null from a worker that does not say.</summary>
public sealed record NodeFacts(
    string Architecture, string Kernel, string OperatingSystem, string CpuModel, int HostCpus, long HostMemoryMib,
    int VcpuCapacity, long MemoryCapacityMib, Acceleration Acceleration, string AccelerationReason, string? VmmVersion,
    IReadOnlyList<Viommu> Viommus, bool OwnUidPerVm, bool CgroupPerVm, string? CgroupLimitsReason, string BootId,
    IReadOnlyList<Failure> Problems, string? KvmtoolVersion, Origin? Origin = null, IReadOnlyList<HugePagePool>? HugePages = null, bool? HasFirmware = null, long? ImageCacheMaxBytes = null);

/// <summary>The kernel's huge pages of one size on one NUMA node (sysfs, nr_hugepages and free_hugepages). <c>NumaNode</c>: null where the kernel tells of the whole host only.
/// <c>Total</c> and <c>Free</c>: pages, the free ones without those that are promised to processes; both null, with the code in <c>NullReason</c>, where they could not be read.</summary>
public sealed record HugePagePool(int? NumaNode, int SizeKib, long? Total, long? Free, string? NullReason = null);

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
/// <c>ExecAt</c>: when the VMM was executed. <c>GuestReadyAt</c>: when the agent's first Ready arrived.
/// <c>StormJudgedBy</c>: the policy by which its condition FaultStorm was judged, which may not be the plan's any more; null when it has none.</summary>
public sealed record ReportedSandbox(
    Guid Id, int Incarnation, VmState State, IReadOnlyList<Condition> Conditions, Failure? Failure, Verdict? Verdict,
    int? VmmPid, DateTimeOffset? ExecAt, DateTimeOffset? GuestReadyAt, DateTimeOffset? EndedAt,
    GuestFacts? Guest, IReadOnlyList<ProbeResult>? Probe, StormPolicy? StormJudgedBy = null);

/// <summary>What the guest's agent says of its machine. The guest is not trusted: a count that cannot be true is null, like one that could not be read.</summary>
public sealed record GuestFacts(string AgentVersion, string Kernel, string BootId, int? Cpus, long? MemoryKib);

/// <summary>All that a node should run. A sandbox that the node has and the plan does not name is destroyed.
/// <c>Revision</c> grows whenever the plan computed for the node is another than the one before. <c>Protocol</c> and <c>ProtocolMinor</c>: what the API speaks; 0 from one that does not say, which is 3.0.
/// <c>RenewToken</c>: an operator wants the node to take another token.</summary>
public sealed record NodePlan(
    long Revision, IReadOnlyList<PlannedSandbox> Sandboxes, IReadOnlyList<Guid> WatchedConsoles, IReadOnlyList<PlannedDevice> Devices,
    int Protocol = 0, int ProtocolMinor = 0, bool RenewToken = false);

/// <summary>A device whose quarantine an operator has lifted: the node's own quarantine that carries this very time (<see cref="Failure.At"/>) ends
/// once the node has cleaned the device again. A later quarantine is another one and stays.</summary>
public sealed record PlannedDevice(string Address, DateTimeOffset LiftQuarantineOf);

/// <summary><c>Launched</c>: a node has already reported this incarnation past Preparing, so a node that knows nothing of it
/// must report Failed (VmmLost) instead of starting a second guest. <c>FaultStorm</c>: by what the node judges storms; it may change while the guest runs.
/// <c>EndsUnready</c>: a guest whose agent does not say Ready in time is ended as Failed; a worker that does not know it lets it go on.</summary>
public sealed record PlannedSandbox(Guid Id, string Name, int Incarnation, DesiredState Desired, bool Launched, SandboxSpec Spec, StormPolicy? FaultStorm = null, bool EndsUnready = false);

/// <summary>Everything the VMM's command line is built from. <c>Devices</c> are addresses of the node's own report. <c>Registered</c>: the image is this one; null: it is the node's folder named <c>Image</c>.</summary>
public sealed record SandboxSpec(
    string Image, int Vcpus, int MemoryMib, Viommu Viommu, IReadOnlyList<string> Devices, string? UserData, IReadOnlyList<string> SshKeys, Vmm Vmm,
    HugePageSize HugePages = HugePageSize.None, PlannedImage? Registered = null);

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

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(NodeReport))]
[JsonSerializable(typeof(NodePlan))]
[JsonSerializable(typeof(NodeInventory))]
[JsonSerializable(typeof(NodeJoin))]
[JsonSerializable(typeof(NodeJoined))]
[JsonSerializable(typeof(byte[]))]
[JsonSerializable(typeof(bool))]
[JsonSerializable(typeof(string))]
[JsonSerializable(typeof(ConsoleChunk))]
[JsonSerializable(typeof(ConsoleKeys))]
[JsonSerializable(typeof(NodeToSession))]
[JsonSerializable(typeof(NodeOfSession))]
public sealed partial class NodeJson : JsonSerializerContext;
