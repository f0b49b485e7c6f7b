import type { FaultSample } from "../contracts";
import { OriginBadge } from "../page/badges";
import { bucketWords, latencies, type LatencyState, quantileBucket, quantileWords, totalWords } from "./latency";

const quantiles = [["p50", 0.5], ["p90", 0.9], ["p99", 0.99]] as const;
const whole = new Intl.NumberFormat("en-GB");

/** How long device page faults took in the time shown; nothing where no source measures it. */
export function LatencyPanel({ samples, windowSeconds, gap }: { samples: readonly FaultSample[]; windowSeconds: number; gap: number }) {
  return latencies(samples, windowSeconds, gap).map((state) => <Histogram key={state.source} state={state} />);
}

function Histogram({ state }: { state: LatencyState }) {
  const counts = state.counts ?? [];
  const most = Math.max(1, ...counts);
  return (
    <div className="lane" data-testid={`latency-${state.source}`} data-total={state.total ?? "unknown"}>
      <div className="key">
        <div className="row"><h3>Until answered</h3><OriginBadge origin={state.origin} /></div>
        <p className="small soft"><code>{state.source}</code>: {totalWords(state)}</p>
        <dl>
          {quantiles.map(([name, fraction]) => {
            const bucket = quantileBucket(counts, fraction);
            return (
              <div key={name} style={{ display: "contents" }} data-testid={`latency-${state.source}-${name}`}>
                <span />
                <dt>{name}</dt>
                <dd className={bucket === null ? "gap" : undefined}>{quantileWords(state, fraction)}</dd>
              </div>
            );
          })}
        </dl>
      </div>
      <ol className="histogram" aria-label="Answered faults by latency">
        {counts.map((count, bucket) => (
          <li key={bucket} title={`${bucketWords(bucket)}: ${state.lowerBound ? "≥ " : ""}${whole.format(count)}`}>
            <i style={{ height: `${count === 0 ? 0 : Math.max(2, (count / most) * 100)}%` }} />
            <span>{bucket === 0 ? "1 µs" : bucket === 10 ? "1 ms" : bucket === 20 ? "1 s" : ""}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
