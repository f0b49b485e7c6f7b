import { type StormAction, stormSources } from "../contracts";
import type { StormDraft } from "./draft";
import { stormActionWords } from "./words";

interface StormFieldsProps {
  draft: StormDraft;
  wrong: readonly string[];
  onChange: (change: Partial<StormDraft>) => void;
}

/** In the create form the storm policy is folded: most sandboxes have none. What the API says of it unfolds it. */
export function StormFields(props: StormFieldsProps) {
  return (
    <details className="field full storm-policy" {...(props.wrong.length > 0 ? { open: true } : {})} data-testid="create-storm">
      <summary>Fault storm policy</summary>
      <StormRow {...props} />
    </details>
  );
}

export function StormRow({ draft, wrong, onChange }: StormFieldsProps) {
  return (
    <>
      <div className="row">
        <label>From, faults a second <input inputMode="decimal" value={draft.stormPerSecond} placeholder="no policy" onChange={(event) => onChange({ stormPerSecond: event.target.value })} data-testid="create-storm-rate" /></label>
        <label>over <span><input inputMode="numeric" value={draft.stormWindow} placeholder="30" onChange={(event) => onChange({ stormWindow: event.target.value })} data-testid="create-storm-window" /> s</span></label>
        <label>of
          {" "}
          <select value={draft.stormSource} onChange={(event) => onChange({ stormSource: event.target.value })} data-testid="create-storm-source">
            <option value="">what its devices do</option>
            {stormSources.map((one) => <option key={one}>{one}</option>)}
          </select>
        </label>
        <label>it is
          {" "}
          <select value={draft.stormAction} onChange={(event) => onChange({ stormAction: event.target.value as StormAction })} data-testid="create-storm-action">
            {(Object.keys(stormActionWords) as StormAction[]).map((one) => <option key={one} value={one}>{stormActionWords[one]}</option>)}
          </select>
        </label>
      </div>
      {wrong.length > 0 && <span className="wrong" role="alert" data-testid="error-faultStorm">{wrong.join(" ")}</span>}
    </>
  );
}
