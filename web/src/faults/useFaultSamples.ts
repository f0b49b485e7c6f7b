// History by REST, then the live stream, without a hole or a double: both are merged by time and incarnation, and each new
// connection asks for the history since the last sample again. The API stores samples in batches, so the newest of the past are
// not yet there when the stream begins: the history is asked for once more after a batch's time.
import { useEffect, useRef, useState } from "react";
import type { FaultSample, Page } from "../contracts";
import { get } from "../http/client";
import { useLive, useLiveEpoch } from "../live/LiveProvider";
import { followLive, mergeSamples } from "./rates";

export const keepMilliseconds = 15 * 60 * 1000;
const pageSize = 1000;
const mostPages = 5;
const batchMilliseconds = 4000;

export function useFaultSamples(sandboxId: string): { samples: readonly FaultSample[]; problem: unknown } {
  const live = useLive();
  const epoch = useLiveEpoch();
  const [samples, setSamples] = useState<readonly FaultSample[]>([]);
  const [problem, setProblem] = useState<unknown>(null);
  const newest = useRef<number | null>(null);

  useEffect(() => {
    const last = samples.at(-1);
    newest.current = last ? Date.parse(last.at) : null;
  }, [samples]);

  useEffect(() => {
    newest.current = null;
    setSamples([]);
    return live.subscribe<FaultSample>("Faults", () => [sandboxId], (sample) => {
      setSamples((known) => followLive(known, sample, keepMilliseconds));
    });
  }, [live, sandboxId]);

  useEffect(() => {
    const leaving = new AbortController();
    const since = newest.current ?? Date.now() - keepMilliseconds;
    const load = () =>
      history(sandboxId, since, leaving.signal).then(
        (past) => {
          if (leaving.signal.aborted) return;
          setProblem(null);
          setSamples((known) => mergeSamples(known, past, keepMilliseconds));
        },
        (error: unknown) => {
          if (!leaving.signal.aborted) setProblem(error);
        },
      );
    void load();
    const again = setTimeout(() => void load(), batchMilliseconds);
    return () => {
      leaving.abort();
      clearTimeout(again);
    };
  }, [sandboxId, epoch]);

  return { samples, problem };
}

async function history(sandboxId: string, since: number, signal: AbortSignal): Promise<FaultSample[]> {
  const all: FaultSample[] = [];
  let from = since;
  for (let page = 0; page < mostPages; page++) {
    const query = new URLSearchParams({ from: new Date(from).toISOString(), limit: String(pageSize) });
    const answer = await get<Page<FaultSample>>(`/v1/sandboxes/${sandboxId}/faults?${query}`, signal);
    all.push(...answer.items);
    const last = Math.max(from, ...answer.items.map((sample) => Date.parse(sample.at)));
    if (answer.next === null || answer.items.length === 0 || last === from) break;
    from = last;
  }
  return all;
}
