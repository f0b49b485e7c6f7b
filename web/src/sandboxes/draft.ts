import type { LeaseEnd, SandboxCreate, StormAction, Viommu, Vmm } from "../contracts";

/** The create form as it is typed: all text, so that nothing is lost while a number is half written. */
export interface Draft {
  name: string;
  image: string;
  vcpus: string;
  memoryMib: string;
  accelerators: { class: string; count: string }[];
  viommu: Viommu;
  vmm: Vmm;
  /** Empty: any. */
  node: string;
  leaseAmount: string;
  leaseUnit: "60" | "3600" | "86400";
  onExpiry: LeaseEnd;
  /** Empty: no storm policy. */
  stormPerSecond: string;
  stormWindow: string;
  stormAction: StormAction;
  /** Empty: what devices do. */
  stormSource: string;
  labels: string;
  userData: string;
  sshKeys: string;
}

export const emptyDraft: Draft = {
  name: "", image: "", vcpus: "1", memoryMib: "512", accelerators: [], viommu: "Smmuv3", vmm: "Qemu", node: "",
  leaseAmount: "", leaseUnit: "3600", onExpiry: "Delete", stormPerSecond: "", stormWindow: "", stormAction: "None", stormSource: "", labels: "", userData: "", sshKeys: "",
};

/** What a VMM can give a guest: kvmtool no IOMMU, and the simulated machine nothing without one. */
export function takesViommu(vmm: Vmm, viommu: Viommu): boolean {
  return vmm === "Kvmtool" ? viommu === "None" : vmm !== "Simulated" || viommu !== "None";
}

/** Chooses the VMM. One that gives a guest no IOMMU takes the IOMMU with it, and the others bring the default back. */
export function withVmm(draft: Draft, vmm: Vmm): Draft {
  if (vmm === draft.vmm) return draft;
  return { ...draft, vmm, viommu: vmm === "Kvmtool" ? "None" : emptyDraft.viommu };
}

const lines = (text: string) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** What is sent. Only whatever cannot be written as JSON is judged here; the API judges the rest and answers by field. */
export function bodyOf(draft: Draft): { body: SandboxCreate; errors: Record<string, string[]> } {
  const errors: Record<string, string[]> = {};
  const whole = (field: string, text: string): number | undefined => {
    if (text.trim() === "") return undefined;
    const value = Number(text);
    if (Number.isSafeInteger(value)) return value;
    errors[field] = ["Must be a whole number."];
    return undefined;
  };
  const number = (field: string, text: string): number | undefined => {
    if (text.trim() === "") return undefined;
    if (Number.isFinite(Number(text))) return Number(text);
    errors[field] = ["Must be a number."];
    return undefined;
  };
  const labels: Record<string, string> = {};
  for (const line of lines(draft.labels)) {
    const at = line.indexOf("=");
    if (at < 1) errors.labels = ["Write each label as key=value on its own line."];
    else labels[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  const vcpus = whole("vcpus", draft.vcpus);
  const memoryMib = whole("memoryMib", draft.memoryMib);
  const lease = whole("lease.ttlSeconds", draft.leaseAmount);
  const perSecond = number("faultStorm.perSecond", draft.stormPerSecond);
  const windowSeconds = whole("faultStorm.windowSeconds", draft.stormWindow);
  const hasStormPolicy = [draft.stormPerSecond, draft.stormWindow, draft.stormSource].some((text) => text.trim() !== "") || draft.stormAction !== "None";
  const sshKeys = lines(draft.sshKeys);
  const accelerators = draft.accelerators.map((one, index) => ({ class: one.class, count: whole(`accelerators[${index}].count`, one.count) ?? 1 }));
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
    ...(hasStormPolicy ? {
      faultStorm: {
        ...(perSecond === undefined ? {} : { perSecond }), ...(windowSeconds === undefined ? {} : { windowSeconds }),
        action: draft.stormAction, ...(draft.stormSource === "" ? {} : { source: draft.stormSource }),
      },
    } : {}),
    ...(Object.keys(labels).length > 0 ? { labels } : {}),
    ...(draft.userData === "" ? {} : { userData: draft.userData }),
    ...(sshKeys.length > 0 ? { sshKeys } : {}),
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
