import { describe, expect, it } from "vitest";
import type { FaultSample } from "../contracts";
import { bucketCount, bucketWords, latencies, quantileBucket, sum } from "./latency";

const start = Date.parse("2026-11-26T12:00:00Z");
const counts = (...set: [number, number][]) => {
  const all = new Array<number>(bucketCount).fill(0);
  for (const [bucket, count] of set) all[bucket] = count;
  return all;
};

function sample(second: number, histogram: number[] | null, incarnation = 1, increase: number[] | null = null): FaultSample {
  const latency = histogram === null ? null : { counts: histogram, sumNanoseconds: 1 };
  const latencyIncrease = increase && { histogram: { counts: increase, sumNanoseconds: 1 } };
  return { at: new Date(start + second * 1000).toISOString(), incarnation, readings: [{ source: "io.pageFaults", value: 1, nullReason: null, lowerBound: false, origin: "Simulated", latency, latencyIncrease }] };
}

const told = (samples: FaultSample[], seconds: number) => latencies(samples, seconds).map(({ counts: added, lowerBound }) => [added && sum(added), lowerBound]);

describe("the latencies of the time shown", () => {
  it("are what was added since the window began", () => {
    const samples = [sample(0, counts([3, 100])), sample(50, counts([3, 110])), sample(100, counts([3, 110], [7, 5]))];
    expect(latencies(samples, 60)).toEqual([{ source: "io.pageFaults", origin: "Simulated", lowerBound: false, counts: counts([3, 10], [7, 5]) }]);
    expect(latencies(samples, 40)).toEqual([{ source: "io.pageFaults", origin: "Simulated", lowerBound: false, counts: counts([7, 5]) }]);
  });

  it.each<[string, FaultSample[], (number | boolean | null)[]]>([
    ["what was before the first sample is not known", [sample(0, counts([3, 100])), sample(1, counts([3, 110]))], [10, true]],
    ["it is where the API tells it", [sample(0, counts([3, 100]), 1, counts([3, 7])), sample(1, counts([3, 110]))], [17, false]],
    ["of one sample nothing is known", [sample(0, counts([3, 100]))], [null, true]],
    ["of one sample it is what the API tells", [sample(0, counts([3, 100]), 1, counts([3, 7]))], [7, false]],
    ["another start counts from 0", [sample(0, counts([3, 100]), 1, counts()), sample(1, counts([3, 1]), 2), sample(2, counts([3, 4]), 2)], [4, false]],
    ["a count that went back makes it a lower bound", [sample(0, counts([3, 9]), 1, counts()), sample(1, counts([3, 8], [4, 50])), sample(2, counts([3, 9], [4, 50]))], [1, true]],
    ["a count that only went back is not known", [sample(0, counts([3, 9])), sample(1, counts([3, 8]))], [null, true]],
    ["a pause in between loses nothing", [sample(0, counts([3, 1]), 1, counts()), sample(1, null), sample(2, counts([3, 5]))], [4, false]],
  ])("%s", (_, samples, expected) => {
    expect(told(samples, 60)).toEqual([expected]);
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
