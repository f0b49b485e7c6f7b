import type { DeviceClassView } from "../contracts";
import { OriginBadge } from "../page/badges";
import { acceleratorOf, type Draft, messagesFor } from "./draft";

interface AcceleratorFieldsProps {
  chosen: Draft["accelerators"];
  classes: readonly DeviceClassView[];
  errors: Readonly<Record<string, readonly string[]>>;
  onChange: (next: Draft["accelerators"]) => void;
}

export function AcceleratorFields({ chosen, classes, errors, onChange }: AcceleratorFieldsProps) {
  const wrong = messagesFor(errors, "accelerators");
  const set = (index: number, part: Partial<Draft["accelerators"][number]>) =>
    onChange(chosen.map((one, at) => (at === index ? { ...one, ...part } : one)));
  return (
    <fieldset className="field full">
      <legend>Accelerators</legend>
      {chosen.map((one, index) => {
        const origin = classes.find((known) => known.name === one.class)?.origin;
        return (
          <div className="accelerator" key={index}>
            <select aria-label={`Class of accelerator ${index + 1}`} value={one.class} onChange={(event) => set(index, { class: event.target.value })} data-testid="create-accelerator-class">
              {classes.map((known) => <option key={known.name} value={known.name}>{known.name}: {known.available} of {known.total} free</option>)}
            </select>
            <input aria-label={`Count of accelerator ${index + 1}`} inputMode="numeric" value={one.count} onChange={(event) => set(index, { count: event.target.value })} data-testid="create-accelerator-count" />
            <span>{origin && <OriginBadge origin={origin} />}</span>
            <button type="button" className="plain compact" onClick={() => onChange(chosen.filter((_, at) => at !== index))} aria-label={`Remove accelerator ${index + 1}`}>✕</button>
          </div>
        );
      })}
      <div className="row">
        <button
          type="button" className="compact" disabled={classes.length === 0 || chosen.length >= 8}
          onClick={() => onChange([...chosen, acceleratorOf(classes[0]?.name ?? "")])} data-testid="create-add-accelerator"
        >
          Add accelerator
        </button>
        {classes.length === 0 && <span className="hint">No node offers a device yet.</span>}
      </div>
      {wrong.length > 0 && <span className="wrong" role="alert" data-testid="error-accelerators">{wrong.join(" ")}</span>}
    </fieldset>
  );
}
