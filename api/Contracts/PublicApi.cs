using System.Text.Json.Serialization;

namespace Contracts;

/// <summary>Body of <c>POST /v1/sandboxes</c>. Unknown fields are refused. Null means the default.</summary>
/// <param name="Name">1 to 63 of <c>a-z 0-9 -</c>, starting and ending with a letter or digit; unique in the project.</param>
/// <param name="Image">Name of an image: the project's own registered one of that name, else a shared one, else one that some node has in a folder. Which one it is, is settled now.</param>
/// <param name="Vcpus">1 to 64; default 1.</param>
/// <param name="MemoryMib">128 to 1048576 mebibytes; default 512.</param>
/// <param name="Accelerators">At most 8 entries, 8 devices in all.</param>
/// <param name="Viommu">smmuv3 (default), virtio or none.</param>
/// <param name="Lease">How long the sandbox may live; null: until deleted.</param>
/// <param name="Labels">At most 32; keys 1 to 63 of <c>A-Za-z0-9._/-</c>, values at most 255 characters.</param>
/// <param name="UserData">At most 16384 bytes of UTF-8 without NUL. A text that starts with <c>#!</c> is run once at first boot.</param>
/// <param name="SshKeys">At most 16 OpenSSH public keys of at most 1024 characters.</param>
/// <param name="Vmm">qemu (default); kvmtool, which gives a guest no IOMMU: it takes viommu none only; or simulated, which runs no guest but a model of one: it takes
/// classes of simulated devices, at least one, viommu smmuv3 or virtio, and as <c>UserData</c> a JSON document that says what is simulated.</param>
/// <param name="Node">Name of the only node that may run it; null: any.</param>
/// <param name="Priority">-100 to 100, default 0: who has a higher one is placed before others. Above 0 at most what the project's quotas allow (<c>maxPriority</c>).</param>
/// <param name="Placement">Beside whom and how tightly it is placed; null: with the most free vCPUs, beside anybody.</param>
/// <param name="FaultStorm">From what rate of faults on it is in a storm, and what happens then; null: nobody judges.</param>
/// <param name="Restart">Whether it is started again by itself once its guest has ended; null: never.</param>
/// <param name="HugePages">none (default), size2Mi or size1Gi: the guest's memory lies on huge pages of that size, all of it, and <c>MemoryMib</c> is a multiple of them. With vmm qemu only.</param>
public sealed record SandboxCreate(
    string? Name, string? Image, int? Vcpus, int? MemoryMib, IReadOnlyList<AcceleratorRequest>? Accelerators, Viommu? Viommu,
    LeaseRequest? Lease, IReadOnlyDictionary<string, string>? Labels, string? UserData, IReadOnlyList<string>? SshKeys, Vmm? Vmm, string? Node,
    StormPolicyRequest? FaultStorm = null, int? Priority = null, PlacementRequest? Placement = null, RestartRequest? Restart = null, HugePageSize? HugePages = null);

/// <summary>When a guest that has ended by itself is started again. <c>OnFailure</c>: when it failed, its machine went down with it, or its node was drained; <c>Always</c>: when it powered itself off, too.
/// A guest that somebody has stopped stays stopped.</summary>
[JsonConverter(typeof(NamedEnum<RestartWhen>))]
public enum RestartWhen { Never, OnFailure, Always }

/// <summary>Field <c>restart</c> of <c>POST /v1/sandboxes</c>.</summary>
/// <param name="Policy">never, onFailure or always; required.</param>
/// <param name="MaxRestarts">0 to 1000 starts in a row; null: without end. What has run for ten minutes begins to count anew.</param>
/// <param name="BackoffSeconds">1 to 300, before the first start; default 10. It doubles with each, up to 300.</param>
public sealed record RestartRequest(RestartWhen? Policy, int? MaxRestarts, int? BackoffSeconds);

/// <summary>A restart policy as it is stored; <c>MaxRestarts</c>: null without end.</summary>
public sealed record RestartPolicy(RestartWhen Policy, int? MaxRestarts, int BackoffSeconds);

