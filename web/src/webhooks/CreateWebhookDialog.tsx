import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { WebhookCreated } from "../contracts";
import { ApiError, send } from "../http/client";
import { keys } from "../http/keys";
import { Dialog } from "../page/Dialog";
import { ErrorNote } from "../page/ErrorNote";
import { messagesFor } from "../sandboxes/draft";
import { Field } from "../sandboxes/Field";
import { bodyOf, emptyDraft, type WebhookDraft } from "./draft";

export function CreateWebhookDialog({ onClose, onCreated }: { onClose: () => void; onCreated: (created: WebhookCreated) => void }) {
  const client = useQueryClient();
  const [draft, setDraft] = useState<WebhookDraft>(emptyDraft);
  const [local, setLocal] = useState<Record<string, string[]>>({});
  const change = (part: Partial<WebhookDraft>) => setDraft((before) => ({ ...before, ...part }));
  const create = useMutation({
    mutationFn: async (body: unknown) => (await send<WebhookCreated>("POST", "/v1/webhooks", body)).data,
    onSuccess: (created) => {
      void client.invalidateQueries({ queryKey: keys.webhooks });
      onCreated(created);
    },
  });
  const errors = { ...(create.error instanceof ApiError ? create.error.errors : {}), ...local };
  const wrong = (field: string) => messagesFor(errors, field);

  function submit(event: FormEvent) {
    event.preventDefault();
    const { body, errors: found } = bodyOf(draft);
    setLocal(found);
    if (Object.keys(found).length === 0) create.mutate(body);
  }

  return (
    <Dialog label="Add webhook" onClose={onClose} testId="webhook-dialog">
      <form onSubmit={submit} noValidate data-testid="webhook-form">
        <header>
          <h2>Add webhook</h2>
          <button type="button" className="plain compact" onClick={onClose} aria-label="Close">✕</button>
        </header>
        <div className="body stack">
          {create.error && Object.keys(errors).length === 0 && <ErrorNote error={create.error} what="Not added." />}
          <Field id="webhook-url" label="URL" wrong={wrong("url")} hint="Events are posted here, signed by Standard Webhooks">
            {(aria) => <input {...aria} type="url" value={draft.url} onChange={(event) => change({ url: event.target.value })} autoComplete="off" spellCheck={false} />}
          </Field>
          <Field id="webhook-description" label="Description" wrong={wrong("description")}>
            {(aria) => <input {...aria} value={draft.description} onChange={(event) => change({ description: event.target.value })} autoComplete="off" />}
          </Field>
          <Field id="webhook-types" label="Types of events" wrong={wrong("types")} hint="Names or kinds, such as sandbox.* webhook.endpointDisabled; empty: all">
            {(aria) => <input {...aria} value={draft.types} onChange={(event) => change({ types: event.target.value })} autoComplete="off" spellCheck={false} />}
          </Field>
          <Field id="webhook-labels" label="Labels" wrong={wrong("labels")} hint="Only of sandboxes that have all of these: key=value, one a line">
            {(aria) => <textarea {...aria} rows={2} value={draft.labels} onChange={(event) => change({ labels: event.target.value })} spellCheck={false} />}
          </Field>
        </div>
        <footer>
          <button type="button" onClick={onClose}>Cancel</button>
          <button className="primary" disabled={create.isPending} data-testid="webhook-submit">{create.isPending ? "Adding…" : "Add webhook"}</button>
        </footer>
      </form>
    </Dialog>
  );
}
