import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { WebhookSecretView, WebhookView } from "../contracts";
import { send } from "../http/client";
import { keys } from "../http/keys";
import { navigate } from "../page/router";
import { tellFailure } from "../page/Toasts";

export type Wish =
  | { verb: "enable" | "disable" | "delete" | "test" }
  | { verb: "redeliver"; number: number }
  | { verb: "redeliverSince"; since: string };

/** What can be asked of an endpoint, besides another secret. */
export function useWebhookWish(webhook: Pick<WebhookView, "id" | "url">) {
  const client = useQueryClient();
  const path = `/v1/webhooks/${webhook.id}`;
  return useMutation({
    mutationFn: (wish: Wish) => {
      switch (wish.verb) {
        case "enable":
        case "disable": return send("PATCH", path, { enabled: wish.verb === "enable" });
        case "delete": return send("DELETE", path);
        case "test": return send("POST", `${path}/test`);
        case "redeliver": return send("POST", `${path}/deliveries/${wish.number}/redeliver`);
        case "redeliverSince": return send("POST", `${path}/redeliver`, { since: wish.since });
      }
    },
    onSuccess: (_, wish) => {
      if (wish.verb === "delete") navigate("/webhooks");
      void client.invalidateQueries({ queryKey: keys.webhooks });
    },
    onError: (error) => tellFailure(`Not done: ${webhook.url}`, error),
  });
}

export function useRotation(webhook: Pick<WebhookView, "id" | "url">, onSecret: (secret: string) => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async () => (await send<WebhookSecretView>("POST", `/v1/webhooks/${webhook.id}/rotate-secret`, {})).data,
    onSuccess: (view) => {
      onSecret(view.secret);
      void client.invalidateQueries({ queryKey: keys.webhooks });
    },
    onError: (error) => tellFailure(`The secret stays as it is: ${webhook.url}`, error),
  });
}
