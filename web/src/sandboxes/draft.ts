import type { HugePageSize, LeaseEnd, PlacementRules, RestartWhen, SandboxCreate, StormAction, StormPolicy, StormPolicyRequest, VerdictClass, Viommu, Vmm } from "../contracts";

/** A storm policy as it is typed. */
export interface StormDraft {
  /** Empty: no storm policy. */
  stormPerSecond: string;
  stormWindow: string;
  stormAction: StormAction;
  /** Empty: what devices do. */
  stormSource: string;
}

/** The create form as it is typed: all text, so that nothing is lost while a number is half written. */
export interface Draft extends StormDraft {
  name: string;
  image: string;
  vcpus: string;
  memoryMib: string;
  /** Empty vendor, device and verdict: any. */
  accelerators: { class: string; count: string; vendorId: string; deviceId: string; minVerdict: VerdictClass | "" }[];
  viommu: Viommu;
  vmm: Vmm;
  /** Empty: any. */
  node: string;
  leaseAmount: string;
  leaseUnit: "60" | "3600" | "86400";
  onExpiry: LeaseEnd;
  labels: string;
  userData: string;
  sshKeys: string;
  /** Empty: 0. */
  priority: string;
  hugePages: HugePageSize;
  strategy: PlacementRules["strategy"];
  restart: RestartWhen;
  /** Empty: without end. */
  maxRestarts: string;
  backoff: string;
}

const noStorm: StormDraft = { stormPerSecond: "", stormWindow: "", stormAction: "None", stormSource: "" };

export const emptyDraft: Draft = {
  name: "", image: "", vcpus: "1", memoryMib: "512", accelerators: [], viommu: "Smmuv3", vmm: "Qemu", node: "",
  leaseAmount: "", leaseUnit: "3600", onExpiry: "Delete", ...noStorm, labels: "", userData: "", sshKeys: "",
  priority: "", hugePages: "None", strategy: "Spread", restart: "Never", maxRestarts: "", backoff: "",
};

export const acceleratorOf = (name: string): Draft["accelerators"][number] => ({ class: name, count: "1", vendorId: "", deviceId: "", minVerdict: "" });

/** The memory of a simulated machine is a model, and kvmtool would need a file system that every guest may fill. */
export const takesHugePages = (vmm: Vmm): boolean => vmm === "Qemu";

/** What a VMM can give a guest: kvmtool no IOMMU, and the simulated machine nothing without one. */
export function takesViommu(vmm: Vmm, viommu: Viommu): boolean {
  return vmm === "Kvmtool" ? viommu === "None" : vmm !== "Simulated" || viommu !== "None";
}

/** Chooses the VMM. One that gives a guest no IOMMU takes the IOMMU with it, and the others bring the default back. */
export function withVmm(draft: Draft, vmm: Vmm): Draft {
  if (vmm === draft.vmm) return draft;
  return { ...draft, vmm, viommu: vmm === "Kvmtool" ? "None" : emptyDraft.viommu, hugePages: takesHugePages(vmm) ? draft.hugePages : "None" };
}

export function stormDraftOf(policy: StormPolicy | null): StormDraft {
  return policy === null ? noStorm : {
    stormPerSecond: String(policy.perSecond), stormWindow: String(policy.windowSeconds), stormAction: policy.action, stormSource: policy.source ?? "",
  };
}

type Errors = Record<string, string[]>;

function whole(errors: Errors, field: string, text: string): number | undefined {
  if (text.trim() === "") return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  errors[field] = ["Must be a whole number."];
  return undefined;
}

