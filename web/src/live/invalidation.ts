import type { EventView } from "../contracts";
import { keys, type QueryKey } from "../http/keys";

const everything: readonly QueryKey[] = [
  keys.sandboxList, ["sandbox"], keys.nodes, ["node"], keys.devices, keys.deviceClasses, keys.images, keys.webhooks,
];

/** Which queries an event makes stale. An event type that this page does not know makes all of them stale. */
export function staleAfter(event: Pick<EventView, "type" | "subjectId">): readonly QueryKey[] {
  const one: QueryKey = event.subjectId ? keys.sandbox(event.subjectId) : ["sandbox"];
  switch (event.type) {
    case "sandbox.conditionChanged":
    case "sandbox.desiredChanged":
    case "sandbox.restartChanged":
      return [keys.sandboxList, one];
    case "sandbox.created":
    case "sandbox.phaseChanged":
    case "sandbox.deleted":
      return [keys.sandboxList, one, keys.nodes, keys.devices, keys.deviceClasses];
    case "device.phaseChanged":
    case "device.quarantineChanged":
      return [keys.devices, keys.deviceClasses, keys.nodes];
    case "node.joined":
    case "node.phaseChanged":
    case "node.decommissioned":
      return [keys.nodes, ["node"], keys.devices, keys.deviceClasses, keys.images, keys.sandboxList, ["sandbox"]];
    case "node.workerRefused":
    case "node.drained":
    case "node.credentialsChanged":
      return [keys.nodes, ["node"]];
    case "sandbox.nodeDraining":
    case "node.machineRefused":
      return [];
    case "webhook.endpointDisabled":
      return [keys.webhooks];
    case "image.changed":
      return [keys.images];
    default:
      return everything;
  }
}

type Refetch = (key: QueryKey) => Promise<unknown>;
type Schedule = (run: () => void, milliseconds: number) => void;

/**
 * Gathers stale keys and refetches each once. Two rounds never overlap: a change that arrives while its query is being fetched
 * is fetched again afterwards, so a flood of events neither starves a query nor leaves it behind.
 */
export class Coalescer {
  private readonly pending = new Map<string, QueryKey>();
  private busy = false;

  constructor(
    private readonly refetch: Refetch,
    private readonly gatherMilliseconds = 120,
    private readonly schedule: Schedule = (run, milliseconds) => void setTimeout(run, milliseconds),
  ) {}

  add(stale: readonly QueryKey[]): void {
    for (const key of stale) this.pending.set(JSON.stringify(key), key);
    if (this.busy || this.pending.size === 0) return;
    this.busy = true;
    this.schedule(() => void this.round(), this.gatherMilliseconds);
  }

  private async round(): Promise<void> {
    const now = [...this.pending.values()];
    this.pending.clear();
    await Promise.allSettled(now.map((key) => this.refetch(key)));
    this.busy = false;
    this.add([]);
  }
}
