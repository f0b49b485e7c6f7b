import { expect, it } from "vitest";
import type { VerdictClass } from "../contracts";
import { gib, hugePagesWords, tally } from "./words";

it.each([[512, "512 MiB"], [1024, "1 GiB"], [1536, "1.5 GiB"]])("%d MiB is %s", (mib, words) => expect(gib(mib)).toBe(words));

it("names huge pages only where there are any", () => {
  expect(hugePagesWords([{ sizeKib: 64, total: 0, free: 0 }, { sizeKib: 2048, total: 512, free: 500 }, { sizeKib: 64, total: 8, free: 0 }]))
    .toBe(", 500 of 512 pages of 2 MiB free, 0 of 8 pages of 64 KiB free");
  expect(hugePagesWords([{ sizeKib: 1_048_576, total: null, free: null }])).toBe(", unknown how many pages of 1 GiB free");
});

it("counts the verdicts, the most first", () => {
  const of = (verdict: VerdictClass) => ({ verdict: { class: verdict, reason: "", message: "", origin: "Hardware" as const, links: [] } });
  expect(tally([of("Unknown"), of("PassthroughOnly"), of("PassthroughOnly")])).toBe("2 passthrough only, 1 unknown");
  expect(tally([])).toBe("");
});