/** Null: no policy is wished. */
export function stormPolicyOf(draft: StormDraft): { policy: StormPolicyRequest | null; errors: Errors } {
  const errors: Errors = {};
  const rate = draft.stormPerSecond.trim();
  if (rate !== "" && !Number.isFinite(Number(rate))) errors["faultStorm.perSecond"] = ["Must be a number."];
  const windowSeconds = whole(errors, "faultStorm.windowSeconds", draft.stormWindow);
  const isWished = [draft.stormPerSecond, draft.stormWindow, draft.stormSource].some((text) => text.trim() !== "") || draft.stormAction !== "None";
  const policy = isWished ? {
    ...(rate === "" ? {} : { perSecond: Number(rate) }), ...(windowSeconds === undefined ? {} : { windowSeconds }),
    action: draft.stormAction, ...(draft.stormSource === "" ? {} : { source: draft.stormSource }),
  } : null;
  return { policy, errors };
}

const lines = (text: string) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** What is sent. Only whatever cannot be written as JSON is judged here; the API judges the rest and answers by field. */
export function bodyOf(draft: Draft): { body: SandboxCreate; errors: Errors } {
  const storm = stormPolicyOf(draft);
  const errors: Errors = { ...storm.errors };
  const labels: Record<string, string> = {};
  for (const line of lines(draft.labels)) {
    const at = line.indexOf("=");
    if (at < 1) errors.labels = ["Write each label as key=value on its own line."];
    else labels[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  const vcpus = whole(errors, "vcpus", draft.vcpus);
  const memoryMib = whole(errors, "memoryMib", draft.memoryMib);
  const lease = whole(errors, "lease.ttlSeconds", draft.leaseAmount);
  const sshKeys = lines(draft.sshKeys);
  const accelerators = draft.accelerators.map((one, index) => ({
    class: one.class, count: whole(errors, `accelerators[${index}].count`, one.count) ?? 1,
    ...(one.vendorId.trim() === "" ? {} : { vendorId: one.vendorId.trim() }), ...(one.deviceId.trim() === "" ? {} : { deviceId: one.deviceId.trim() }),
    ...(one.minVerdict === "" ? {} : { minVerdict: one.minVerdict }),
  }));
  const priority = whole(errors, "priority", draft.priority);
  const maxRestarts = whole(errors, "restart.maxRestarts", draft.maxRestarts);
  const backoffSeconds = whole(errors, "restart.backoffSeconds", draft.backoff);
  const body: SandboxCreate = {
    name: draft.name.trim(),
    image: draft.image,
    viommu: draft.viommu,
    ...(draft.vmm === "Qemu" ? {} : { vmm: draft.vmm }),
    ...(draft.node.trim() === "" ? {} : { node: draft.node.trim() }),
    ...(vcpus === undefined ? {} : { vcpus }),
    ...(memoryMib === undefined ? {} : { memoryMib }),
    ...(accelerators.length > 0 ? { accelerators } : {}),
    ...(lease === undefined ? {} : { lease: { ttlSeconds: lease * Number(draft.leaseUnit), onExpiry: draft.onExpiry } }),
    ...(storm.policy === null ? {} : { faultStorm: storm.policy }),
    ...(Object.keys(labels).length > 0 ? { labels } : {}),
    ...(draft.userData === "" ? {} : { userData: draft.userData }),
    ...(sshKeys.length > 0 ? { sshKeys } : {}),
    ...(priority === undefined ? {} : { priority }),
    ...(draft.hugePages === "None" ? {} : { hugePages: draft.hugePages }),
    ...(draft.strategy === "Spread" ? {} : { placement: { strategy: draft.strategy } }),
    ...(draft.restart === "Never" ? {} : { restart: { policy: draft.restart, ...(maxRestarts === undefined ? {} : { maxRestarts }), ...(backoffSeconds === undefined ? {} : { backoffSeconds }) } }),
  };
  return { body, errors };
}

const plain = (field: string) => field.replace(/^\$\.?/, "").replace(/\[(\d+)\]/g, ".$1").toLowerCase();

/** Messages for one field of the form, those of its parts included (<c>labels.team</c> belongs to <c>labels</c>). */
export function messagesFor(errors: Readonly<Record<string, readonly string[]>>, field: string): string[] {
  const wanted = plain(field);
  return Object.entries(errors)
    .filter(([name]) => plain(name) === wanted || plain(name).startsWith(`${wanted}.`))
    .flatMap(([, messages]) => messages);
}
