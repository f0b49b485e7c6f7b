import { describe, expect, it } from "vitest";
import type { Phase, PhaseEntry } from "../contracts";
import { age, duration, phaseSpans, runsOf } from "./phases";

const start = Date.parse("2026-11-23T22:00:00Z");
const entry = (phase: Phase, milliseconds: number): PhaseEntry => ({ phase, at: new Date(start + milliseconds).toISOString() });

describe("phase durations", () => {
  it("lasts until the next phase began, the last one until now", () => {
    const spans = phaseSpans([entry("Pending", 0), entry("Scheduled", 40), entry("Running", 9040)], start + 10_040);
    expect(spans.map(({ phase, milliseconds, open }) => [phase, milliseconds, open])).toEqual([
      ["Pending", 40, false], ["Scheduled", 9000, false], ["Running", 1000, true],
    ]);
  });

  it("is never negative, though the viewer's clock be behind", () => {
    expect(phaseSpans([entry("Pending", 5000)], start)[0]?.milliseconds).toBe(0);
  });
});

describe("runs", () => {
  it("begins a new one when a settled sandbox is started again", () => {
    const runs = runsOf([entry("Pending", 0), entry("Running", 1), entry("Stopping", 2), entry("Stopped", 3), entry("Pending", 4), entry("Booting", 5)]);
    expect(runs.map((run) => run.map((one) => one.phase))).toEqual([["Pending", "Running", "Stopping", "Stopped"], ["Pending", "Booting"]]);
  });

  it("does not when it is deleted, or comes back from a lost node", () => {
    expect(runsOf([entry("Running", 0), entry("Failed", 1), entry("Deleting", 2)])).toHaveLength(1);
    expect(runsOf([entry("Running", 0), entry("Lost", 1), entry("Running", 2)])).toHaveLength(1);
  });
});

describe("durations in words", () => {
  it.each([
    [0, "0 ms"], [84.4, "84 ms"], [2410, "2.41 s"], [59_940, "59.9 s"], [185_000, "3 min 05 s"], [7_620_000, "2 h 07 min"], [442_800_000, "5 d 3 h"],
  ])("%d ms is %s", (milliseconds, words) => expect(duration(milliseconds)).toBe(words));

  it.each([[-5, "0 s"], [59_000, "59 s"], [61_000, "1 min"], [7_300_000, "2 h"], [90_000_000, "1 d"]])("an age of %d ms is %s", (milliseconds, words) =>
    expect(age(milliseconds)).toBe(words));
});
