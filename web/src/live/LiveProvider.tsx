import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { EventView } from "../contracts";
import { addEvents } from "../events/history";
import { ApiError, send } from "../http/client";
import { keys } from "../http/keys";
import { dashboardHub, LiveConnection, type LiveState } from "./connection";
import { Coalescer, staleAfter } from "./invalidation";

const LiveContext = createContext<LiveConnection | null>(null);

export function LiveProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const live = useMemo(() => {
    const coalescer = new Coalescer((queryKey) => client.invalidateQueries({ queryKey: [...queryKey] }));
    return new LiveConnection({
      probe: newestEventNumber,
      onEvent: (event) => {
        client.setQueryData<EventView[]>(keys.events, (known) => known && addEvents(known, [event]));
        coalescer.add(staleAfter(event));
      },
      onConnected: () => void client.invalidateQueries(),
      onSignedOut: () => client.setQueryData(keys.session, null),
    }, dashboardHub());
  }, [client]);
  useStartedOnce(live);
  return <LiveContext value={live}>{children}</LiveContext>;
}

/** Starts the connection and stops it once nobody shows it any more; an unmount that is followed at once by a mount does not count. */
function useStartedOnce(live: LiveConnection): void {
  const stopping = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const started = useRef<LiveConnection | null>(null);
  useEffect(() => {
    if (started.current === live) clearTimeout(stopping.current);
    else {
      started.current = live;
      live.start();
    }
    return () => {
      stopping.current = setTimeout(() => live.stop(), 0);
    };
  }, [live]);
}

export async function newestEventNumber(): Promise<number | null | false> {
  try {
    return (await send("GET", "/v1/sandboxes?limit=1")).eventNumber;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return false;
    throw error;
  }
}

export function useLive(): LiveConnection {
  const live = useContext(LiveContext);
  if (!live) throw new Error("Used outside LiveProvider");
  return live;
}

export function useLiveState(): LiveState {
  const live = useLive();
  return useSyncExternalStore(live.onChange, () => live.state);
}

export function useLiveEpoch(): number {
  const live = useLive();
  return useSyncExternalStore(live.onChange, () => live.epoch);
}