/// <summary>A restart policy and where it stands. <c>Restarts</c>: starts in a row; <c>At</c>: when the next one is due, null when none is.</summary>
public sealed record RestartView(RestartWhen Policy, int? MaxRestarts, int BackoffSeconds, int Restarts, DateTimeOffset? At);

/// <param name="Class">Name of a device class.</param>
/// <param name="Count">1 to 8.</param>
/// <param name="VendorId">Only devices of that PCI vendor, four hexadecimal digits; null: of any.</param>
/// <param name="DeviceId">Only devices of that PCI device id, four hexadecimal digits; null: of any.</param>
/// <param name="MinVerdict">Only devices that their node judges at least so good: guestSvaDeviceFaults, guestSvaPrefaultOnly or passthroughOnly, from the best down; null: any that the class has.
/// A verdict may be of an emulated or simulated device: its origin says so.</param>
public sealed record AcceleratorRequest(string? Class, int? Count, string? VendorId = null, string? DeviceId = null, VerdictClass? MinVerdict = null);

/// <summary>Which of the nodes that could take a sandbox is chosen. <c>Spread</c>: the one with the most free vCPUs; <c>Pack</c>: the one with the fewest.</summary>
[JsonConverter(typeof(NamedEnum<PlacementStrategy>))]
public enum PlacementStrategy { Spread, Pack }

/// <summary>Whether a sandbox's devices are to be on one NUMA node of the host. <c>Preferred</c>: where the chosen node has that; <c>Required</c>: only where the node says so of each device.
/// Of devices alone: vCPUs and memory are not bound to a NUMA node.</summary>
[JsonConverter(typeof(NamedEnum<NumaLocality>))]
public enum NumaLocality { Any, Preferred, Required }

/// <summary>Field <c>placement</c> of <c>POST /v1/sandboxes</c>. Unknown fields are refused.</summary>
/// <param name="Strategy">Default spread.</param>
/// <param name="With">1 to 8 labels: only on a node on which a sandbox of the project is that carries all of them. The first that carries them itself may go anywhere.</param>
/// <param name="ApartFrom">1 to 8 labels: on no node on which a sandbox of the project is that carries all of them; and none that carries them is placed beside it later.</param>
/// <param name="Numa">Default any.</param>
/// <param name="Preempts">Whether, when it fits nowhere, sandboxes of lower priority, of any project, are ended for it: as few as will do, after a notice (event <c>sandbox.preempting</c>; 30 seconds unless whoever runs
/// the service says otherwise). True only with a priority above 0; default false.</param>
public sealed record PlacementRequest(PlacementStrategy? Strategy, IReadOnlyDictionary<string, string>? With, IReadOnlyDictionary<string, string>? ApartFrom, NumaLocality? Numa, bool? Preempts = null);

/// <summary>As <see cref="PlacementRequest"/>, with its defaults. Null maps: anywhere.</summary>
public sealed record PlacementRules(PlacementStrategy Strategy, IReadOnlyDictionary<string, string>? With, IReadOnlyDictionary<string, string>? ApartFrom, NumaLocality Numa, bool Preempts = false);

[JsonConverter(typeof(NamedEnum<LeaseEnd>))]
public enum LeaseEnd { Stop, Delete }

/// <summary>Field <c>lease</c> of <c>POST /v1/sandboxes</c>, and body of <c>PUT /v1/sandboxes/{id}/lease</c>. Unknown fields are refused.</summary>
/// <param name="TtlSeconds">60 to 31536000, from creation, or from now; null: without end. This or <c>IdleTimeoutSeconds</c> is required.</param>
/// <param name="OnExpiry">What happens then; default Delete.</param>
/// <param name="IdleTimeoutSeconds">60 to 31536000: while it runs it ends after so long without anybody typing into its console, running a command, moving a file or using a tunnel, and without work of its user data script; null: however idle it is.</param>
public sealed record LeaseRequest(int? TtlSeconds, LeaseEnd? OnExpiry, int? IdleTimeoutSeconds = null);

