import { expect, it } from "vitest";
import type { NodePhase } from "../contracts";
import { decommissionOf, rotationWords, sandboxWords } from "./credentials";

it.each<[NodePhase, number, string]>([
  ["Ready", 0, "free"], ["Unreachable", 0, "free"], ["Ready", 2, "first-empty"], ["Draining", 1, "first-empty"], ["Unreachable", 2, "force"], ["Maintenance", 1, "force"],
])("of a node that is %s with %d sandboxes: %s", (phase, sandboxCount, expected) => expect(decommissionOf({ phase, sandboxCount })).toBe(expected));

it("counts in words", () => expect([sandboxWords(0), sandboxWords(1), sandboxWords(2)]).toEqual(["0 sandboxes", "1 sandbox", "2 sandboxes"]));

it("tells a rotation only while it is wished", () => {
  expect(rotationWords({ rotationWantedAt: null })).toBeNull();
  expect(rotationWords({ rotationWantedAt: "2026-01-01T00:00:00Z" })).toContain("another token");
});
