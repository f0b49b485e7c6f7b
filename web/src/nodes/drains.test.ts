import { describe, expect, it } from "vitest";
import type { NodeView } from "../contracts";
import { drainActionsFor, drainWords } from "./drains";

const drain = (change: Partial<NonNullable<NodeView["drain"]>> = {}) => ({ startedAt: "", deadline: "", reason: null, remaining: 2, drainedAt: null, thenMaintenance: false, ...change });

describe("what can be asked of a node", () => {
  it.each([
    ["one at work", { drain: null, maintenanceSince: null }, ["Drain", "Maintenance"], null],
    ["one that is emptied", { drain: drain(), maintenanceSince: null }, ["End drain", "Maintenance"], "2 sandboxes may still run here."],
    ["one that is nearly empty", { drain: drain({ remaining: 1 }), maintenanceSince: null }, ["End drain", "Maintenance"], "1 sandbox may still run here."],
    ["one that is empty", { drain: drain({ remaining: 0, drainedAt: "x" }), maintenanceSince: null }, ["End drain", "Maintenance"], "It is empty."],
    ["one that is emptied for maintenance", { drain: drain({ thenMaintenance: true }), maintenanceSince: null }, ["End maintenance"], "2 sandboxes may still run here."],
    ["one in maintenance", { drain: drain({ thenMaintenance: true, drainedAt: "x" }), maintenanceSince: "x" }, ["End maintenance"], "In maintenance: that it does not report is no news."],
  ])("%s", (_, node, words, state) => {
    expect(drainActionsFor(node).map((one) => one.words)).toEqual(words);
    expect(drainWords(node)).toBe(state);
  });
});
