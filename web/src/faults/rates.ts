// Counters come once a second and grow within one incarnation of the guest. A rate is the growth between two consecutive samples
// of the same incarnation. Where it cannot be known (no reading, a new incarnation, a counter that went back, a step over counts that
// other samples have: the node's clock was set back, and old and new samples lie mixed) it is null, a gap in the chart, and never 0 or negative.
import type { FaultSample, Origin, SourceReading } from "../contracts";

/** Two samples a second apart that are further apart than this leave a visible gap instead of an average over it. */
export const gapMilliseconds = 5000;

export interface SourceState {
  source: string;
  origin: Origin;
  value: number | null;
  nullReason: string | null;
  lowerBound: boolean;
  ratePerSecond: number | null;
}

export interface ChartData {
  /** Seconds since 1970, as uPlot wants them. */
  seconds: number[];
  /** One array for each source asked for, as long as <c>seconds</c>. */
  rates: (number | null)[][];
}

const timeOf = (sample: FaultSample) => Date.parse(sample.at);
const keyOf = (sample: FaultSample) => `${sample.incarnation}:${timeOf(sample)}`;

/** Oldest first, each sample once, none older than <c>keepMilliseconds</c> before the newest. */
export function mergeSamples(known: readonly FaultSample[], more: readonly FaultSample[], keepMilliseconds: number): FaultSample[] {
  const byKey = new Map(known.map((sample) => [keyOf(sample), sample]));
  for (const sample of more) byKey.set(keyOf(sample), sample);
  const sorted = [...byKey.values()].sort((a, b) => timeOf(a) - timeOf(b) || a.incarnation - b.incarnation);
  const last = sorted.at(-1);
  return last ? sorted.filter((sample) => timeOf(sample) >= timeOf(last) - keepMilliseconds) : sorted;
}

/** A live sample comes in its order, so one that is this much older than what is known was taken after the node's clock was set back. */
const clockSetBackMilliseconds = 10_000;

/** With one more of the live stream. When the node's clock was set back the present begins anew: what is known would hide it. */
export function followLive(known: readonly FaultSample[], sample: FaultSample, keepMilliseconds: number): FaultSample[] {
  const last = known.at(-1);
  return last && timeOf(sample) < timeOf(last) - clockSetBackMilliseconds ? [sample] : mergeSamples(known, [sample], keepMilliseconds);
}

export function readingOf(sample: FaultSample | undefined, source: string): SourceReading | undefined {
  return sample?.readings.find((reading) => reading.source === source);
}

/** Events a second between two samples, null when it cannot be known. */
export function rateBetween(before: FaultSample | undefined, after: FaultSample, source: string, gap = gapMilliseconds): number | null {
  if (!before || before.incarnation !== after.incarnation) return null;
  const milliseconds = timeOf(after) - timeOf(before);
  if (milliseconds <= 0 || milliseconds > gap) return null;
  const from = readingOf(before, source)?.value ?? null;
  const to = readingOf(after, source)?.value ?? null;
  if (from === null || to === null || to < from) return null;
  return ((to - from) * 1000) / milliseconds;
}

/** What the samples of each incarnation have counted, the lowest first. */
export function countsOf(samples: readonly FaultSample[], count: (sample: FaultSample) => number | null): Map<number, number[]> {
  const counts = new Map<number, number[]>();
  for (const sample of samples) {
    const value = count(sample);
    if (value === null) continue;
    const of = counts.get(sample.incarnation);
    if (!of) counts.set(sample.incarnation, [value]);
    else if (of.at(-1) !== value) of.push(value);
  }
  for (const of of counts.values()) of.sort((a, b) => a - b);
  return counts;
}

/** Whether another sample has a count strictly between the two. */
export function isOver(counts: readonly number[] | undefined, from: number, to: number): boolean {
  if (!counts || to <= from) return false;
  let [low, high] = [0, counts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((counts[middle] ?? Infinity) > from) high = middle;
    else low = middle + 1;
  }
  return (counts[low] ?? Infinity) < to;
}

const valueOf = (source: string) => (sample: FaultSample) => readingOf(sample, source)?.value ?? null;

/** The rate of the step that ends with the sample at an index. */
function rateAt(samples: readonly FaultSample[], index: number, source: string, counts: ReadonlyMap<number, number[]>, gap = gapMilliseconds): number | null {
  const [before, after] = [samples[index - 1], samples[index]];
  if (!before || !after) return null;
  const [from, to] = [valueOf(source)(before), valueOf(source)(after)];
  if (from !== null && to !== null && isOver(counts.get(after.incarnation), from, to)) return null;
  return rateBetween(before, after, source, gap);
}

export function chartData(samples: readonly FaultSample[], sources: readonly string[], gap = gapMilliseconds): ChartData {
  const seconds: number[] = [];
  const rates: (number | null)[][] = sources.map(() => []);
  const counts = sources.map((source) => countsOf(samples, valueOf(source)));
  samples.forEach((sample, index) => {
    const before = samples[index - 1];
    const at = timeOf(sample) / 1000;
    if (before && (timeOf(sample) - timeOf(before) > gap || before.incarnation !== sample.incarnation)) {
      seconds.push((timeOf(before) / 1000 + at) / 2);
      for (const row of rates) row.push(null);
    }
    seconds.push(at);
    sources.forEach((source, row) => rates[row]?.push(rateAt(samples, index, source, counts[row] ?? new Map(), gap)));
  });
  return { seconds, rates };
}

/** The newest reading of every source of the newest sample, with its rate. */
export function presentState(samples: readonly FaultSample[]): SourceState[] {
  const last = samples.at(-1);
  if (!last) return [];
  // Where old and new samples lie mixed they do so second by second.
  const lately = samples.slice(-30);
  return last.readings.map((reading) => ({
    source: reading.source,
    origin: reading.origin,
    value: reading.value,
    nullReason: reading.nullReason,
    lowerBound: reading.lowerBound,
    ratePerSecond: rateAt(lately, lately.length - 1, reading.source, countsOf(lately, valueOf(reading.source))),
  }));
}

/** Whether any reading of the sources in the time shown is a lower bound: then so is what is drawn. */
export function anyLowerBound(samples: readonly FaultSample[], sources: readonly string[], fromMilliseconds: number): boolean {
  return samples.some((sample) => timeOf(sample) >= fromMilliseconds && sample.readings.some((reading) => reading.lowerBound && sources.includes(reading.source)));
}
