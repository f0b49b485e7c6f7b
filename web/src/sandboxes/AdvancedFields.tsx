import type { HugePageSize, PlacementRules, RestartWhen, VerdictClass } from "../contracts";
import { type Draft, messagesFor, takesHugePages } from "./draft";
import { hugePageWords, restartWords, strategyWords, verdictWords } from "./words";

interface AdvancedFieldsProps {
  draft: Draft;
  errors: Readonly<Record<string, readonly string[]>>;
  onChange: (change: Partial<Draft>) => void;
}

const verdicts: readonly VerdictClass[] = ["GuestSvaDeviceFaults", "GuestSvaPrefaultOnly", "PassthroughOnly"];

/** What most sandboxes leave as it is. What the API says of it unfolds it. */
export function AdvancedFields({ draft, errors, onChange }: AdvancedFieldsProps) {
  const wrong = ["priority", "hugePages", "restart", "placement"].flatMap((field) => messagesFor(errors, field));
  const setDevice = (index: number, part: Partial<Draft["accelerators"][number]>) =>
    onChange({ accelerators: draft.accelerators.map((one, at) => (at === index ? { ...one, ...part } : one)) });
  return (
    <details className="field full advanced" {...(wrong.length > 0 ? { open: true } : {})} data-testid="create-advanced">
      <summary>Advanced: priority, memory pages, restarts, placement</summary>
      <div className="row">
        <label>Priority <input inputMode="numeric" value={draft.priority} placeholder="0" onChange={(event) => onChange({ priority: event.target.value })} data-testid="create-priority" /></label>
        <label>Huge pages
          {" "}
          <select value={draft.hugePages} disabled={!takesHugePages(draft.vmm)} onChange={(event) => onChange({ hugePages: event.target.value as HugePageSize })} data-testid="create-huge-pages">
            {(Object.keys(hugePageWords) as HugePageSize[]).map((one) => <option key={one} value={one}>{hugePageWords[one]}</option>)}
          </select>
        </label>
        <label>Among nodes that fit
          {" "}
          <select value={draft.strategy} onChange={(event) => onChange({ strategy: event.target.value as PlacementRules["strategy"] })} data-testid="create-strategy">
            {(Object.keys(strategyWords) as PlacementRules["strategy"][]).map((one) => <option key={one} value={one}>{strategyWords[one]}</option>)}
          </select>
        </label>
      </div>
      <div className="row">
        <label>Started again
          {" "}
          <select value={draft.restart} onChange={(event) => onChange({ restart: event.target.value as RestartWhen })} data-testid="create-restart">
            {(Object.keys(restartWords) as RestartWhen[]).map((one) => <option key={one} value={one}>{restartWords[one]}</option>)}
          </select>
        </label>
        {draft.restart !== "Never" && (
          <>
            <label>at most <span><input inputMode="numeric" value={draft.maxRestarts} placeholder="any" onChange={(event) => onChange({ maxRestarts: event.target.value })} data-testid="create-max-restarts" /> times in a row</span></label>
            <label>first after <span><input inputMode="numeric" value={draft.backoff} placeholder="10" onChange={(event) => onChange({ backoff: event.target.value })} data-testid="create-backoff" /> s</span></label>
          </>
        )}
      </div>
      {draft.accelerators.map((one, index) => (
        <div className="row" key={index}>
          <span>Each {one.class}:</span>
          <label>vendor <input value={one.vendorId} placeholder="any" maxLength={4} spellCheck={false} autoComplete="off" onChange={(event) => setDevice(index, { vendorId: event.target.value })} aria-label={`Vendor of accelerator ${index + 1}`} data-testid="create-vendor" /></label>
          <label>device <input value={one.deviceId} placeholder="any" maxLength={4} spellCheck={false} autoComplete="off" onChange={(event) => setDevice(index, { deviceId: event.target.value })} aria-label={`Device id of accelerator ${index + 1}`} data-testid="create-device" /></label>
          <label>judged at least
            {" "}
            <select value={one.minVerdict} onChange={(event) => setDevice(index, { minVerdict: event.target.value as VerdictClass | "" })} aria-label={`Verdict of accelerator ${index + 1}`} data-testid="create-verdict">
              <option value="">any</option>
              {verdicts.map((verdict) => <option key={verdict} value={verdict}>{verdictWords[verdict]}</option>)}
            </select>
          </label>
        </div>
      ))}
      {wrong.length > 0 && <span className="wrong" role="alert" data-testid="error-advanced">{wrong.join(" ")}</span>}
    </details>
  );
}
