import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { EventView, Page } from "../contracts";
import { ApiError, get } from "../http/client";
import { keys } from "../http/keys";
import { newestEventNumber } from "../live/LiveProvider";
import { PhaseBadge } from "../page/badges";
import { ErrorNote } from "../page/ErrorNote";
import { Link } from "../page/router";
import { At } from "../page/time";
import { tellFailure } from "../page/Toasts";
import { addEvents } from "./history";

const pageSize = 200;

/** A page after that number, or the oldest that is kept where that begins later. */
async function after(number: number, signal?: AbortSignal): Promise<Page<EventView>> {
  try {
    return await get<Page<EventView>>(`/v1/events?after=${number}&limit=${pageSize}`, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== "events_expired") throw error;
    return await get<Page<EventView>>(`/v1/events?limit=${pageSize}`, signal);
  }
}

export function EventsPage() {
  const client = useQueryClient();
  const [busy, setBusy] = useState(false);
  const [hasOlder, setHasOlder] = useState(true);
  const events = useQuery({
    queryKey: keys.events,
    queryFn: async ({ signal }) => {
      const newest = (await newestEventNumber()) || 0;
      const page = await after(Math.max(0, newest - pageSize), signal);
      return addEvents(client.getQueryData<EventView[]>(keys.events) ?? [], page.items);
    },
  });
  const oldest = events.data?.at(-1)?.number ?? 0;

  async function older() {
    setBusy(true);
    try {
      const page = await after(Math.max(0, oldest - 1 - pageSize));
      setHasOlder(page.items.some((event) => event.number < oldest));
      client.setQueryData<EventView[]>(keys.events, (known) => addEvents(known ?? [], page.items));
    } catch (error) {
      tellFailure("Older events could not be read", error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <>
      <div className="title"><h1>Events</h1></div>
      <section className="panel" aria-label="Events" data-testid="events">
        {events.error && !events.data && <div className="body"><ErrorNote error={events.error} what="The events could not be read." /></div>}
        {events.data?.length === 0 && <p className="empty">Nothing has happened yet.</p>}
        <ol>{events.data?.map((event) => <EventRow key={event.number} event={event} />)}</ol>
      </section>
      {oldest > 1 && hasOlder && <p style={{ marginTop: "1rem" }}><button type="button" onClick={() => void older()} disabled={busy}>Show older</button></p>}
    </>
  );
}

function EventRow({ event }: { event: EventView }) {
  const subject = event.subjectName ?? event.subjectId;
  return (
    <li className="event" data-testid={`event-${event.number}`}>
      <span className="no">{event.number}</span>
      <span className="when"><At at={event.at} /> {event.phase && <PhaseBadge phase={event.phase} />}</span>
      <span>{event.subjectId && event.type.startsWith("sandbox.") ? <Link to={`/sandboxes/${event.subjectId}`}>{subject}</Link> : subject}<br /><code className="small soft">{event.type}</code></span>
      <p>{event.message} <code className="soft">{event.reason}</code></p>
    </li>
  );
}
