import type { SandboxView, VerdictClass, VerdictLinkName, Viommu, Vmm } from "../contracts";

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

export function acceleratorWords(sandbox: Pick<SandboxView, "accelerators">): string {
  return sandbox.accelerators.map((one) => (one.count === 1 ? one.class : `${one.count} × ${one.class}`)).join(", ");
}
