import type { NodeView } from "../contracts";

/** What becomes of a node that is decommissioned now: it may go, it goes only by force, or it has to be emptied first. */
export function decommissionOf(node: Pick<NodeView, "phase" | "sandboxCount">): "free" | "force" | "first-empty" {
  if (node.sandboxCount === 0) return "free";
  return node.phase === "Unreachable" || node.phase === "Maintenance" ? "force" : "first-empty";
}

export const sandboxWords = (count: number): string => `${count} ${count === 1 ? "sandbox" : "sandboxes"}`;

/** What stands beside the node's state while its worker has not taken the other token; null: nothing is wished. */
export const rotationWords = (node: Pick<NodeView, "rotationWantedAt">): string | null =>
  node.rotationWantedAt === null ? null : "Its worker takes another token with its next report.";
