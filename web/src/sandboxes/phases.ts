import type { Phase, PhaseEntry } from "../contracts";

export interface PhaseSpan {
  phase: Phase;
  startedAt: number;
  milliseconds: number;
  /** Still in it. */
  open: boolean;
}

const settled: readonly Phase[] = ["Stopped", "Failed"];

/** How long each phase lasted; the last one lasts until now. */
export function phaseSpans(entries: readonly PhaseEntry[], now: number): PhaseSpan[] {
  return entries.map((entry, index) => {
    const startedAt = Date.parse(entry.at);
    const next = entries[index + 1];
    const end = next ? Date.parse(next.at) : now;
    return { phase: entry.phase, startedAt, milliseconds: Math.max(0, end - startedAt), open: !next };
  });
}

/** Splits a life into runs: a new one begins where a settled sandbox is started again. */
export function runsOf(entries: readonly PhaseEntry[]): PhaseEntry[][] {
  const runs: PhaseEntry[][] = [];
  entries.forEach((entry, index) => {
    const before = entries[index - 1];
    const begins = !before || (settled.includes(before.phase) && entry.phase !== "Deleting" && !settled.includes(entry.phase) && entry.phase !== "Stopping");
    if (begins) runs.push([]);
    runs.at(-1)?.push(entry);
  });
  return runs;
}

/** Short and of stable width: 84 ms, 2.41 s, 3 min 05 s, 2 h 07 min, 5 d 3 h. */
export function duration(milliseconds: number): string {
  const two = (n: number) => String(n).padStart(2, "0");
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Age in a table: one unit. */
export function age(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}
