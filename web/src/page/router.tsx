import { type AnchorHTMLAttributes, type MouseEvent, useSyncExternalStore } from "react";

export type Route =
  | { page: "overview" }
  | { page: "sandbox"; id: string }
  | { page: "node"; id: string }
  | { page: "devices" }
  | { page: "events" }
  | { page: "webhooks" }
  | { page: "webhook"; id: string }
  | { page: "nowhere" };

export function parseRoute(path: string): Route {
  const parts = path.split("/").filter(Boolean);
  if (parts.length === 0) return { page: "overview" };
  if (parts.length === 2 && parts[0] === "sandboxes" && parts[1]) return { page: "sandbox", id: parts[1] };
  if (parts.length === 2 && parts[0] === "nodes" && parts[1]) return { page: "node", id: parts[1] };
  if (parts.length === 1 && parts[0] === "devices") return { page: "devices" };
  if (parts.length === 1 && parts[0] === "events") return { page: "events" };
  if (parts.length === 1 && parts[0] === "webhooks") return { page: "webhooks" };
  if (parts.length === 2 && parts[0] === "webhooks" && parts[1]) return { page: "webhook", id: parts[1] };
  return { page: "nowhere" };
}

const moved = "sandbox:moved";

export function navigate(to: string): void {
  history.pushState(null, "", to);
  window.dispatchEvent(new Event(moved));
  window.scrollTo(0, 0);
}

function onMove(listener: () => void): () => void {
  window.addEventListener("popstate", listener);
  window.addEventListener(moved, listener);
  return () => {
    window.removeEventListener("popstate", listener);
    window.removeEventListener(moved, listener);
  };
}

export function usePath(): string {
  return useSyncExternalStore(onMove, () => location.pathname);
}

export function Link({ to, ...rest }: { to: string } & AnchorHTMLAttributes<HTMLAnchorElement>) {
  const follow = (event: MouseEvent) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(to);
  };
  return <a {...rest} href={to} onClick={follow} />;
}
