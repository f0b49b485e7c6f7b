// The records of api/Contracts as the API writes them: camelCase JSON, enums by name, times in ISO 8601.

export type Phase =
  | "Pending" | "Scheduled" | "Preparing" | "Booting" | "Running"
  | "Stopping" | "Stopped" | "Failed" | "Lost" | "Deleting";
export const phases: readonly Phase[] = [
  "Pending", "Scheduled", "Preparing", "Booting", "Running", "Stopping", "Stopped", "Failed", "Lost", "Deleting",
];
export type DesiredState = "Running" | "Stopped" | "Deleted";
export type ConditionStatus = "True" | "False" | "Unknown";
export type ConditionType = "Placed" | "DevicesReady" | "VmmRunning" | "GuestReady" | "SvaReady" | "FaultStorm";
export type Origin = "Hardware" | "Emulated" | "Simulated";
export type Viommu = "Smmuv3" | "Virtio" | "None";
export type Vmm = "Qemu" | "Kvmtool" | "Simulated";
export type NodePhase = "Joining" | "Ready" | "Cordoned" | "Draining" | "Unreachable" | "Maintenance";
export type DevicePhase = "Available" | "Assigned" | "Cleaning" | "Quarantined";
export type Acceleration = "Kvm" | "Tcg" | "None";
export type VerdictClass = "GuestSvaDeviceFaults" | "GuestSvaPrefaultOnly" | "HostSvaStall" | "PassthroughOnly" | "NotAssignable" | "Unknown";
export type VerdictLinkName = "Device" | "IommuGroup" | "Smmu" | "Kernel" | "Vmm" | "Guest";
export type LinkStatus = "Pass" | "Fail" | "Unknown";
export type LeaseEnd = "Stop" | "Delete";
export type StormAction = "None" | "Stop" | "Quarantine";
export type ProbeOutcome = "Passed" | "Failed" | "Skipped";

export interface Page<T> { items: T[]; next: string | null }
export interface Condition { type: ConditionType; status: ConditionStatus; reason: string; message: string; since: string }
export interface Failure { reason: string; message: string; remedy: string; at: string }
/** `source`: null for the sum of what devices do wrong or ask for. */
export interface StormPolicy { perSecond: number; windowSeconds: number; action: StormAction; source: string | null }
export interface StormPolicyRequest { perSecond?: number; windowSeconds?: number; action: StormAction; source?: string }
export const stormSources: readonly string[] = [
  "smmu.events", "hostSmmu.events", "virtioIommu.events", "io.pageFaults", "io.pageFaults.invalid", "io.pageFaults.failure", "io.lostPageRequests",
  "smmu.lostEvents", "guest.minorFaults", "guest.majorFaults", "vmm.minorFaults", "vmm.majorFaults",
];
export interface VerdictLink { link: VerdictLinkName; status: LinkStatus; reason: string; message: string; remedy: string | null }
export interface Verdict { class: VerdictClass; reason: string; message: string; origin: Origin; links: VerdictLink[] }
export interface PhaseEntry { phase: Phase; at: string }
export interface AcceleratorCount { class: string; count: number; vendorId?: string | null; deviceId?: string | null; minVerdict?: VerdictClass | null }
export type PlacementStrategy = "Spread" | "Pack";
export type NumaLocality = "Any" | "Preferred" | "Required";
export interface PlacementRules {
  strategy: PlacementStrategy; with: Record<string, string> | null; apartFrom: Record<string, string> | null; numa: NumaLocality; preempts: boolean;
}
export interface AssignedDevice { id: string; class: string; address: string; origin: Origin }
export interface GuestFacts { agentVersion: string; kernel: string; bootId: string; cpus: number | null; memoryKib: number | null }

export interface ProbeResult {
  pciAddress: string; vendorId: string; deviceId: string; outcome: ProbeOutcome; reason: string; message: string;
  iovaEqualsVa: string | null; deviceReadMatched: boolean | null; deviceWroteMatched: boolean | null;
  unmappedAccess: string | null; pasid: boolean | null; ats: boolean | null; pri: boolean | null;
  iommuDriver: string | null; elapsedMicroseconds: number;
}

export type HugePageSize = "None" | "Size2Mi" | "Size1Gi";
export type RestartWhen = "Never" | "OnFailure" | "Always";

export interface SandboxView {
  id: string; name: string; image: string; vcpus: number; memoryMib: number; accelerators: AcceleratorCount[]; viommu: Viommu;
  lease: { expiresAt: string | null; onExpiry: LeaseEnd; idleTimeoutSeconds: number | null; idleEndsAt: string | null } | null; labels: Record<string, string>; hasUserData: boolean; sshKeyCount: number;
  desired: DesiredState; phase: Phase; generation: number; incarnation: number;
  nodeId: string | null; nodeName: string | null; acceleration: Acceleration | null; devices: AssignedDevice[]; origin: Origin | null;
  conditions: Condition[]; phases: PhaseEntry[]; failure: Failure | null; verdict: Verdict | null;
  guest: GuestFacts | null; probe: ProbeResult[] | null;
  execAt: string | null; guestReadyAt: string | null; createdAt: string; updatedAt: string;
  vmm: Vmm; hugePages: HugePageSize; wantedNode: string | null; faultStorm: StormPolicy | null;
  priority: number; placement: PlacementRules | null; preemptAt: string | null;
  restart: { policy: RestartWhen; maxRestarts: number | null; backoffSeconds: number; restarts: number; at: string | null } | null; lastActivityAt: string | null;
}

