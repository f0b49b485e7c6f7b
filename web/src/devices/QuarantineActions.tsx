import { useState } from "react";
import type { DeviceView } from "../contracts";
import { Ask } from "../page/Dialog";
import { useRights } from "../session/rights";
import { maxMessage, quarantineActionsFor, useQuarantine } from "./quarantine";

/** Takes a device out of service, or puts it back. */
export function QuarantineActions({ device }: { device: DeviceView }) {
  const wish = useQuarantine(device);
  const can = quarantineActionsFor(device);
  const [asking, setAsking] = useState(false);
  const [message, setMessage] = useState("");
  const { changeService } = useRights();
  if (!changeService) return null;
  return (
    <div className="actions">
      {can.quarantine && <button type="button" className="danger compact" disabled={wish.isPending} onClick={() => setAsking(true)} aria-label={`Quarantine ${device.address}`} data-testid="quarantine-button">Quarantine</button>}
      {can.release && <button type="button" className="compact" disabled={wish.isPending} onClick={() => wish.mutate({ verb: "release" })} aria-label={`Release ${device.address}`} data-testid="release-button">Release</button>}
      {asking && (
        <Ask
          title={`Quarantine ${device.address}?`}
          action="Quarantine"
          danger
          onNo={() => setAsking(false)}
          onYes={() => {
            setAsking(false);
            wish.mutate({ verb: "quarantine", message });
            setMessage("");
          }}
        >
          <p>{device.phase === "Assigned" ? "Its guest goes on. Afterwards it is handed out no more, until it is released." : "It is handed out no more, until it is released."}</p>
          <div className="field">
            <label htmlFor="quarantine-message">Why</label>
            <input id="quarantine-message" value={message} maxLength={maxMessage} onChange={(event) => setMessage(event.target.value)} autoComplete="off" data-testid="quarantine-message" />
          </div>
        </Ask>
      )}
    </div>
  );
}
