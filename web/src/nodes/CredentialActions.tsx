import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { NodeView } from "../contracts";
import { send } from "../http/client";
import { keys } from "../http/keys";
import { Ask } from "../page/Dialog";
import { navigate } from "../page/router";
import { tellFailure } from "../page/Toasts";
import { useRights } from "../session/rights";
import { decommissionOf, sandboxWords } from "./credentials";

/** Has a node's worker take another token, or takes the node out of service for good. */
export function CredentialActions({ node }: { node: NodeView }) {
  const { changeService } = useRights();
  const client = useQueryClient();
  const [asked, setAsked] = useState<"rotate" | "decommission" | null>(null);
  const told = () => {
    void client.invalidateQueries({ queryKey: keys.node(node.id) });
    void client.invalidateQueries({ queryKey: keys.nodes });
  };
  const rotate = useMutation({
    mutationFn: () => send<NodeView>("POST", `/v1/nodes/${node.id}/credentials/rotate`),
    onSettled: told,
    onError: (error) => tellFailure(`Its token is not rotated: ${node.name}`, error),
  });
  const decommission = useMutation({
    mutationFn: (force: boolean) => send<undefined>("DELETE", `/v1/nodes/${node.id}${force ? "?force=true" : ""}`),
    onSuccess: () => {
      navigate("/");
      void client.invalidateQueries({ queryKey: keys.nodes });
    },
    onError: (error) => {
      told();
      tellFailure(`Not decommissioned: ${node.name}`, error);
    },
  });
  if (!changeService) return null;
  const how = decommissionOf(node);
  return (
    <div className="actions">
      <button
        type="button" disabled={rotate.isPending || node.rotationWantedAt !== null} onClick={() => setAsked("rotate")} data-testid="rotate-button"
        title={node.rotationWantedAt === null ? "Its worker fetches another token; the old one is good until the new one is used." : "Its worker has not taken the other token yet."}
      >
        Rotate token
      </button>
      <button
        type="button" className="danger" disabled={decommission.isPending || how === "first-empty"} onClick={() => setAsked("decommission")} data-testid="decommission-button"
        title={how === "first-empty" ? `Drain it first: ${sandboxWords(node.sandboxCount)} may run here.` : "It, its devices and images are no more; its token is refused."}
      >
        Decommission
      </button>
      {asked === "rotate" && (
        <Ask title={`Rotate the token of ${node.name}?`} action="Rotate token" onNo={() => setAsked(null)} onYes={() => { rotate.mutate(); setAsked(null); }}>
          <p>Its worker fetches another token over its own connection. What runs there goes on, and the old token is good until the new one is used.</p>
        </Ask>
      )}
      {asked === "decommission" && (
        <Ask title={`Decommission ${node.name}?`} action="Decommission" danger onNo={() => setAsked(null)} onYes={() => { decommission.mutate(how === "force"); setAsked(null); }}>
          <p>The node, its devices and its images are removed, and its token is refused from then on. Its history stays.</p>
          {how === "force" && <p data-testid="decommission-force">{sandboxWords(node.sandboxCount)} may still run there and will have failed. By this you say that the machine is switched off.</p>}
        </Ask>
      )}
    </div>
  );
}
