import { describe, expect, it } from "vitest";
import { Coalescer, staleAfter } from "./invalidation";
import { backoffMilliseconds } from "./connection";

const names = (type: string, subjectId: string | null = "s1") => staleAfter({ type, subjectId }).map((key) => key.join("/"));

describe("what an event makes stale", () => {
  it.each([
    ["sandbox.created", ["sandboxes", "sandbox/s1", "nodes", "devices", "device-classes"]],
    ["sandbox.phaseChanged", ["sandboxes", "sandbox/s1", "nodes", "devices", "device-classes"]],
    ["sandbox.deleted", ["sandboxes", "sandbox/s1", "nodes", "devices", "device-classes"]],
    ["sandbox.conditionChanged", ["sandboxes", "sandbox/s1"]],
    ["sandbox.desiredChanged", ["sandboxes", "sandbox/s1"]],
    ["device.phaseChanged", ["devices", "device-classes", "nodes"]],
    ["device.quarantineChanged", ["devices", "device-classes", "nodes"]],
    ["node.machineRefused", []],
    ["node.joined", ["nodes", "node", "devices", "device-classes", "images", "sandboxes", "sandbox"]],
    ["node.phaseChanged", ["nodes", "node", "devices", "device-classes", "images", "sandboxes", "sandbox"]],
    ["node.decommissioned", ["nodes", "node", "devices", "device-classes", "images", "sandboxes", "sandbox"]],
    ["node.drained", ["nodes", "node"]],
    ["node.workerRefused", ["nodes", "node"]],
    ["node.credentialsChanged", ["nodes", "node"]],
    ["sandbox.restartChanged", ["sandboxes", "sandbox/s1"]],
    ["sandbox.nodeDraining", []],
    ["image.changed", ["images"]],
    ["webhook.endpointDisabled", ["webhooks"]],
  ])("%s", (type, expected) => expect(names(type)).toEqual(expected));

  it("is everything when the type is new to this page", () => {
    expect(names("lease.extended").sort()).toEqual(["device-classes", "devices", "images", "node", "nodes", "sandbox", "sandboxes", "webhooks"]);
  });

  it("is every sandbox when the event names none", () => {
    expect(names("sandbox.phaseChanged", null)).toContain("sandbox");
  });
});

/** A refetch that ends when the test says so, and a clock that the test turns. */
function bench() {
  const asked: string[] = [];
  const ends: (() => void)[] = [];
  const timers: (() => void)[] = [];
  const coalescer = new Coalescer(
    (key) => {
      asked.push(key.join("/"));
      return new Promise<void>((resolve) => ends.push(resolve));
    },
    100,
    (run) => void timers.push(run),
  );
  const settle = async () => {
    for (const end of ends.splice(0)) end();
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  };
  return { asked, timers, coalescer, settle, tick: () => timers.splice(0).forEach((run) => run()) };
}

describe("gathering", () => {
  it("asks once for what many events made stale", () => {
    const { asked, coalescer, tick } = bench();
    for (let i = 0; i < 50; i++) coalescer.add([["sandboxes"], ["nodes"]]);
    expect(asked).toEqual([]);
    tick();
    expect(asked).toEqual(["sandboxes", "nodes"]);
  });

  it("asks again afterwards for a change that came while it was asking, not before", async () => {
    const { asked, coalescer, tick, settle, timers } = bench();
    coalescer.add([["sandboxes"]]);
    tick();
    coalescer.add([["sandboxes"]]);
    expect(timers).toEqual([]);
    expect(asked).toEqual(["sandboxes"]);
    await settle();
    tick();
    expect(asked).toEqual(["sandboxes", "sandboxes"]);
    await settle();
    expect(timers).toEqual([]);
  });
});

describe("reconnecting", () => {
  it("waits longer each time and never more than two seconds", () => {
    expect([0, 1, 2, 3, 4, 1000].map(backoffMilliseconds)).toEqual([200, 400, 800, 1600, 2000, 2000]);
  });
});
