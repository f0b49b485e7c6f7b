import type { EventView } from "../contracts";

const most = 2000;

/** Newest first, each number once. */
export function addEvents(known: readonly EventView[], more: readonly EventView[]): EventView[] {
  const numbers = new Set(known.map((event) => event.number));
  const added = more.filter((event) => !numbers.has(event.number));
  if (added.length === 0) return known as EventView[];
  return [...added, ...known].sort((a, b) => b.number - a.number).slice(0, most);
}