/// <summary>A lease that runs: when it ends and what happens then. <c>ExpiresAt</c>: null when it ends by idleness only. <c>IdleEndsAt</c>: when it ends unless it is used before; null without
/// <c>IdleTimeoutSeconds</c>, and while the guest does not run.</summary>
public sealed record LeaseView(DateTimeOffset? ExpiresAt, LeaseEnd OnExpiry, int? IdleTimeoutSeconds = null, DateTimeOffset? IdleEndsAt = null);

/// <summary>Whether a node could take a sandbox now. <c>Fits</c>: one could, and <c>Node</c> is the one that would be chosen, or the one that the sandbox is on already; of a sandbox that is Stopped or Failed, as if it were started now; false of one that is Lost, which waits for its node. <c>Refusals</c>: why the
/// others could not, by the first rule that refuses each, the most frequent first. <c>Nodes</c>: each node by itself; null for those who do not run the service, as is <c>Node</c>.
/// <c>Preempts</c>: how many sandboxes of lower priority would be ended for it (<see cref="PlacementRequest"/>); null when it does not ask for that, fits anyway, or nobody's end would do.</summary>
public sealed record PlacementView(bool Fits, string? Node, string Message, IReadOnlyList<PlacementRefusal> Refusals, IReadOnlyList<NodePlacement>? Nodes, int? Preempts = null);

/// <summary>A rule of placement that refuses so many nodes. <c>Message</c>: what it says; <c>Remedy</c>: what would help.</summary>
public sealed record PlacementRefusal(string Reason, int Nodes, string Message, string Remedy);

/// <summary>One node. <c>Reason</c>: the first rule that refuses it; null when it could take the sandbox. <c>Detail</c>: its counts, of the rules that have some.</summary>
public sealed record NodePlacement(Guid Id, string Name, string? Reason, string? Detail = null);

/// <summary>A phase that was entered and when. The last one is the present; a phase lasted until the next began.</summary>
public sealed record PhaseEntry(Phase Phase, DateTimeOffset At);

/// <summary>A sandbox as the API answers it. <c>UserData</c> and keys are never returned, only whether there are any.
/// <c>Incarnation</c> counts starts of the guest. <c>Generation</c> counts changes of what is desired.
/// <c>Placement</c>: null when it was asked for without. <c>PreemptAt</c>: when it is stopped for one of higher priority; null: it has no such notice.
/// <c>LastActivityAt</c>: when somebody last typed into its console, ran a command, moved a file or opened a tunnel, its script worked, or it began to run; to half a minute, null before its first run.
/// <c>Restart</c>: null without a restart policy. <c>ImageId</c>: the registered image that it starts from; null: <c>Image</c> is a folder on its node.
/// <c>Origin</c> is that of its accelerators, and simulated of a simulated machine; null of another that has none. <c>FaultStorm</c>: null when it has no storm policy, and then it has no condition of that name.</summary>
public sealed record SandboxView(
    Guid Id, string Name, string Image, int Vcpus, int MemoryMib, IReadOnlyList<AcceleratorCount> Accelerators, Viommu Viommu,
    LeaseView? Lease, IReadOnlyDictionary<string, string> Labels, bool HasUserData, int SshKeyCount,
    DesiredState Desired, Phase Phase, int Generation, int Incarnation,
    Guid? NodeId, string? NodeName, Acceleration? Acceleration, IReadOnlyList<AssignedDevice> Devices, Origin? Origin,
    IReadOnlyList<Condition> Conditions, IReadOnlyList<PhaseEntry> Phases, Failure? Failure, Verdict? Verdict,
    GuestFacts? Guest, IReadOnlyList<ProbeResult>? Probe,
    DateTimeOffset? ExecAt, DateTimeOffset? GuestReadyAt, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt,
    Vmm Vmm, string? WantedNode, StormPolicy? FaultStorm, int Priority, PlacementRules? Placement, DateTimeOffset? PreemptAt, RestartView? Restart = null, DateTimeOffset? LastActivityAt = null,
    HugePageSize HugePages = HugePageSize.None, Guid? ImageId = null);

