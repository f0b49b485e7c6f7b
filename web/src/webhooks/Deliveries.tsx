import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { DeliveryState, Page, WebhookDeliveryView, WebhookView } from "../contracts";
import { get } from "../http/client";
import { keys } from "../http/keys";
import { PhaseBadge } from "../page/badges";
import { Ask } from "../page/Dialog";
import { ErrorNote } from "../page/ErrorNote";
import { At } from "../page/time";
import { useWebhookWish } from "./actions";
import { outcome } from "./words";

const states: readonly DeliveryState[] = ["Waiting", "Pending", "Succeeded", "Failed"];
const hours = [1, 6, 24, 168] as const;

export function Deliveries({ webhook }: { webhook: WebhookView }) {
  const [state, setState] = useState("");
  const [since, setSince] = useState<number | null>(null);
  const wish = useWebhookWish(webhook);
  const list = useInfiniteQuery({
    queryKey: keys.deliveries(webhook.id, state),
    queryFn: ({ pageParam, signal }) => get<Page<WebhookDeliveryView>>(`/v1/webhooks/${webhook.id}/deliveries?limit=50${state ? `&state=${state}` : ""}${pageParam ? `&after=${pageParam}` : ""}`, signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.next,
    refetchInterval: 3000,
  });
  const deliveries = list.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <section className="panel" aria-labelledby="deliveries-title" data-testid="deliveries">
      <header>
        <h2 id="deliveries-title">Deliveries</h2>
        <div className="filters">
          <label>State
            <select value={state} onChange={(event) => setState(event.target.value)} data-testid="deliveries-state">
              <option value="">all</option>
              {states.map((one) => <option key={one}>{one}</option>)}
            </select>
          </label>
          <label>Deliver again
            <select value="" onChange={(event) => setSince(Number(event.target.value))} data-testid="redeliver-since">
              <option value="">since…</option>
              {hours.map((one) => <option key={one} value={one}>{one === 1 ? "the last hour" : one < 48 ? `the last ${one} hours` : `the last ${one / 24} days`}</option>)}
            </select>
          </label>
        </div>
      </header>
      {list.error && !list.data && <div className="body"><ErrorNote error={list.error} what="The deliveries could not be read." /></div>}
      {list.data && deliveries.length === 0 && <p className="empty">Nothing to show.</p>}
      {deliveries.length > 0 && (
        <div className="table-frame">
          <table>
            <thead><tr><th scope="col">No.</th><th scope="col">Event</th><th scope="col">State</th><th scope="col">Attempts</th><th scope="col">Last attempt</th><th scope="col"><span className="hidden">Actions</span></th></tr></thead>
            <tbody>{deliveries.map((one) => <Row key={one.number} one={one} onAgain={() => wish.mutate({ verb: "redeliver", number: one.number })} busy={wish.isPending} />)}</tbody>
          </table>
        </div>
      )}
      {list.hasNextPage && <p className="body"><button type="button" onClick={() => void list.fetchNextPage()}>Show more</button></p>}
      {since !== null && (
        <Ask title="Deliver again?" action="Deliver again" onNo={() => setSince(null)} onYes={() => { setSince(null); wish.mutate({ verb: "redeliverSince", since: new Date(Date.now() - since * 3_600_000).toISOString() }); }}>
          <p>Every event that this endpoint wants is posted once more, with the same webhook-id where it was posted before.</p>
        </Ask>
      )}
    </section>
  );
}

function Row({ one, onAgain, busy }: { one: WebhookDeliveryView; onAgain: () => void; busy: boolean }) {
  const ended = one.state === "Succeeded" || one.state === "Failed";
  return (
    <tr data-testid={`delivery-${one.number}`}>
      <td className="num">{one.number}</td>
      <td>{one.eventNumber === null ? "test" : <>event {one.eventNumber}</>} <At at={one.createdAt} /><br /><code className="small soft">{one.type}</code></td>
      <td><PhaseBadge phase={one.state} />{one.dueAt && <span className="small soft"> due <At at={one.dueAt} /></span>}</td>
      <td className="num">{one.attempts}</td>
      <td className="small">
        {one.lastAttemptAt ? <><At at={one.lastAttemptAt} /> {outcome(one)}</> : <span className="soft">none yet</span>}
        {one.lastFailure && <p>{one.lastFailure.message} <code>{one.lastFailure.reason}</code><span className="remedy"><span>{one.lastFailure.remedy}</span></span></p>}
        {one.responseExcerpt && <details><summary>Its answer began</summary><pre className="code">{one.responseExcerpt}</pre></details>}
      </td>
      <td><div className="actions"><button type="button" className="compact" disabled={busy} onClick={onAgain} aria-label={`Deliver ${one.number} again`} data-testid="redeliver-button">{ended ? "Deliver again" : "Try now"}</button></div></td>
    </tr>
  );
}
