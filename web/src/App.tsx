import { useEffect } from "react";
import type { SessionView } from "./contracts";
import { DevicesPage } from "./devices/DevicesPage";
import { EventsPage } from "./events/EventsPage";
import { ConnectionState } from "./live/ConnectionState";
import { LiveProvider } from "./live/LiveProvider";
import { NodePage } from "./nodes/NodePage";
import { Overview } from "./nodes/Overview";
import { Mark } from "./page/marks";
import { Link, parseRoute, type Route, usePath } from "./page/router";
import { toggleTheme, useTheme } from "./page/theme";
import { tellFailure, Toasts } from "./page/Toasts";
import { SandboxPage } from "./sandboxes/SandboxPage";
import { useRights } from "./session/rights";
import { useSession, useSignOut } from "./session/session";
import { SignIn } from "./session/SignIn";
import { WebhookPage } from "./webhooks/WebhookPage";
import { WebhooksPage } from "./webhooks/WebhooksPage";

export function App() {
  const session = useSession();
  if (session.isPending) {
    return session.failureCount > 0 ? <p className="empty" role="status">The API does not answer yet. Trying again…</p> : null;
  }
  if (!session.data) return <SignIn />;
  return (
    <LiveProvider>
      <Frame session={session.data} />
    </LiveProvider>
  );
}

const everybodys = [["/", "Overview"], ["/devices", "Devices"], ["/events", "Events"]] as const;
const places = [...everybodys, ["/webhooks", "Webhooks"]] as const;

function Frame({ session }: { session: SessionView }) {
  const path = usePath();
  const route = parseRoute(path);
  const signOut = useSignOut();
  const theme = useTheme();
  const { operate } = useRights();
  useEffect(() => {
    if (route.page !== "sandbox" && route.page !== "node" && route.page !== "webhook") document.title = `${places.find(([to]) => to === path)?.[1] ?? "Not found"} · Sandbox`;
  }, [path, route.page]);
  return (
    <>
      <a className="skip" href="#content">Skip to content</a>
      <header className="topbar">
        <div>
          <Link to="/" className="wordmark"><Mark />Sandbox</Link>
          <nav aria-label="Main">
            {(operate ? places : everybodys).map(([to, label]) => (
              <Link key={to} to={to} aria-current={to === path || (to === "/" && (route.page === "sandbox" || route.page === "node")) || (to === "/webhooks" && route.page === "webhook") ? "page" : undefined}>{label}</Link>
            ))}
          </nav>
          <div className="side">
            <ConnectionState />
            <span className="who" data-testid="who"><b>{session.keyName}</b> in {session.project}</span>
            <button type="button" className="plain compact" onClick={toggleTheme} data-testid="theme-toggle" aria-label={`Switch to ${theme === "dark" ? "light" : "dark"} colours`}>
              {theme === "dark" ? "Light" : "Dark"}
            </button>
            <button type="button" className="plain compact" onClick={() => signOut().catch((error) => tellFailure("Not signed out", error))} data-testid="sign-out">Sign out</button>
          </div>
        </div>
      </header>
      <main id="content"><PageOf route={route} /></main>
      <Toasts />
    </>
  );
}

function PageOf({ route }: { route: Route }) {
  switch (route.page) {
    case "overview": return <Overview />;
    case "sandbox": return <SandboxPage key={route.id} id={route.id} />;
    case "node": return <NodePage key={route.id} id={route.id} />;
    case "devices": return <DevicesPage />;
    case "events": return <EventsPage />;
    case "webhooks": return <WebhooksPage />;
    case "webhook": return <WebhookPage key={route.id} id={route.id} />;
    case "nowhere": return <div className="panel empty"><p>There is no page at this address.</p><Link to="/" className="button">Go to the overview</Link></div>;
  }
}
