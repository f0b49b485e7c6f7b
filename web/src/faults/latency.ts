// Latencies are counted by powers of two. What a time added is the sum of what its samples added; a quantile is known only by
// the bounds of its bucket, and no more is said.
import type { FaultSample, LatencyHistogram, Origin, SourceReading } from "../contracts";

export const bucketCount = 22;

export interface LatencyState {
  source: string;
  origin: Origin;
  lowerBound: boolean;
  /** What was added in the time shown; null where that is not known. */
  counts: readonly number[] | null;
}

const isWhole = (histogram: LatencyHistogram | null | undefined): histogram is LatencyHistogram => histogram?.counts.length === bucketCount;

export const sum = (counts: readonly number[]) => counts.reduce((all, count) => all + count, 0);

/** For each source of the newest sample that measures latencies: what each sample in the window added to the one before. */
export function latencies(samples: readonly FaultSample[], windowSeconds: number): LatencyState[] {
  const last = samples.at(-1);
  if (!last) return [];
  const from = Date.parse(last.at) - windowSeconds * 1000;
  return last.readings.filter((reading) => isWhole(reading.latency)).map(({ source, origin, lowerBound }) => ({ source, origin, ...added(samples, source, from, lowerBound) }));
}

function added(samples: readonly FaultSample[], source: string, from: number, lowerBound: boolean): Pick<LatencyState, "counts" | "lowerBound"> {
  const total = new Array<number>(bucketCount).fill(0);
  let isKnown = false;
  let before: { counts: readonly number[]; incarnation: number } | null = null;
  for (const { at, incarnation, readings } of samples) {
    const reading = readings.find((one) => one.source === source);
    if (!isWhole(reading?.latency)) continue;
    const counts = reading.latency.counts;
    if (Date.parse(at) >= from) {
      const more = addedBy(reading, before, incarnation);
      // What came before the first sample, or a counter that went back, may have been any number.
      if (more === null || more.some((count) => count < 0)) lowerBound = true;
      else {
        isKnown = true;
        more.forEach((count, bucket) => (total[bucket] = (total[bucket] ?? 0) + count));
      }
    }
    before = { counts, incarnation };
  }
  return { counts: isKnown ? total : null, lowerBound };
}

/** The counters of a later start began at 0. */
function addedBy(reading: SourceReading, before: { counts: readonly number[]; incarnation: number } | null, incarnation: number): readonly number[] | null {
  const counts = reading.latency?.counts ?? [];
  if (before === null) return isWhole(reading.latencyIncrease?.histogram) ? reading.latencyIncrease.histogram.counts : null;
  return before.incarnation === incarnation ? counts.map((count, bucket) => count - (before.counts[bucket] ?? 0)) : counts;
}

/** The bucket that holds the quantile; null of nothing. */
export function quantileBucket(counts: readonly number[], fraction: number): number | null {
  const total = sum(counts);
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
