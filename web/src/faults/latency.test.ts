import { describe, expect, it } from "vitest";
import type { FaultSample, Origin } from "../contracts";
import { bucketCount, bucketWords, latencies, quantileBucket, quantileWords, totalWords } from "./latency";

const start = Date.parse("2026-11-26T12:00:00Z");
const counts = (...set: [number, number][]) => {
  const all = new Array<number>(bucketCount).fill(0);
  for (const [bucket, count] of set) all[bucket] = count;
  return all;
};

interface Told { increase?: number[]; lowerBound?: boolean; origin?: Origin }

function sample(second: number, histogram: number[] | null, incarnation = 1, { increase, lowerBound = false, origin = "Simulated" }: Told = {}): FaultSample {
  const latency = histogram === null ? null : { counts: histogram, sumNanoseconds: 1 };
  const latencyIncrease = increase ? { histogram: { counts: increase, sumNanoseconds: 1 }, count: 1 } : null;
  return { at: new Date(start + second * 1000).toISOString(), incarnation, readings: [{ source: "io.pageFaults", value: 1, nullReason: null, lowerBound, origin, latency, latencyIncrease }] };
}

const told = (samples: readonly FaultSample[], windowSeconds = 60, gap?: number) =>
  latencies(samples, windowSeconds, gap).map((state) => `${totalWords(state)}; ${quantileWords(state, 0.5)}`);

