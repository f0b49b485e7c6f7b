// Latencies are counted by powers of two. What a time added is the difference of two histograms of one incarnation; a quantile is known only by
// the bounds of its bucket, and no more is said.
import type { FaultSample, LatencyHistogram, Origin } from "../contracts";
import { readingOf } from "./rates";

export const bucketCount = 22;

export interface LatencyState {
  source: string;
  origin: Origin;
  lowerBound: boolean;
  /** What was added in the time shown. */
  counts: readonly number[];
  total: number;
}

const isWhole = (histogram: LatencyHistogram | null | undefined): histogram is LatencyHistogram => histogram?.counts.length === bucketCount;

/** For each source of the newest sample that measures latencies: those added since the oldest sample of its incarnation that is in the window. */
export function latencies(samples: readonly FaultSample[], windowSeconds: number): LatencyState[] {
  const last = samples.at(-1);
  if (!last) return [];
  const from = Date.parse(last.at) - windowSeconds * 1000;
  const states: LatencyState[] = [];
  for (const reading of last.readings) {
    if (!isWhole(reading.latency)) continue;
    const first = samples.find((sample) => sample.incarnation === last.incarnation && Date.parse(sample.at) >= from && isWhole(readingOf(sample, reading.source)?.latency));
    const before = first && readingOf(first, reading.source)?.latency;
    const counts = reading.latency.counts.map((count, bucket) => count - (before?.counts[bucket] ?? count));
    // A counter that went back tells nothing of this time.
    if (counts.some((count) => count < 0)) continue;
    states.push({ source: reading.source, origin: reading.origin, lowerBound: reading.lowerBound, counts, total: counts.reduce((sum, count) => sum + count, 0) });
  }
  return states;
}

/** The bucket that holds the quantile; null of nothing. */
export function quantileBucket(counts: readonly number[], fraction: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  const wanted = Math.max(1, Math.ceil(fraction * total));
  let seen = 0;
  return counts.findIndex((count) => (seen += count) >= wanted);
}

/** "64 to 128 µs": the bounds of a bucket. */
export function bucketWords(bucket: number): string {
  if (bucket === 0) return "up to 1 µs";
  if (bucket === bucketCount - 1) return `above ${microsecondsWords(2 ** (bucketCount - 2))}`;
  return `${microsecondsWords(2 ** (bucket - 1))} to ${microsecondsWords(2 ** bucket)}`;
}

function microsecondsWords(microseconds: number): string {
  if (microseconds < 1000) return `${microseconds} µs`;
  const [value, unit] = microseconds < 1_000_000 ? [microseconds / 1000, "ms"] : [microseconds / 1_000_000, "s"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}
