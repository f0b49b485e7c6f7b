import type { LiveState } from "./connection";
import { useLiveState } from "./LiveProvider";

const words: Record<LiveState, string> = { connecting: "Connecting…", live: "Live", reconnecting: "Reconnecting…" };

export function ConnectionState() {
  const state = useLiveState();
  return (
    <span className="live-state" role="status" data-testid="connection-state" data-state={state}>
      <i aria-hidden="true" />
      {words[state]}
    </span>
  );
}
