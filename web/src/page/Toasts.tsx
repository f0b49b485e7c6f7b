import { useSyncExternalStore } from "react";
import { ApiError } from "../http/client";

interface Toast { id: number; title: string; message: string }

let toasts: readonly Toast[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

function become(next: readonly Toast[]): void {
  toasts = next;
  for (const listener of [...listeners]) listener();
}

const close = (id: number) => become(toasts.filter((toast) => toast.id !== id));

/** Says that something the user asked for was refused or failed. */
export function tellFailure(what: string, error: unknown): void {
  const message = error instanceof ApiError ? `${error.message} (${error.code})` : error instanceof Error ? error.message : String(error);
  const id = nextId++;
  become([...toasts.slice(-3), { id, title: what, message }]);
  setTimeout(() => close(id), 12_000);
}

export function Toasts() {
  const shown = useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, () => toasts);
  return (
    <div className="toast" role="alert" data-testid="toasts">
      {shown.map((toast) => (
        <div key={toast.id}>
          <p><strong>{toast.title}</strong><br />{toast.message}</p>
          <button type="button" className="plain compact" onClick={() => close(toast.id)} aria-label="Dismiss">✕</button>
        </div>
      ))}
    </div>
  );
}
