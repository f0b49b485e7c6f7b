import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { SandboxView } from "../contracts";
import { ApiError, send } from "../http/client";
import { keys } from "../http/keys";
import { Dialog } from "../page/Dialog";
import { ErrorNote } from "../page/ErrorNote";
import { messagesFor, type StormDraft, stormDraftOf, stormPolicyOf } from "./draft";
import { StormRow } from "./StormFields";

/** Sets a sandbox's storm policy, changes it or takes it away. It holds from the next look at its faults on. */
export function StormPolicyDialog({ sandbox, onClose }: { sandbox: SandboxView; onClose: () => void }) {
  const client = useQueryClient();
  const [draft, setDraft] = useState<StormDraft>(() => stormDraftOf(sandbox.faultStorm));
  const [local, setLocal] = useState<Record<string, string[]>>({});
  const path = `/v1/sandboxes/${sandbox.id}/storm-policy`;
  const wish = useMutation({
    mutationFn: (policy: object | null) => policy === null ? send<SandboxView>("DELETE", path) : send<SandboxView>("PUT", path, policy),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: keys.sandbox(sandbox.id) });
      onClose();
    },
  });
  const said = wish.error instanceof ApiError ? Object.values(wish.error.errors).flat() : [];
  const wrong = [...messagesFor(local, "faultStorm"), ...said];

  function submit(event: FormEvent) {
    event.preventDefault();
    const { policy, errors } = stormPolicyOf(draft);
    setLocal(errors);
    if (Object.keys(errors).length === 0) wish.mutate(policy);
  }

  return (
    <Dialog label="Storm policy" onClose={onClose} testId="storm-dialog">
      <form onSubmit={submit} noValidate>
        <header>
          <h2>Fault storm policy of {sandbox.name}</h2>
          <button type="button" className="plain compact" onClick={onClose} aria-label="Close">✕</button>
        </header>
        <div className="body stack">
          {wish.error && said.length === 0 && <ErrorNote error={wish.error} what="The policy was not set." />}
          <div className="field full storm-policy">
            <StormRow draft={draft} wrong={wrong} onChange={(change) => setDraft((before) => ({ ...before, ...change }))} />
          </div>
        </div>
        <footer>
          {sandbox.faultStorm && <button type="button" className="danger" disabled={wish.isPending} onClick={() => wish.mutate(null)} data-testid="storm-remove">No policy</button>}
          <button type="button" onClick={onClose}>Keep as it is</button>
          <button type="submit" className="primary" disabled={wish.isPending} data-testid="storm-set">Set</button>
        </footer>
      </form>
    </Dialog>
  );
}
