import { useState } from "react";
import type { SandboxView } from "../contracts";
import { Ask } from "../page/Dialog";
import { useRights } from "../session/rights";
import { actionsFor, useSandboxAction } from "./actions";

/** The buttons for one sandbox, small in the table and full on its own page. */
export function RowActions({ sandbox, full }: { sandbox: SandboxView; full?: boolean }) {
  const action = useSandboxAction(sandbox);
  const can = actionsFor(sandbox);
  const [asking, setAsking] = useState(false);
  const rights = useRights();
  const size = full ? "" : " compact";
  const named = (verb: string) => (full ? undefined : `${verb} ${sandbox.name}`);
  if (!rights.operate) return null;
  return (
    <div className={full ? "head-actions" : "actions"}>
      {(full || can.start) && <button type="button" className={size} disabled={!can.start || action.isPending} onClick={() => action.mutate("start")} aria-label={named("Start")} data-testid="start-button">Start</button>}
      {(full || can.stop) && <button type="button" className={size} disabled={!can.stop || action.isPending} onClick={() => action.mutate("stop")} aria-label={named("Stop")} data-testid="stop-button">Stop</button>}
      {full && <button type="button" disabled={!can.restart || action.isPending} onClick={() => action.mutate("restart")} data-testid="restart-button">Restart</button>}
      <button type="button" className={`danger${size}`} disabled={!can.delete || action.isPending} onClick={() => setAsking(true)} aria-label={named("Delete")} data-testid="delete-button">Delete</button>
      {asking && (
        <Ask
          title={`Delete ${sandbox.name}?`}
          action="Delete"
          danger
          onNo={() => setAsking(false)}
          onYes={() => {
            setAsking(false);
            action.mutate("delete");
          }}
        >
          <p>The guest is ended at once, its disk is removed and its devices are cleaned and given back. This cannot be undone.</p>
        </Ask>
      )}
    </div>
  );
}
