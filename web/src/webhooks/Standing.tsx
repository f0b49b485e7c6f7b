import type { WebhookView } from "../contracts";
import { At } from "../page/time";
import { standing } from "./words";

export function Standing({ webhook, large }: { webhook: WebhookView; large?: boolean }) {
  const { word, tone } = standing(webhook);
  return (
    <>
      <span className={`phase ${tone}${large ? " large" : ""}`} data-testid="webhook-standing"><i aria-hidden="true" />{word}</span>
      {webhook.pausedUntil && <span className="small soft"> until <At at={webhook.pausedUntil} /></span>}
      {webhook.failingSince && <span className="small soft"> failing since <At at={webhook.failingSince} /></span>}
    </>
  );
}
