import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { WebhookView } from "../contracts";
import { ApiError, get } from "../http/client";
import { keys } from "../http/keys";
import { Ask } from "../page/Dialog";
import { ErrorNote } from "../page/ErrorNote";
import { Link } from "../page/router";
import { FullTime } from "../page/time";
import { useRotation, useWebhookWish } from "./actions";
import { useRights } from "../session/rights";
import { Deliveries } from "./Deliveries";
import { SecretDialog } from "./SecretDialog";
import { Standing } from "./Standing";
import { wants } from "./words";

export function WebhookPage({ id }: { id: string }) {
  const query = useQuery({
    queryKey: keys.webhook(id),
    queryFn: ({ signal }) => get<WebhookView>(`/v1/webhooks/${id}`, signal),
    // Attempts are no events.
    refetchInterval: 3000,
  });
  useEffect(() => {
    document.title = "Webhook · Sandbox";
  }, []);
  if (query.error instanceof ApiError && query.error.status === 404) {
    return <div className="panel empty"><p>There is no such webhook.</p><Link to="/webhooks" className="button">Go to the webhooks</Link></div>;
  }
  if (!query.data) return query.error ? <ErrorNote error={query.error} what="The webhook could not be read." /> : null;
  return <Details webhook={query.data} />;
}

function Details({ webhook }: { webhook: WebhookView }) {
  const { administer } = useRights();
  const wish = useWebhookWish(webhook);
  const [secret, setSecret] = useState<string | null>(null);
  const rotation = useRotation(webhook, setSecret);
  const [asking, setAsking] = useState<"delete" | "rotate" | null>(null);
  const busy = wish.isPending || rotation.isPending;
  return (
    <>
      <div className="title" data-testid="webhook-header">
        <div>
          <p className="crumb"><Link to="/webhooks">Webhooks</Link></p>
          <h1>{webhook.url}</h1>
          <div className="under-title"><Standing webhook={webhook} large />{webhook.description && <span className="soft">{webhook.description}</span>}</div>
        </div>
        <div className="head-actions">
          <button type="button" disabled={busy || !webhook.enabled} onClick={() => wish.mutate({ verb: "test" })} data-testid="webhook-test">Send a test</button>
          {administer && <button type="button" disabled={busy} onClick={() => setAsking("rotate")} data-testid="webhook-rotate">Rotate secret</button>}
          {administer && <button type="button" disabled={busy} onClick={() => wish.mutate({ verb: webhook.enabled ? "disable" : "enable" })} data-testid="webhook-toggle">{webhook.enabled ? "Disable" : "Enable"}</button>}
          {administer && <button type="button" className="danger" disabled={busy} onClick={() => setAsking("delete")} data-testid="webhook-delete">Delete</button>}
        </div>
      </div>
      <div className="stack">
        <section className="panel" aria-label="About this webhook">
          <div className="body stack">
            {webhook.disabled && <p data-testid="webhook-disabled">{webhook.disabled.message} <code>{webhook.disabled.reason}</code><span className="remedy"><span>{webhook.disabled.remedy}</span></span></p>}
            <dl className="facts">
              <div><dt>Wants</dt><dd>{wants(webhook)}</dd></div>
              <div><dt>Added</dt><dd><FullTime at={webhook.createdAt} /></dd></div>
              {webhook.previousSecretUntil && <div><dt>Signed with the previous secret too, until</dt><dd><FullTime at={webhook.previousSecretUntil} /></dd></div>}
            </dl>
          </div>
        </section>
        <Deliveries webhook={webhook} />
      </div>
      {asking === "rotate" && (
        <Ask title="Rotate the secret?" action="Rotate" onNo={() => setAsking(null)} onYes={() => { setAsking(null); rotation.mutate(); }}>
          <p>For a day deliveries are signed with both secrets; then only with the new one.</p>
        </Ask>
      )}
      {asking === "delete" && (
        <Ask title="Delete this webhook?" action="Delete" danger onNo={() => setAsking(null)} onYes={() => { setAsking(null); wish.mutate({ verb: "delete" }); }}>
          <p>Nothing more is posted to {webhook.url}, and the log of its deliveries is removed. This cannot be undone.</p>
        </Ask>
      )}
      {secret && <SecretDialog secret={secret} onClose={() => setSecret(null)} />}
    </>
  );
}
