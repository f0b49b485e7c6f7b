import type { Condition, ConditionStatus, HugePageSize, PlacementRules, RestartWhen, SandboxView, StormAction, StormPolicy, VerdictClass, VerdictLinkName, Viommu, Vmm } from "../contracts";

export const verdictWords: Record<VerdictClass, string> = {
  GuestSvaDeviceFaults: "Guest SVA, device faults",
  GuestSvaPrefaultOnly: "Guest SVA, prefault only",
  HostSvaStall: "Host SVA by stall",
  PassthroughOnly: "Passthrough only",
  NotAssignable: "Not assignable",
  Unknown: "Unknown",
};

export const linkWords: Record<VerdictLinkName, string> = {
  Device: "Device", IommuGroup: "IOMMU group", Smmu: "SMMU", Kernel: "Kernel", Vmm: "VMM", Guest: "Guest",
};

export const viommuWords: Record<Viommu, string> = { Smmuv3: "SMMUv3", Virtio: "virtio-iommu", None: "none" };

export const vmmWords: Record<Vmm, string> = { Qemu: "QEMU", Kvmtool: "kvmtool", Simulated: "simulated machine" };

export const hugePageWords: Record<HugePageSize, string> = { None: "none", Size2Mi: "2 MiB", Size1Gi: "1 GiB" };

export const restartWords: Record<RestartWhen, string> = { Never: "never", OnFailure: "on failure", Always: "always" };

export const strategyWords: Record<PlacementRules["strategy"], string> = { Spread: "the freest (spread)", Pack: "the fullest (pack)" };

/** A simulated machine runs no guest: it has neither an accelerator of guests nor a serial console. */
export const runsGuest = ({ vmm }: Pick<SandboxView, "vmm">): boolean => vmm !== "Simulated";

/** By what the guest is run; null while no node has it, and where no guest runs. */
export function runByOf(sandbox: Pick<SandboxView, "vmm" | "acceleration">): "Kvm" | "Tcg" | null {
  return !runsGuest(sandbox) || sandbox.acceleration === null || sandbox.acceleration === "None" ? null : sandbox.acceleration;
}

export const stormActionWords: Record<StormAction, string> = { None: "only told", Stop: "stopped", Quarantine: "stopped, its devices quarantined" };

export function stormPolicyWords(policy: StormPolicy): string {
  return `from ${policy.perSecond} a second over ${policy.windowSeconds} s${policy.source ? ` of ${policy.source}` : ""}: ${stormActionWords[policy.action]}`;
}

/** What a list says of a sandbox's storm: that it is in one, or that one has stopped it; null for neither. */
export function stormWords({ conditions, failure }: Pick<SandboxView, "conditions" | "failure">): { words: string; message: string } | null {
  const storm = conditions.find((one) => one.type === "FaultStorm" && one.status === "True");
  if (storm) return { words: "Fault storm", message: storm.message };
  return failure?.reason === "FaultStorm" ? { words: "Stopped by a storm", message: failure.message } : null;
}

/** The status of a condition that is good news. That no storm lasts is none when the run has ended in one. */
export function goodStatusOf({ type, reason }: Pick<Condition, "type" | "reason">): ConditionStatus {
  return type === "FaultStorm" && reason !== "EndedInStorm" ? "False" : "True";
}

export function acceleratorWords(sandbox: Pick<SandboxView, "accelerators">): string {
  return sandbox.accelerators.map((one) => (one.count === 1 ? one.class : `${one.count} × ${one.class}`)).join(", ");
}

const labelsWords = (labels: Record<string, string>): string => Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(", ");

export function placementWords(rules: PlacementRules): string {
  return [
    rules.strategy === "Pack" ? "packed" : "spread",
    rules.with && `with ${labelsWords(rules.with)}`,
    rules.apartFrom && `apart from ${labelsWords(rules.apartFrom)}`,
    rules.numa !== "Any" && `devices on one NUMA node (${rules.numa.toLowerCase()})`,
    rules.preempts && "may end others of lower priority",
  ].filter(Boolean).join("; ");
}
