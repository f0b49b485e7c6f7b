// The stored history of a long time, at the step that the API chooses for it: one sample a step, values are counters. Asked for again each minute.
import { useQuery } from "@tanstack/react-query";
import type { FaultSample, Page } from "../contracts";
import { get } from "../http/client";

interface FaultHistory extends Page<FaultSample> { stepSeconds: number }
export interface LongHistory { samples: readonly FaultSample[]; stepSeconds: number; problem: unknown }

const nothing: readonly FaultSample[] = [];

/** Nothing is asked for while <c>windowSeconds</c> is null. */
export function useFaultHistory(sandboxId: string, windowSeconds: number | null): LongHistory {
  const answer = useQuery({
    queryKey: ["fault-history", sandboxId, windowSeconds],
    enabled: windowSeconds !== null,
    refetchInterval: 60_000,
    queryFn: ({ signal }) => {
      const query = new URLSearchParams({ from: new Date(Date.now() - (windowSeconds ?? 0) * 1000).toISOString(), limit: "1500" });
      return get<FaultHistory>(`/v1/sandboxes/${sandboxId}/faults?${query}`, signal);
    },
  });
  return { samples: answer.data?.items ?? nothing, stepSeconds: answer.data?.stepSeconds ?? 60, problem: answer.error };
}