describe("the latencies of the time shown", () => {
  it("are what each sample added, by bucket", () => {
    const samples = [sample(58, counts([3, 100])), sample(61, counts([3, 110])), sample(120, counts([3, 110], [7, 5]))];
    expect(latencies(samples, 60)).toEqual([{ source: "io.pageFaults", origin: "Simulated", lowerBound: false, counts: counts([3, 10], [7, 5]), total: 15 }]);
  });

  it.each([
    ["one sample that tells its own increase", [sample(0, counts([3, 100]), 1, { increase: counts([3, 7]) })], "7 in the time shown; 4 µs to 8 µs"],
    ["one sample that tells that none was added", [sample(0, counts([3, 100]), 1, { increase: counts() })], "0 in the time shown; none answered"],
    ["one sample that tells no increase", [sample(0, counts([3, 100]))], "not known in the time shown; not known"],
    ["live samples after one that tells its increase", [sample(0, counts([3, 100]), 1, { increase: counts([3, 7]) }), sample(1, counts([3, 101])), sample(2, counts([3, 104]))], "11 in the time shown; 4 µs to 8 µs"],
    ["later increases, which are in the differences", [sample(0, counts([3, 5]), 1, { increase: counts([3, 5]) }), sample(1, counts([3, 6]), 1, { increase: counts([3, 1]) })], "6 in the time shown; 4 µs to 8 µs"],
    ["live samples alone", [sample(0, counts([3, 100])), sample(1, counts([3, 101])), sample(2, counts([3, 104]))], "≥ 4 in the time shown; 4 µs to 8 µs"],
    ["live samples alone that add none", [sample(0, counts([3, 100])), sample(1, counts([3, 100]))], "≥ 0 in the time shown; not known"],
    ["an idle guest, seen since before", [sample(0, counts([3, 100])), sample(3, counts([3, 100])), sample(63, counts([3, 100]))], "0 in the time shown; none answered"],
    ["a sample before that is far", [sample(0, counts([3, 50])), sample(61, counts([3, 100]), 1, { increase: counts([3, 50]) }), sample(120, counts([3, 104]))], "≥ 4 in the time shown; 4 µs to 8 µs"],
    ["a second without a reading", [sample(0, counts([3, 2]), 1, { increase: counts() }), sample(1, null), sample(2, counts([3, 9]))], "7 in the time shown; 4 µs to 8 µs"],
    ["a first second without a reading", [sample(0, null), sample(1, counts([3, 2])), sample(2, counts([3, 9]))], "≥ 7 in the time shown; 4 µs to 8 µs"],
    ["a last second without a reading", [sample(0, counts([3, 2]), 1, { increase: counts([3, 2]) }), sample(1, null)], "≥ 2 in the time shown; 4 µs to 8 µs"],
    ["a later incarnation, whose counters began at 0", [sample(0, counts([3, 100]), 1, { increase: counts([3, 1]) }), sample(1, counts([3, 20]), 2), sample(2, counts([3, 24]), 2)], "≥ 25 in the time shown; 4 µs to 8 µs"],
    ["a later incarnation that was not read at first", [sample(0, null), sample(1, null, 2), sample(2, counts([3, 24]), 2)], "≥ 24 in the time shown; 4 µs to 8 µs"],
    ["an incarnation that began just as the time did", [sample(0, counts([3, 100])), sample(3, counts([3, 20]), 2), sample(63, counts([3, 21]), 2)], "≥ 21 in the time shown; 4 µs to 8 µs"],
    ["a part that went back", [sample(0, counts([3, 9]), 1, { increase: counts([3, 4]) }), sample(1, counts([3, 8], [4, 50])), sample(2, counts([3, 10], [4, 50])), sample(3, counts([3, 12], [4, 50]))], "≥ 8 in the time shown; 4 µs to 8 µs"],
    ["old and new samples that a clock that was set back has mixed", [...[100, 101, 171, 102, 172, 103, 173, 174].entries()].map(([second, count]) => sample(second, counts([3, count]), 1, second === 0 ? { increase: counts() } : {})), "≥ 2 in the time shown; 4 µs to 8 µs"],
    ["two incarnations that a clock that was set back has mixed", Array.from({ length: 20 }, (_, second) => sample(second, counts([3, second % 2 ? 50 + second : 10 + second]), 1 + (second % 2))), "≥ 51 in the time shown; 4 µs to 8 µs"],
    ["nothing but what went back", [sample(0, counts([3, 9])), sample(1, counts([3, 8], [4, 50]))], "not known in the time shown; not known"],
    ["a reading that is a lower bound", [sample(0, counts([3, 9]), 1, { increase: counts([3, 4]), lowerBound: true }), sample(1, counts([3, 9]))], "≥ 4 in the time shown; 4 µs to 8 µs"],
    ["another origin, which is not added", [sample(0, counts([3, 9]), 1, { increase: counts([3, 9]), origin: "Hardware" }), sample(1, counts([3, 5]), 2)], "≥ 5 in the time shown; 4 µs to 8 µs"],
  ])("are told of %s", (_, samples, words) => {
    expect(told(samples)).toEqual([words]);
  });

  it("are compared over gaps that are as wide as the step", () => {
    const samples = [sample(0, counts([3, 5])), sample(60, counts([3, 8])), sample(120, counts([3, 9]))];
    expect([told(samples, 60, 300_000), told(samples, 90, 300_000)]).toEqual([["4 in the time shown; 4 µs to 8 µs"], ["4 in the time shown; 4 µs to 8 µs"]]);
  });

  it.each([
    ["nothing was sampled", []],
    ["the source measures none", [sample(0, null), sample(1, null)]],
    ["the buckets are not ours", [sample(0, [1, 2]), sample(1, [1, 3])]],
  ])("are not told when %s", (_, samples) => {
    expect(latencies(samples, 60)).toEqual([]);
  });
});

describe("a quantile", () => {
  it.each([
    [0.5, counts([2, 1], [5, 1]), 2],
    [0.99, counts([2, 98], [5, 2]), 5],
    [0.5, counts([21, 1]), 21],
    [0.5, counts(), null],
  ])("%s of %s lies in bucket %s", (fraction, histogram, bucket) => {
    expect(quantileBucket(histogram, fraction)).toBe(bucket);
  });

  it.each([[0, "up to 1 µs"], [1, "1 µs to 2 µs"], [11, "1.02 ms to 2.05 ms"], [20, "524 ms to 1.05 s"], [21, "above 1.05 s"]])("in bucket %s is %s", (bucket, words) => {
    expect(bucketWords(bucket)).toBe(words);
  });
});
