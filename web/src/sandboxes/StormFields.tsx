import { type StormAction, stormSources } from "../contracts";
import type { Draft } from "./draft";
import { stormActionWords } from "./words";

interface StormFieldsProps {
  draft: Draft;
  wrong: readonly string[];
  onChange: <K extends keyof Draft>(field: K, value: Draft[K]) => void;
}

/** The storm policy, folded: most sandboxes have none. What the API says of it unfolds it. */
export function StormFields({ draft, wrong, onChange }: StormFieldsProps) {
  return (
    <details className="field full storm-policy" {...(wrong.length > 0 ? { open: true } : {})} data-testid="create-storm">
      <summary>Fault storm policy</summary>
      <div className="row">
        <label>From <input inputMode="decimal" value={draft.stormPerSecond} placeholder="no policy" onChange={(event) => onChange("stormPerSecond", event.target.value)} data-testid="create-storm-rate" /></label>
        <label>faults a second over <input inputMode="numeric" value={draft.stormWindow} placeholder="30" onChange={(event) => onChange("stormWindow", event.target.value)} data-testid="create-storm-window" /> s</label>
        <label>of
          {" "}
          <select value={draft.stormSource} onChange={(event) => onChange("stormSource", event.target.value)} data-testid="create-storm-source">
            <option value="">what its devices do</option>
            {stormSources.map((one) => <option key={one}>{one}</option>)}
          </select>
        </label>
        <label>it is
          {" "}
          <select value={draft.stormAction} onChange={(event) => onChange("stormAction", event.target.value as StormAction)} data-testid="create-storm-action">
            {(Object.keys(stormActionWords) as StormAction[]).map((one) => <option key={one} value={one}>{stormActionWords[one]}</option>)}
          </select>
        </label>
      </div>
      {wrong.length > 0 && <span className="wrong" role="alert" data-testid="error-faultStorm">{wrong.join(" ")}</span>}
    </details>
  );
}
