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
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function Age({ at }: { at: string }) {
  const present = useNow();
  return <time dateTime={at} title={full.format(new Date(at))} className="num">{age(present - Date.parse(at))}</time>;
}

export function At({ at }: { at: string }) {
  return <time dateTime={at} title={full.format(new Date(at))} className="num">{clock.format(new Date(at))}</time>;
}

export function FullTime({ at }: { at: string }) {
  return <time dateTime={at} className="num">{full.format(new Date(at))}</time>;
}
