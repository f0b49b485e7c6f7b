import { describe, expect, it } from "vitest";
import type { FaultSample, SourceReading } from "../contracts";
import { rateWords, statesOf } from "./lanes";
import { chartData, followLive, mergeSamples, presentState, rateBetween } from "./rates";

const start = Date.parse("2026-11-23T22:00:00Z");

function reading(value: number | null, more: Partial<SourceReading> = {}): SourceReading {
  return { source: "guest.minorFaults", value, nullReason: value === null ? "AgentSilent" : null, lowerBound: false, origin: "Emulated", ...more };
}

function sample(second: number, value: number | null, incarnation = 1, more: Partial<SourceReading> = {}): FaultSample {
  return { at: new Date(start + second * 1000).toISOString(), incarnation, readings: [reading(value, more)] };
}

const rate = (a: FaultSample, b: FaultSample) => rateBetween(a, b, "guest.minorFaults");

describe("the rate between two samples", () => {
  it.each([
    ["growth over one second", sample(0, 100), sample(1, 350), 250],
    ["growth over two seconds is halved", sample(0, 100), sample(2, 350), 125],
    ["no growth is 0, an observed quiet", sample(0, 100), sample(1, 100), 0],
    ["a counter that went back", sample(0, 100), sample(1, 40), null],
    ["another incarnation", sample(0, 100, 1), sample(1, 350, 2), null],
    ["no reading before", sample(0, null), sample(1, 350), null],
    ["no reading now", sample(0, 100), sample(1, null), null],
    ["the same moment twice", sample(1, 100), sample(1, 350), null],
    ["too far apart to average over", sample(0, 100), sample(6, 350), null],
  ])("%s", (_, before, after, expected) => {
    expect(rate(before, after)).toBe(expected);
  });

  it("is unknown for the first sample and for a source that is not there", () => {
    expect(rateBetween(undefined, sample(0, 1), "guest.minorFaults")).toBeNull();
    expect(rateBetween(sample(0, 1), sample(1, 2), "smmu.events")).toBeNull();
  });

  it("is never negative, whatever the counters do", () => {
    const values = [5, 7, 9, 2, 2, 3, 700, null, 800, 1, 3, 4];
    const samples = values.map((value, second) => sample(second, value, second < 6 ? 1 : 2));
    const { rates } = chartData(samples, ["guest.minorFaults"]);
    expect(rates[0]?.filter((one) => one !== null && one < 0)).toEqual([]);
    expect(rates[0]?.filter((one) => one !== null)).toEqual([2, 2, 0, 1, 2, 1]);
  });
});

describe("a node's clock that was set back", () => {
  const old = Array.from({ length: 61 }, (_, second) => sample(second, second));
  const mixed = [...old, ...Array.from({ length: 60 }, (_, more) => sample(20.5 + more, 61 + more))];

  it("tells no rate where old and new samples lie mixed", () => {
    const { rates } = chartData(mergeSamples([], mixed, 3_600_000), ["guest.minorFaults"]);
    const known = rates[0]?.filter((one) => one !== null) ?? [];
    expect(new Set(known)).toEqual(new Set([1]));
    expect(known.length).toBeGreaterThan(34);
    expect(known.length).toBeLessThan(42);
  });

  it("begins the present anew, and a sample that is a little late does not", () => {
    expect(followLive(old, sample(20.5, 61), 3_600_000)).toEqual([sample(20.5, 61)]);
    expect(followLive(old, sample(59.5, 60), 3_600_000)).toHaveLength(62);
  });
});

describe("the chart's data", () => {
  it("has a gap where nothing was read, and goes on after it", () => {
    const { rates } = chartData([sample(0, 0), sample(1, 10), sample(2, null), sample(3, 30), sample(4, 50)], ["guest.minorFaults"]);
    expect(rates).toEqual([[null, 10, null, null, 20]]);
  });

  it("puts a point without a value into a hole in time and between two incarnations", () => {
    const { seconds, rates } = chartData([sample(0, 0), sample(1, 10), sample(21, 500), sample(22, 1, 2)], ["guest.minorFaults"]);
    expect(seconds.map((second) => second - start / 1000)).toEqual([0, 1, 11, 21, 21.5, 22]);
    expect(rates).toEqual([[null, 10, null, null, null, null]]);
  });

  it("keeps the rows of all sources equally long", () => {
    const { seconds, rates } = chartData([sample(0, 0), sample(30, 1)], ["guest.minorFaults", "smmu.events"]);
    expect(rates.map((row) => row.length)).toEqual([seconds.length, seconds.length]);
  });
});

describe("merging history and live samples", () => {
  it("shows each sample once, oldest first, whichever way it came", () => {
    const live = [sample(3, 3), sample(4, 4)];
    const past = [sample(1, 1), sample(2, 2), { ...sample(3, 3), at: "2026-11-23T22:00:03.000000+00:00" }];
    expect(mergeSamples(live, past, 900_000).map((one) => one.readings[0]?.value)).toEqual([1, 2, 3, 4]);
  });

  it("drops what is older than the window", () => {
    expect(mergeSamples([sample(0, 0)], [sample(60, 1)], 30_000)).toHaveLength(1);
  });
});

describe("the present state", () => {
  it("tells a lower bound and why something is not observed", () => {
    const before = sample(0, 10, 1, { lowerBound: true });
    const after = sample(1, 17, 1, { lowerBound: true });
    after.readings.push(reading(null, { source: "smmu.tlbHits", nullReason: "TraceCostTooHigh" }));
    const [faults, hits] = presentState([before, after]);
    expect(faults && rateWords(faults)).toBe("≥ 7/s");
    expect(hits).toMatchObject({ value: null, ratePerSecond: null, nullReason: "TraceCostTooHigh" });
    expect(statesOf([before, after]).unobserved.flatMap((group) => group.sources)).toEqual(["smmu.tlbHits"]);
  });
});

describe("what cannot be observed", () => {
  it("is told together where the reason and the origin are the same", () => {
    const none = (source: string, nullReason: string, origin: SourceReading["origin"] = "Emulated") => reading(null, { source, nullReason, origin });
    const readings = [none("ats.hits", "NoAssignedDevice"), none("smmu.tlbHits", "TraceCostTooHigh"), none("ats.requests", "NoAssignedDevice"), none("pci.fatalErrors", "NoAssignedDevice", "Hardware")];
    expect(statesOf([{ ...sample(0, null), readings }]).unobserved.map(({ reason, sources }) => [reason, sources])).toEqual([
      ["NoAssignedDevice", ["ats.hits", "ats.requests"]], ["TraceCostTooHigh", ["smmu.tlbHits"]], ["NoAssignedDevice", ["pci.fatalErrors"]],
    ]);
  });
});
