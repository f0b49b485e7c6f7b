import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { NodeReadinessView, NodeView } from "../contracts";
import { send } from "../http/client";
import { keys } from "../http/keys";
import { tellFailure } from "../page/Toasts";
import { useRights } from "../session/rights";

/** Lets a node take nothing new, or lets it again. */
export function CordonAction({ node }: { node: Pick<NodeReadinessView, "nodeId" | "nodeName" | "phase"> }) {
  const { changeService } = useRights();
  const client = useQueryClient();
  const verb = node.phase === "Cordoned" ? "uncordon" : "cordon";
  const wish = useMutation({
    mutationFn: () => send<NodeView>("POST", `/v1/nodes/${node.nodeId}/${verb}`),
    onSettled: () => {
      void client.invalidateQueries({ queryKey: keys.node(node.nodeId) });
      void client.invalidateQueries({ queryKey: keys.nodes });
    },
    onError: (error) => tellFailure(`Not ${verb}ed: ${node.nodeName}`, error),
  });
  if (!changeService || (node.phase !== "Ready" && node.phase !== "Cordoned")) return null;
  return (
    <button type="button" disabled={wish.isPending} onClick={() => wish.mutate()} title={verb === "cordon" ? "It takes nothing new; what runs here goes on." : "It takes sandboxes again."} data-testid="cordon-button">
      {verb === "cordon" ? "Cordon" : "Uncordon"}
    </button>
  );
}
