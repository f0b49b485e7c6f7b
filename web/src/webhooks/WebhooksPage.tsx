import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Page, WebhookCreated, WebhookView } from "../contracts";
import { get } from "../http/client";
import { keys } from "../http/keys";
import { ErrorNote } from "../page/ErrorNote";
import { Link, navigate } from "../page/router";
import { useRights } from "../session/rights";
import { CreateWebhookDialog } from "./CreateWebhookDialog";
import { SecretDialog } from "./SecretDialog";
import { Standing } from "./Standing";
import { wants } from "./words";

export function WebhooksPage() {
  const list = useQuery({ queryKey: keys.webhooks, queryFn: ({ signal }) => get<Page<WebhookView>>("/v1/webhooks", signal) });
  const { administer } = useRights();
  const [adding, setAdding] = useState(false);
  const [created, setCreated] = useState<WebhookCreated | null>(null);
  const webhooks = list.data?.items ?? [];
  return (
    <>
      <div className="title">
        <h1>Webhooks</h1>
        {administer && <button type="button" className="primary" onClick={() => setAdding(true)} data-testid="add-webhook">Add webhook</button>}
      </div>
      <section className="panel" aria-label="Webhook endpoints" data-testid="webhooks">
        {list.error && !list.data && <div className="body"><ErrorNote error={list.error} what="The webhooks could not be read." /></div>}
        {list.data && webhooks.length === 0 && <p className="empty">Events are posted nowhere yet.</p>}
        {webhooks.length > 0 && (
          <div className="table-frame">
            <table>
              <thead><tr><th scope="col">URL</th><th scope="col">State</th><th scope="col">Wants</th></tr></thead>
              <tbody>
                {webhooks.map((one) => (
                  <tr key={one.id} data-testid={`webhook-row-${one.id}`}>
                    <td style={{ overflowWrap: "anywhere" }}><Link to={`/webhooks/${one.id}`}>{one.url}</Link>{one.description && <><br /><span className="small soft">{one.description}</span></>}</td>
                    <td><Standing webhook={one} /></td>
                    <td className="small">{wants(one)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      {adding && <CreateWebhookDialog onClose={() => setAdding(false)} onCreated={(made) => { setAdding(false); setCreated(made); }} />}
      {created && <SecretDialog secret={created.secret} onClose={() => navigate(`/webhooks/${created.webhook.id}`)} />}
    </>
  );
}