/// <summary>Body of <c>PATCH /v1/sandboxes/{id}</c>, a JSON merge patch (RFC 7396): labels that are not named stay, null takes one away. <c>Priority</c>: as in <see cref="SandboxCreate"/>; null: 0.
/// <c>Restart</c>: as there, merged with the present one; null: it is started again no more. It holds from the guest's next end on, and counts starts anew.</summary>
public sealed record SandboxPatch(IReadOnlyDictionary<string, string?>? Labels, int? Priority, RestartRequest? Restart = null);

/// <summary>Answer to a deletion by label. <c>Deleted</c>: how many are on their way out. <c>Next</c> is the cursor for <c>?after=</c>; null when there are no more.</summary>
public sealed record SandboxesDeleted(int Deleted, string? Next);

/// <summary>So many devices of a class; of that vendor and device and at least that verdict, where they are not null.</summary>
public sealed record AcceleratorCount(string Class, int Count, string? VendorId = null, string? DeviceId = null, VerdictClass? MinVerdict = null);

/// <summary>A device that a sandbox has. <c>Address</c>: its name on its node, a PCI address for a physical function.</summary>
public sealed record AssignedDevice(Guid Id, string Class, string Address, Origin Origin);

/// <summary>A host that runs guests. <c>Facts</c>: null until its first report. Used vCPUs and mebibytes are those of sandboxes that are placed on it and have not ended.
/// <c>Drain</c>: null when it is not drained; <c>MaintenanceSince</c>: null when it is not in maintenance; <c>RotationWantedAt</c>: since when its worker shall take another token, null once it has;
/// <c>Refusal</c>: why its worker's reports are not taken, with what helps; null when they are.</summary>
public sealed record NodeView(
    Guid Id, string Name, NodePhase Phase, DateTimeOffset? LastReportAt, string? WorkerVersion, NodeFacts? Facts,
    int VcpusUsed, long MemoryUsedMib, int SandboxCount, int DeviceCount,
    DrainView? Drain = null, DateTimeOffset? MaintenanceSince = null, DateTimeOffset? RotationWantedAt = null, Failure? Refusal = null);

/// <summary>A drain that goes on, or is done. <c>Remaining</c>: sandboxes that may still run there; at <c>Deadline</c> they are stopped. <c>DrainedAt</c>: when none was left, null until then.
/// <c>ThenMaintenance</c>: the node goes into maintenance then.</summary>
public sealed record DrainView(DateTimeOffset StartedAt, DateTimeOffset Deadline, string? Reason, int Remaining, DateTimeOffset? DrainedAt, bool ThenMaintenance);

/// <summary>Body of <c>POST /v1/nodes/{id}/drain</c>.</summary>
/// <param name="DeadlineSeconds">0 to 604800, after which what still runs there is stopped; default 3600.</param>
/// <param name="Reason">For the owners of its sandboxes; at most 500 characters.</param>
public sealed record NodeDrainRequest(int? DeadlineSeconds, string? Reason);

/// <summary>Body of <c>POST /v1/nodes/{id}/maintenance</c>.</summary>
/// <param name="Drain">How the node is emptied first; null: it is empty.</param>
public sealed record NodeMaintenanceRequest(NodeDrainRequest? Drain);
/// <summary>One assignable function of a node. <c>VendorId</c> and <c>DeviceId</c> are hexadecimal. The holder is named only to its own project;
/// <c>Quarantine</c>: why the device is handed out no more. <c>Viommus</c> and <c>FitsKvmtool</c>: which VMM can give it to a guest behind what; one of origin simulated is for vmm simulated only. <c>Verdict</c>: null until the node has judged it.</summary>
public sealed record DeviceView(
    Guid Id, Guid NodeId, string NodeName, string Address, string Class, string VendorId, string DeviceId, string Description,
    Origin Origin, DevicePhase Phase, Guid? SandboxId, string? SandboxName, Failure? Quarantine, Verdict? Verdict,
    IReadOnlyList<Viommu> Viommus, bool FitsKvmtool);

/// <summary>Body of <c>POST /v1/devices/{id}/quarantine</c>. <c>Message</c>: why, for people; at most 500 characters.</summary>
public sealed record DeviceQuarantine(string? Message);

