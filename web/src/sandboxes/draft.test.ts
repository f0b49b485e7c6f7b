import { describe, expect, it } from "vitest";
import { acceleratorOf, bodyOf, emptyDraft, messagesFor, takesHugePages, takesViommu, withVmm } from "./draft";

describe("the body of a create", () => {
  it("leaves out what was left empty", () => {
    const { body, errors } = bodyOf({ ...emptyDraft, name: " demo ", image: "guest", vcpus: "", memoryMib: "" });
    expect(errors).toEqual({});
    expect(body).toEqual({ name: "demo", image: "guest", viommu: "Smmuv3" });
  });

  it("carries every field", () => {
    const { body } = bodyOf({
      name: "demo", image: "guest", vcpus: "2", memoryMib: "1024", accelerators: [{ class: "edu", count: "2", vendorId: " 1234 ", deviceId: "11e8", minVerdict: "PassthroughOnly" }], viommu: "None", vmm: "Kvmtool", node: " altra-1 ",
      leaseAmount: "2", leaseUnit: "3600", onExpiry: "Stop", stormPerSecond: "0.5", stormWindow: "60", stormAction: "Stop", stormSource: "io.pageFaults", labels: "team=ml\nexpr=a=b\n", userData: "#!/bin/sh\ntrue\n", sshKeys: "ssh-ed25519 AAAA me\n\n",
      priority: "-5", hugePages: "Size1Gi", strategy: "Pack", restart: "OnFailure", maxRestarts: "3", backoff: "20",
    });
    expect(body).toEqual({
      name: "demo", image: "guest", vcpus: 2, memoryMib: 1024, accelerators: [{ class: "edu", count: 2, vendorId: "1234", deviceId: "11e8", minVerdict: "PassthroughOnly" }], viommu: "None", vmm: "Kvmtool", node: "altra-1",
      lease: { ttlSeconds: 7200, onExpiry: "Stop" }, faultStorm: { perSecond: 0.5, windowSeconds: 60, action: "Stop", source: "io.pageFaults" }, labels: { team: "ml", expr: "a=b" }, userData: "#!/bin/sh\ntrue\n", sshKeys: ["ssh-ed25519 AAAA me"],
      priority: -5, hugePages: "Size1Gi", placement: { strategy: "Pack" }, restart: { policy: "OnFailure", maxRestarts: 3, backoffSeconds: 20 },
    });
  });

  it("asks for a storm policy once anything of it is said, and lets the API say what is missing", () => {
    expect(bodyOf({ ...emptyDraft, stormPerSecond: "100" }).body.faultStorm).toEqual({ perSecond: 100, action: "None" });
    expect(bodyOf({ ...emptyDraft, stormAction: "Stop" }).body.faultStorm).toEqual({ action: "Stop" });
    expect(bodyOf({ ...emptyDraft, stormPerSecond: "many" }).errors).toEqual({ "faultStorm.perSecond": ["Must be a number."] });
  });

  it("says at its field what cannot be sent", () => {
    const { errors } = bodyOf({ ...emptyDraft, vcpus: "two", labels: "novalue", accelerators: [{ ...acceleratorOf("edu"), count: "1.5" }], priority: "high", backoff: "soon" });
    expect(Object.keys(errors).sort()).toEqual(["accelerators[0].count", "labels", "priority", "restart.backoffSeconds", "vcpus"]);
  });
});

describe("choosing the VMM", () => {
  it("knows which IOMMU each VMM takes", () => {
    expect((["Smmuv3", "Virtio", "None"] as const).map((one) => [takesViommu("Qemu", one), takesViommu("Kvmtool", one), takesViommu("Simulated", one)]))
      .toEqual([[true, false, true], [true, false, true], [true, true, false]]);
    expect(withVmm(withVmm(emptyDraft, "Kvmtool"), "Simulated").viommu).toBe("Smmuv3");
  });

  it("takes the IOMMU away with kvmtool and brings it back with QEMU", () => {
    const kvmtool = withVmm(emptyDraft, "Kvmtool");
    expect([kvmtool.vmm, kvmtool.viommu]).toEqual(["Kvmtool", "None"]);
    expect([withVmm(kvmtool, "Qemu").vmm, withVmm(kvmtool, "Qemu").viommu]).toEqual(["Qemu", "Smmuv3"]);
  });

  it("takes huge pages away from what gives a guest none", () => {
    const asks = { ...emptyDraft, hugePages: "Size2Mi" as const };
    expect((["Qemu", "Kvmtool", "Simulated"] as const).map((one) => [takesHugePages(one), withVmm({ ...asks, vmm: one === "Qemu" ? "Kvmtool" : "Qemu" }, one).hugePages]))
      .toEqual([[true, "Size2Mi"], [false, "None"], [false, "None"]]);
  });

  it("leaves a chosen IOMMU alone when it stays the same", () => {
    expect(withVmm({ ...emptyDraft, viommu: "Virtio" }, "Qemu").viommu).toBe("Virtio");
  });
});

describe("messages for a field", () => {
  const errors = { "accelerators[0].count": ["At most 8."], "labels.team": ["Too long."], "$.memoryMib": ["Not a number."], name: ["Taken."] };
  it.each([["accelerators", ["At most 8."]], ["labels", ["Too long."]], ["memoryMib", ["Not a number."]], ["name", ["Taken."]], ["lease", []], ["label", []]])(
    "%s", (field, expected) => expect(messagesFor(errors, field)).toEqual(expected));
});
