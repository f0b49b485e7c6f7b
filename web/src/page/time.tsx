import { useSyncExternalStore } from "react";
import { age } from "../sandboxes/phases";

let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function tick(): void {
  now = Date.now();
  for (const listener of [...listeners]) listener();
}

function onTick(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(tick, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The present, to the second: one timer for the whole page. */
export function useNow(): number {
  return useSyncExternalStore(onTick, () => now);
}

const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function Age({ at }: { at: string }) {
  const present = useNow();
  return <time dateTime={at} title={full.format(new Date(at))} className="num">{age(present - Date.parse(at))}</time>;
}

/** The time of day, with the day in front when it is not today. */
export function At({ at }: { at: string }) {
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  return <time dateTime={at} title={full.format(date)} className="num">{today ? "" : `${day.format(date)} `}{clock.format(date)}</time>;
}

export function FullTime({ at }: { at: string }) {
  return <time dateTime={at} className="num">{full.format(new Date(at))}</time>;
}