/// <summary>Body of <c>POST /v1/nodes/join-tokens</c>. <c>Name</c>: of the node, 1 to 63 of <c>a-z 0-9 -</c>. <c>TtlSeconds</c>: 60 to 86400, default 3600.
/// <c>Replace</c>: whether a node of that name may be taken over by another machine.</summary>
public sealed record JoinTokenCreate(string? Name, int? TtlSeconds, bool? Replace);

/// <summary>A token by which one machine may join as the node <c>Name</c>; shown once.</summary>
public sealed record JoinTokenView(string Name, string Token, DateTimeOffset ExpiresAt);

/// <summary>Body of <c>POST /v1/nodes/join</c>, sent by a worker with its join token as bearer. <c>Installation</c>: of its state directory.</summary>
public sealed record NodeJoin(Guid? Installation);

/// <summary>The node that a worker has become. <c>Token</c>: its own from now on; shown once.</summary>
public sealed record NodeJoined(Guid NodeId, string Name, string Token);

/// <summary>What a user asks for. Counts are of devices on nodes that have reported.</summary>
public sealed record DeviceClassView(string Name, string Description, Origin Origin, int Total, int Available);

/// <summary>A page of a list. <c>Next</c> is the cursor for <c>?after=</c>; null on the last page.</summary>
public sealed record Page<T>(IReadOnlyList<T> Items, string? Next);

/// <summary>What happened in a project, numbered in it without gaps in the order in which it became visible. What concerns nodes, devices and images in folders of nodes is of the project that operates the service, and so is what concerns shared images.
/// <c>Type</c>: sandbox.created, sandbox.phaseChanged, sandbox.conditionChanged, sandbox.desiredChanged, sandbox.labelsChanged, sandbox.priorityChanged, sandbox.leaseExpiring, sandbox.preempting,
/// sandbox.nodeDraining, sandbox.restartChanged, sandbox.deleted,
/// node.joined, node.phaseChanged, node.machineRefused, node.workerRefused, node.drained, node.credentialsChanged, node.decommissioned, device.phaseChanged, device.quarantineChanged, image.changed, webhook.endpointDisabled.
/// <c>SubjectId</c>: the sandbox, node, device, webhook endpoint or registered image.</summary>
public sealed record EventView(
    long Number, DateTimeOffset At, string Type, Guid? SubjectId, string? SubjectName, string Reason, string Message, Phase? Phase);

/// <summary>A sandbox's faults over time, oldest first, a sample at most for each step: the last of the step. <c>StepSeconds</c>: 1 for every sample that was stored;
/// 60 and more are read from the one-minute rollups, which are kept longer. <c>Next</c> as in <see cref="Page{T}"/>.</summary>
public sealed record FaultHistoryView(IReadOnlyList<FaultSampleView> Items, string? Next, int StepSeconds);

/// <summary>One stored sample of a sandbox. Values are counters since the guest's start (<c>Incarnation</c>).</summary>
public sealed record FaultSampleView(DateTimeOffset At, int Incarnation, IReadOnlyList<FaultReadingView> Readings);

/// <summary>A stored reading (see <see cref="SourceReading"/>), and what was added since the sample before. <c>Increase</c>: events since the sample before in this answer's steps; null where one of the two values is missing, at the first sample of an incarnation,
/// and where a counter went back. Never negative. A lower bound where <c>LowerBound</c> is true.
/// <c>PerSecond</c>: that over the time between the two samples. <c>LatencyIncrease</c>: of the latencies that were added since the sample before; null like <c>Increase</c>, and where no latency is measured.</summary>
public sealed record FaultReadingView(
    string Source, long? Value, string? NullReason, bool LowerBound, Origin Origin, LatencyHistogram? Latency, long? Increase, double? PerSecond, LatencyIncreaseView? LatencyIncrease);

/// <summary>Latencies of one step with their quantiles, each told by the bounds of its bucket; those are null when nothing was counted.</summary>
public sealed record LatencyIncreaseView(LatencyHistogram Histogram, long Count, LatencyQuantile? P50, LatencyQuantile? P90, LatencyQuantile? P99);
