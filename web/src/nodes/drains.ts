import type { NodeView } from "../contracts";

export interface DrainWish { method: "POST" | "DELETE"; path: "drain" | "maintenance"; words: string; title: string; testId: string }

const drain: DrainWish = { method: "POST", path: "drain", words: "Drain", title: "It takes nothing new, and what runs here is stopped at a deadline.", testId: "drain-button" };
const maintenance: DrainWish = { method: "POST", path: "maintenance", words: "Maintenance", title: "It is emptied, and that it does not report is no news then.", testId: "maintenance-button" };
const endDrain: DrainWish = { method: "DELETE", path: "drain", words: "End drain", title: "It keeps what still runs here.", testId: "end-drain-button" };
const endMaintenance: DrainWish = { method: "DELETE", path: "maintenance", words: "End maintenance", title: "It takes sandboxes again once it reports.", testId: "end-maintenance-button" };

/** What an operator can ask of a node now. */
export function drainActionsFor(node: Pick<NodeView, "drain" | "maintenanceSince">): DrainWish[] {
  if (node.maintenanceSince !== null || node.drain?.thenMaintenance) return [endMaintenance];
  return node.drain === null ? [drain, maintenance] : [endDrain, maintenance];
}

/** How far a drain is, in words; null when there is none. */
export function drainWords(node: Pick<NodeView, "drain" | "maintenanceSince">): string | null {
  if (node.maintenanceSince !== null) return "In maintenance: that it does not report is no news.";
  if (node.drain === null) return null;
  if (node.drain.drainedAt !== null) return "It is empty.";
  return `${node.drain.remaining} ${node.drain.remaining === 1 ? "sandbox" : "sandboxes"} may still run here.`;
}
