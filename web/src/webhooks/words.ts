import type { WebhookDeliveryView, WebhookView } from "../contracts";
import type { Tone } from "../page/badges";

/** How an endpoint stands, in one word and its tone. */
export function standing(webhook: Pick<WebhookView, "enabled" | "disabled" | "failingSince" | "pausedUntil">): { word: string; tone: Tone } {
  if (!webhook.enabled) return webhook.disabled?.reason === "DisabledByUser" ? { word: "Disabled", tone: "idle" } : { word: "Disabled", tone: "bad" };
  if (webhook.pausedUntil) return { word: "Paused", tone: "warn" };
  if (webhook.failingSince) return { word: "Failing", tone: "warn" };
  return { word: "Enabled", tone: "ok" };
}

/** What an endpoint wants. */
export function wants(webhook: Pick<WebhookView, "types" | "labels">): string {
  const labels = Object.entries(webhook.labels).map(([key, value]) => `${key}=${value}`);
  return `${webhook.types.length === 0 ? "every event" : webhook.types.join(", ")}${labels.length === 0 ? "" : ` of sandboxes with ${labels.join(", ")}`}`;
}

/** What the last attempt of a delivery came to; null before the first. */
export function outcome(delivery: Pick<WebhookDeliveryView, "lastAttemptAt" | "lastStatus" | "lastFailure" | "tookMilliseconds">): string | null {
  if (!delivery.lastAttemptAt) return null;
  const took = delivery.tookMilliseconds === null ? "" : ` after ${delivery.tookMilliseconds} ms`;
  return delivery.lastStatus === null ? `no answer${took}` : `HTTP ${delivery.lastStatus}${took}`;
}
