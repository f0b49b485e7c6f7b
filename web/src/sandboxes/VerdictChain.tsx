import type { LinkStatus, Verdict } from "../contracts";
import { OriginBadge } from "../page/badges";
import { linkWords, verdictWords } from "./words";

/** The chain as a circuit: current flows from the device to the guest through every closed link. */
export function VerdictChain({ verdict }: { verdict: Verdict }) {
  const open = verdict.links.filter((link) => link.status !== "Pass");
  return (
    <div data-testid="verdict-chain" data-verdict={verdict.class}>
      <div className="verdict-head">
        <strong>{verdictWords[verdict.class]}</strong>
        <OriginBadge origin={verdict.origin} />
        <code className="soft">{verdict.reason}</code>
      </div>
      <p className="soft">{verdict.message}</p>
      <ol className="chain" style={{ marginTop: "0.9rem" }}>
        {verdict.links.map((link) => (
          <li key={link.link} className={link.status} data-testid={`link-${link.link}`} data-status={link.status}>
            <Switch status={link.status} />
            <div className="said">
              <b>{linkWords[link.link]}</b>
              <em>{link.status}</em>
              <code>{link.reason}</code>
            </div>
          </li>
        ))}
      </ol>
      {open.length > 0 && (
        <ul className="findings">
          {open.map((link) => (
            <li key={link.link} className={link.status}>
              <b>{linkWords[link.link]}</b>
              <div>
                {link.message}
                {link.remedy && <p className="remedy"><span>{link.remedy}</span></p>}
              </div>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Switch({ status }: { status: LinkStatus }) {
  return (
    <svg aria-hidden="true">
      <svg x="0" y="0" width="100%" height="50" viewBox="0 0 100 50" preserveAspectRatio="none" style={{ overflow: "visible" }}>
        {status === "Fail"
          ? <><path className="wire" d="M0 32H16" /><path className="wire" d="M16 32L56 12" /><path className="wire" d="M62 32H100" /></>
          : <path className="wire" d="M0 32H100" />}
      </svg>
      <circle cx="16%" cy="32" r="6" fill={status === "Pass" ? "var(--tone)" : "var(--panel)"} stroke="var(--tone)" strokeWidth="3" />
      {status === "Fail" && <circle cx="62%" cy="32" r="6" fill="var(--panel)" stroke="var(--tone)" strokeWidth="3" />}
    </svg>
  );
}