export interface SandboxCreate {
  name: string; image: string; vcpus?: number; memoryMib?: number; accelerators?: AcceleratorCount[]; viommu?: Viommu;
  lease?: { ttlSeconds: number; onExpiry: LeaseEnd }; labels?: Record<string, string>; userData?: string; sshKeys?: string[];
  vmm?: Vmm; node?: string; faultStorm?: StormPolicyRequest; priority?: number; placement?: Partial<PlacementRules>; hugePages?: HugePageSize;
  restart?: { policy: RestartWhen; maxRestarts?: number; backoffSeconds?: number };
}

export interface NodeFacts {
  architecture: string; kernel: string; operatingSystem: string; cpuModel: string; hostCpus: number; hostMemoryMib: number;
  vcpuCapacity: number; memoryCapacityMib: number; acceleration: Acceleration; accelerationReason: string; vmmVersion: string | null;
  viommus: Viommu[]; ownUidPerVm: boolean; cgroupPerVm: boolean; cgroupLimitsReason: string | null; bootId: string; problems: Failure[];
  kvmtoolVersion: string | null; origin?: Origin | null; hugePages?: HugePagePool[] | null;
}
/** Total and free are null, with the reason, where they could not be read. */
export interface HugePagePool { numaNode: number | null; sizeKib: number; total: number | null; free: number | null; nullReason: string | null }

export interface NodeView {
  id: string; name: string; phase: NodePhase; lastReportAt: string | null; workerVersion: string | null; facts: NodeFacts | null;
  vcpusUsed: number; memoryUsedMib: number; sandboxCount: number; deviceCount: number;
  drain: { startedAt: string; deadline: string; reason: string | null; remaining: number; drainedAt: string | null; thenMaintenance: boolean } | null; maintenanceSince: string | null;
  rotationWantedAt: string | null; refusal: Failure | null;
}

/** Null: could not be read. */
export type Capability = boolean | null;
export interface HugePageFacts { sizeKib: number; total: number; free: number }
export interface FunctionFacts {
  address: string; vendorId: string; deviceId: string; classCode: string; driver: string | null; iommuGroup: number | null; iommu: string | null;
  numaNode: number | null; physicalFunction: string | null; resetMethods: string[] | null; verdict: Verdict;
  capabilities: { ats: Capability; pri: Capability; pasid: Capability; pasidBits: number | null; acs: Capability; sriov: Capability; aer: Capability; flr: Capability };
}
export interface NodeInventory {
  readAt: string;
  cpus: { name: string | null; implementer: number; part: number; count: number }[];
  numa: { number: number; cpus: string | null; memoryMib: number | null; hugePages: HugePageFacts[] }[];
  smmus: { name: string; isSmmuV3: boolean; clients: number; features: string[] | null; outputBits: number | null }[];
  uacce: { name: string; algorithms: string | null; sharesAddresses: Capability; availableInstances: number | null; parentFunction: string | null }[];
  functions: FunctionFacts[];
}
export interface NodeReadinessView { nodeId: string; nodeName: string; phase: NodePhase; canRunSandboxes: boolean; problems: Failure[]; inventory: NodeInventory | null }

export interface DeviceView {
  id: string; nodeId: string; nodeName: string; address: string; class: string; vendorId: string; deviceId: string; description: string;
  origin: Origin; phase: DevicePhase; sandboxId: string | null; sandboxName: string | null; quarantine: Failure | null; verdict: Verdict | null;
  viommus: Viommu[]; fitsKvmtool: boolean;
}

export interface DeviceClassView { name: string; description: string; origin: Origin; total: number; available: number }
export type ImageSource = "Project" | "Shared" | "Node";
export type ImagePhase = "Waiting" | "Downloading" | "Ready" | "Failed";
export interface ImageView { name: string; digest: string; architecture: string; kernel: string; hasAgent: boolean; sizeBytes: number; nodes: string[] | null; source: ImageSource; id: string | null; phase: ImagePhase | null }

export interface EventView {
  number: number; at: string; type: string; subjectId: string | null; subjectName: string | null;
  reason: string; message: string; phase: Phase | null;
}

export type DeliveryState = "Waiting" | "Pending" | "Succeeded" | "Failed";
export interface WebhookView {
  id: string; url: string; description: string | null; types: string[]; labels: Record<string, string>; enabled: boolean; disabled: Failure | null;
  failingSince: string | null; pausedUntil: string | null; previousSecretUntil: string | null; createdAt: string; updatedAt: string;
}
export interface WebhookCreate { url: string; description?: string; types?: string[]; labels?: Record<string, string> }
export interface WebhookCreated { webhook: WebhookView; secret: string }
export interface WebhookSecretView { secret: string; previousSecretUntil: string | null }
export interface WebhookDeliveryView {
  number: number; webhookId: string; eventNumber: number | null; type: string; subjectId: string | null; createdAt: string; state: DeliveryState; attempts: number; dueAt: string | null;
  lastAttemptAt: string | null; lastStatus: number | null; lastFailure: Failure | null; responseExcerpt: string | null; tookMilliseconds: number | null;
}

export interface SourceReading { source: string; value: number | null; nullReason: string | null; lowerBound: boolean; origin: Origin; latency?: LatencyHistogram | null;
  /** Of stored samples: what was added since the sample before. */
  latencyIncrease?: { histogram: LatencyHistogram } | null }
/** 22 counts by powers of two: up to 1 µs, up to 2 µs … up to 2^20 µs, and above. */
export interface LatencyHistogram { counts: number[]; sumNanoseconds: number }
export interface FaultSample { at: string; incarnation: number; readings: SourceReading[] }
export interface ConsoleFrame { offset: number; data: string | null; viewers: number; writer: string | null; youWrite: boolean }
export interface ConsoleWriter { acquired: boolean; writer: string | null }
export type Role = "Viewer" | "Operator" | "Admin";
export interface SessionView { keyName: string; project: string; role: Role; operates: boolean }

export const maxConsoleWriteBytes = 4096;
