import { describe, expect, it } from "vitest";
import type { Acceleration, ConditionStatus, SandboxView, Vmm } from "../contracts";
import { goodStatusOf, placementWords, runByOf, runsGuest, stormPolicyWords, stormWords } from "./words";

const since = "2026-01-01T00:00:00Z";
const sandbox = (status: ConditionStatus | null, reason: string | null): Pick<SandboxView, "conditions" | "failure"> => ({
  conditions: [
    { type: "VmmRunning", status: "True", reason: "VmmConfirmed", message: "", since },
    ...(status ? [{ type: "FaultStorm" as const, status, reason: "R", message: "It was 500 a second.", since }] : []),
  ],
  failure: reason ? { reason, message: "Stopped.", remedy: "", at: since } : null,
});

describe("what is said of placement", () => {
  it("names the rules that there are", () => {
    expect(placementWords({ strategy: "Spread", with: null, apartFrom: null, numa: "Any", preempts: false })).toBe("spread");
    expect(placementWords({ strategy: "Pack", with: { app: "db" }, apartFrom: { app: "web", tier: "1" }, numa: "Required", preempts: true }))
      .toBe("packed; with app=db; apart from app=web, tier=1; devices on one NUMA node (required); may end others of lower priority");
  });
});

describe("what is said of a storm", () => {
  it.each([
    [null, null, undefined], ["False", null, undefined], ["Unknown", null, undefined], ["True", null, "Fault storm"], ["True", "FaultStorm", "Fault storm"],
    ["False", "FaultStorm", "Stopped by a storm"], ["False", "GuestPanicked", undefined],
  ] as const)("%s, %s", (status, reason, words) => expect(stormWords(sandbox(status, reason))?.words).toBe(words));

  it.each([
    ["FaultStorm", "NoStorm", "False"], ["FaultStorm", "EndedInStorm", "True"], ["GuestReady", "GuestTold", "True"],
  ] as const)("%s by %s is good news when it is %s", (type, reason, status) => expect(goodStatusOf({ type, reason })).toBe(status));

  it("names a policy in one line", () => {
    expect(stormPolicyWords({ perSecond: 100, windowSeconds: 30, action: "Stop", source: null })).toBe("from 100 a second over 30 s: stopped");
    expect(stormPolicyWords({ perSecond: 0.5, windowSeconds: 60, action: "None", source: "io.pageFaults" })).toBe("from 0.5 a second over 60 s of io.pageFaults: only told");
  });
});

describe("what runs the guest", () => {
  it.each<[Vmm, Acceleration | null, boolean, "Kvm" | "Tcg" | null]>([
    ["Qemu", "Kvm", true, "Kvm"], ["Qemu", "Tcg", true, "Tcg"], ["Qemu", null, true, null], ["Kvmtool", "Kvm", true, "Kvm"],
    ["Simulated", "Tcg", false, null], ["Simulated", "Kvm", false, null], ["Simulated", "None", false, null], ["Simulated", null, false, null],
  ])("of a %s machine on a node with %s", (vmm, acceleration, guest, by) => {
    expect([runsGuest({ vmm }), runByOf({ vmm, acceleration })]).toEqual([guest, by]);
  });
});
