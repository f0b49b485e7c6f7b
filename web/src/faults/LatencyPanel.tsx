import type { FaultSample } from "../contracts";
import { OriginBadge } from "../page/badges";
import { bucketWords, latencies, type LatencyState, quantileBucket, sum } from "./latency";

const quantiles = [["p50", 0.5], ["p90", 0.9], ["p99", 0.99]] as const;
const whole = new Intl.NumberFormat("en-GB");

/** How long device page faults took in the time shown; nothing where no source measures it. */
export function LatencyPanel({ samples, windowSeconds }: { samples: readonly FaultSample[]; windowSeconds: number }) {
  return latencies(samples, windowSeconds).map((state) => <Histogram key={state.source} state={state} />);
}

function Histogram({ state }: { state: LatencyState }) {
  const counts = state.counts ?? [];
  const total = state.counts && sum(state.counts);
  const most = Math.max(1, ...counts);
  return (
    <div className="lane" data-testid={`latency-${state.source}`} data-total={total ?? "unknown"}>
      <div className="key">
        <div className="row"><h3>Until answered</h3><OriginBadge origin={state.origin} /></div>
        <p className="small soft"><code>{state.source}</code>: {total === null ? "not known" : `${state.lowerBound ? "≥ " : ""}${whole.format(total)}`} in the time shown</p>
        <dl>
          {quantiles.map(([name, fraction]) => {
            const bucket = quantileBucket(counts, fraction);
            return (
              <div key={name} style={{ display: "contents" }} data-testid={`latency-${state.source}-${name}`}>
                <span />
                <dt>{name}</dt>
                <dd className={bucket === null ? "gap" : undefined}>{bucket !== null ? bucketWords(bucket) : total === null || state.lowerBound ? "not known" : "none answered"}</dd>
              </div>
            );
          })}
        </dl>
      </div>
      <ol className="histogram" aria-label="Answered faults by latency">
        {counts.map((count, bucket) => (
          <li key={bucket} title={`${bucketWords(bucket)}: ${whole.format(count)}`}>
            <i style={{ height: `${count === 0 ? 0 : Math.max(2, (count / most) * 100)}%` }} />
            <span>{bucket === 0 ? "1 µs" : bucket === 10 ? "1 ms" : bucket === 20 ? "1 s" : ""}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
