// Latencies are counted by powers of two. What a time added is the sum of what each of its samples added; a part that is not known is left out,
// and the sum is then a lower bound, or not known at all. A quantile is known only by the bounds of its bucket, and no more is said.
import type { FaultSample, LatencyHistogram, Origin, SourceReading } from "../contracts";
import { countsOf, gapMilliseconds, isOver, readingOf } from "./rates";

export const bucketCount = 22;

export interface LatencyState {
  source: string;
  origin: Origin;
  /** More may have been added: a part is not known. */
  lowerBound: boolean;
  /** What was added in the time shown; null when no part of it is known. */
  counts: readonly number[] | null;
  total: number | null;
}

const isWhole = (histogram: LatencyHistogram | null | undefined): histogram is LatencyHistogram => histogram?.counts.length === bucketCount;

/** For each source that measures latencies in the time shown: what was added in it. A sample shortly before that time is what the first one is compared to. */
export function latencies(samples: readonly FaultSample[], windowSeconds: number, gap = gapMilliseconds): LatencyState[] {
  const last = samples.at(-1);
  if (!last) return [];
  const from = Date.parse(last.at) - windowSeconds * 1000;
  const first = samples.findIndex((sample) => Date.parse(sample.at) >= from);
  const shown = samples.slice(first);
  const earlier = samples[first - 1];
  const base = earlier && Date.parse(earlier.at) >= from - gap ? earlier : null;
  // The first sample's own increase may be of long ago when the sample before it is known to be far.
  return newestOfEach(shown).map((reading) => stateOf(reading, shown, base, earlier === undefined));
}

function newestOfEach(samples: readonly FaultSample[]): SourceReading[] {
  const found = new Map<string, SourceReading>();
  for (const sample of samples.toReversed()) {
    for (const reading of sample.readings) if (isWhole(reading.latency) && !found.has(reading.source)) found.set(reading.source, reading);
  }
  return [...found.values()];
}

function stateOf({ source, origin }: SourceReading, shown: readonly FaultSample[], base: FaultSample | null, trustIncrease: boolean): LatencyState {
  const oldest = base ?? shown[0];
  let incarnation = oldest?.incarnation;
  let before = base && wholeCounts(base, source, origin);
  // Whether the incarnation began in the time shown, and nothing of it was added yet.
  let begun = false;
  let sum: number[] | null = null;
  // What the last sample does not tell came after the last that did.
  let lowerBound = shown.length > 0 && !isWhole(readingOf(shown.at(-1), source)?.latency);
  const totals = countsOf(shown, (sample) => totalOf(wholeCounts(sample, source, origin)));
  const seen = new Set([incarnation]);
  for (const sample of shown) {
    const isFirstOf = !seen.has(sample.incarnation);
    seen.add(sample.incarnation);
    if (sample.incarnation !== incarnation) {
      // What the guest before did after its last sample was never told.
      lowerBound = true;
      incarnation = sample.incarnation;
      before = null;
      begun = isFirstOf;
    }
    const reading = readingOf(sample, source);
    lowerBound ||= reading?.lowerBound ?? false;
    if (!reading || !isWhole(reading.latency)) continue;
    let added: readonly number[] | null = null;
    if (reading.origin === origin) {
      const increase = trustIncrease && sample === shown[0] ? reading.latencyIncrease?.histogram : null;
      // A step over what others have counted lies between old and new samples (rates.ts): what grew there is not known.
      if (before) added = isOver(totals.get(sample.incarnation), totalOf(before) ?? 0, totalOf(reading.latency.counts) ?? 0) ? null : difference(reading.latency.counts, before);
      else if (begun) added = reading.latency.counts;
      else if (isWhole(increase)) added = increase.counts;
    }
    begun = false;
    before = wholeCounts(sample, source, origin);
    if (added) sum = added.map((count, bucket) => count + (sum?.[bucket] ?? 0));
    else lowerBound = true;
  }
  return { source, origin, lowerBound, counts: sum, total: sum && sum.reduce((all, count) => all + count, 0) };
}

function wholeCounts(sample: FaultSample, source: string, origin: Origin): readonly number[] | null {
  const reading = readingOf(sample, source);
  return reading?.origin === origin && isWhole(reading.latency) ? reading.latency.counts : null;
}

const totalOf = (counts: readonly number[] | null) => counts && counts.reduce((all, count) => all + count, 0);

/** Null when a count went back: then nothing is known of the time between the two. */
function difference(after: readonly number[], before: readonly number[]): number[] | null {
  const grown = after.map((count, bucket) => count - (before[bucket] ?? count));
  return grown.some((count) => count < 0) ? null : grown;
}

const whole = new Intl.NumberFormat("en-GB");

export function totalWords({ total, lowerBound }: Pick<LatencyState, "total" | "lowerBound">): string {
  return total === null ? "not known in the time shown" : `${lowerBound ? "≥ " : ""}${whole.format(total)} in the time shown`;
}

/** Nothing counted is "none answered" only when nothing can have been missed. */
export function quantileWords({ counts, lowerBound }: Pick<LatencyState, "counts" | "lowerBound">, fraction: number): string {
  const bucket = counts && quantileBucket(counts, fraction);
  return bucket !== null ? bucketWords(bucket) : counts === null || lowerBound ? "not known" : "none answered";
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
