import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { NodeView } from "../contracts";
import { send } from "../http/client";
import { keys } from "../http/keys";
import { Ask } from "../page/Dialog";
import { tellFailure } from "../page/Toasts";
import { useRights } from "../session/rights";
import { drainActionsFor, type DrainWish } from "./drains";

/** Empties a node, puts it into maintenance, or ends either. */
export function DrainActions({ node }: { node: NodeView }) {
  const { changeService } = useRights();
  const client = useQueryClient();
  const [asked, setAsked] = useState<DrainWish | null>(null);
  const [minutes, setMinutes] = useState("60");
  const [reason, setReason] = useState("");
  const wish = useMutation({
    mutationFn: ({ method, path, body }: { method: string; path: string; body?: object }) => send<NodeView>(method, `/v1/nodes/${node.id}/${path}`, body),
    onSettled: () => {
      void client.invalidateQueries({ queryKey: keys.node(node.id) });
      void client.invalidateQueries({ queryKey: keys.nodes });
    },
    onError: (error) => tellFailure(`Not done: ${node.name}`, error),
  });
  if (!changeService) return null;
  return (
    <div className="actions">
      {drainActionsFor(node).map((one) => (
        <button key={one.testId} type="button" disabled={wish.isPending} title={one.title} data-testid={one.testId} onClick={() => (one.method === "DELETE" ? wish.mutate(one) : setAsked(one))}>
          {one.words}
        </button>
      ))}
      {asked && (
        <Ask
          title={`${asked.words}: ${node.name}?`}
          action={asked.words}
          danger
          onNo={() => setAsked(null)}
          onYes={() => {
            const drain = { deadlineSeconds: Math.round(Number(minutes) * 60), ...(reason.trim() ? { reason: reason.trim() } : {}) };
            wish.mutate({ method: "POST", path: asked.path, body: asked.path === "drain" ? drain : { drain } });
            setAsked(null);
          }}
        >
          <p>{asked.title}</p>
          <div className="field">
            <label htmlFor="drain-minutes">What still runs is stopped after so many minutes</label>
            <input id="drain-minutes" inputMode="numeric" value={minutes} onChange={(event) => setMinutes(event.target.value)} data-testid="drain-minutes" />
          </div>
          <div className="field">
            <label htmlFor="drain-reason">Why, for the owners</label>
            <input id="drain-reason" value={reason} maxLength={500} onChange={(event) => setReason(event.target.value)} autoComplete="off" data-testid="drain-reason" />
          </div>
        </Ask>
      )}
    </div>
  );
}
