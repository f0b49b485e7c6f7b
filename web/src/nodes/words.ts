import type { FunctionFacts, HugePagePool } from "../contracts";
import { verdictWords } from "../sandboxes/words";

export const gib = (mib: number) => (mib >= 1024 ? `${(mib / 1024).toFixed(mib % 1024 ? 1 : 0)} GiB` : `${mib} MiB`);

/** Only of sizes that the host has set pages aside for, and of those that could not be read. */
export function hugePagesWords(pages: readonly Pick<HugePagePool, "sizeKib" | "total" | "free">[]): string {
  return pages.filter((one) => one.total !== 0)
    .map((one) => `, ${one.total === null ? "unknown how many" : `${one.free} of ${one.total}`} pages of ${one.sizeKib >= 1024 ? gib(one.sizeKib / 1024) : `${one.sizeKib} KiB`} free`).join("");
}

/** How many functions there are of each verdict, the most first. */
export function tally(functions: readonly Pick<FunctionFacts, "verdict">[]): string {
  const counts = new Map<string, number>();
  for (const { verdict } of functions) counts.set(verdictWords[verdict.class], (counts.get(verdictWords[verdict.class]) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([words, count]) => `${count} ${words.toLowerCase()}`).join(", ");
}
