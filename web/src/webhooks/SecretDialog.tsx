import { Dialog } from "../page/Dialog";

/** Shows a secret the one time that it can be shown. */
export function SecretDialog({ secret, onClose }: { secret: string; onClose: () => void }) {
  return (
    <Dialog label="Signing secret" narrow onClose={onClose} testId="secret-dialog">
      <div className="ask">
        <header><h2>Signing secret</h2></header>
        <div className="body stack">
          <p>Copy it now: it is not shown again. The receiver verifies each delivery with it.</p>
          <p><code data-testid="webhook-secret" style={{ overflowWrap: "anywhere" }}>{secret}</code></p>
        </div>
        <footer>
          <button type="button" onClick={() => void navigator.clipboard?.writeText(secret)}>Copy</button>
          <button type="button" className="primary" onClick={onClose} data-testid="secret-close">I have it</button>
        </footer>
      </div>
    </Dialog>
  );
}
