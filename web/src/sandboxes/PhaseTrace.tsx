import type { CSSProperties } from "react";
import type { PhaseEntry } from "../contracts";
import { toneOf } from "../page/badges";
import { At, useNow } from "../page/time";
import { duration, type PhaseSpan, phaseSpans, runsOf } from "./phases";

export function PhaseTrace({ entries }: { entries: readonly PhaseEntry[] }) {
  const now = useNow();
  const runs = runsOf(entries);
  const spans = runs.map((run, index) => phaseSpans(run, index === runs.length - 1 ? now : Date.parse(runs[index + 1]?.[0]?.at ?? "")));
  const earlier = spans.slice(0, -1);
  return (
    <div data-testid="phase-timeline">
      <Trace spans={spans.at(-1) ?? []} present />
      {earlier.length > 0 && (
        <details className="earlier">
          <summary>{earlier.length === 1 ? "One earlier start" : `${earlier.length} earlier starts`}</summary>
          {earlier.map((run) => <Trace key={run[0]?.startedAt} spans={run} />)}
        </details>
      )}
    </div>
  );
}

/** Widths grow with the logarithm of the duration: 20 ms and 20 minutes both stay readable. */
function Trace({ spans, present }: { spans: readonly PhaseSpan[]; present?: boolean }) {
  return (
    <ol className="trace">
      {spans.map((span) => {
        const open = span.open && present === true;
        const style = { "--grow": (1 + Math.log10(1 + span.milliseconds)).toFixed(2), "--tone": `var(--${toneOf(span.phase)})` } as CSSProperties;
        return (
          <li key={`${span.phase}${span.startedAt}`} className={open ? "open" : undefined} style={style} data-testid={`phase-span-${span.phase}`}>
            <b>{span.phase}</b>
            <div className="wave" aria-hidden="true" />
            <span>{duration(span.milliseconds)}{open && " so far"} <small className="soft"><At at={new Date(span.startedAt).toISOString()} /></small></span>
          </li>
        );
      })}
    </ol>
  );
}
