import { type CSSProperties, useState } from "react";
import { ErrorNote } from "../page/ErrorNote";
import { OriginBadge } from "../page/badges";
import { Age, useNow } from "../page/time";
import { countWords, type Lane, lanes, originOf, rateWords, statesOf } from "./lanes";
import { LanePlot } from "./LanePlot";
import { LatencyPanel } from "./LatencyPanel";
import { gapMilliseconds, type SourceState } from "./rates";
import { useFaultHistory } from "./useFaultHistory";
import { useFaultSamples } from "./useFaultSamples";

const staleMilliseconds = 10_000;
const windows = [["1 min", 60], ["5 min", 300], ["15 min", 900], ["6 h", 21_600], ["24 h", 86_400], ["7 d", 604_800]] as const;
/** What is kept of the live stream; a longer time is read from the store. */
const liveSeconds = 900;

export function FaultPanel({ sandboxId }: { sandboxId: string }) {
  const { samples, problem } = useFaultSamples(sandboxId);
  const [windowSeconds, setWindowSeconds] = useState<number>(60);
  const isLong = windowSeconds > liveSeconds;
  const long = useFaultHistory(sandboxId, isLong ? windowSeconds : null);
  const drawn = isLong ? long.samples : samples;
  const gap = isLong ? long.stepSeconds * gapMilliseconds : gapMilliseconds;
  const live = statesOf(samples);
  const { others, unobserved } = live;
  // A guest that has ended long ago is in its history only.
  const bySource = samples.length > 0 ? live.bySource : statesOf(drawn).bySource;
  const now = useNow();
  const last = samples.at(-1);
  const stale = last === undefined || now - Date.parse(last.at) > staleMilliseconds;
  // Not every kind of sandbox has every layer, and what nobody observes is listed below with its reason.
  const shown = lanes.filter((lane) => lane.sources.some((one) => (bySource.get(one.source)?.value ?? null) !== null));
  return (
    <section className="panel" aria-labelledby="faults-title" data-testid="fault-chart" data-samples={samples.length}>
      <header>
        <h2 id="faults-title">Faults a second</h2>
        {last && stale && <span className="small soft" data-testid="faults-stale">Last sample <Age at={last.at} /> ago</span>}
        <div className="segmented" role="group" aria-label="Time shown">
          {windows.map(([label, seconds]) => (
            <button key={seconds} type="button" aria-pressed={windowSeconds === seconds} onClick={() => setWindowSeconds(seconds)}>{label}</button>
          ))}
        </div>
      </header>
      {(problem ?? long.problem) !== null && <div className="body"><ErrorNote error={problem ?? long.problem} what="The history could not be read." /></div>}
      {samples.length === 0 && !isLong && <p className="empty">No sample in the last 15 minutes. While the guest runs, one comes each second.</p>}
      {drawn.length > 0 && shown.map((lane, index) => (
        <div className="lane" key={lane.id} data-testid={`lane-${lane.id}`}>
          <LaneKey lane={lane} bySource={bySource} stale={stale} />
          <LanePlot lane={lane} samples={drawn} windowSeconds={windowSeconds} gap={gap} axis={index === shown.length - 1} />
        </div>
      ))}
      <LatencyPanel samples={drawn} windowSeconds={windowSeconds} gap={gap} />
      {isLong && <p className="small soft lane-note" data-testid="fault-step">{drawn.length === 0 ? "Nothing is stored of this time." : `One sample every ${long.stepSeconds} s, from what is stored. What is written beside the lanes is of now.`}</p>}
      {others.length > 0 && (
        <div className="table-frame fault-types">
          <table>
            <thead><tr><th scope="col">Other sources</th><th scope="col">Since the guest’s start</th><th scope="col">Now</th><th scope="col">Origin</th></tr></thead>
            <tbody>{others.map((state) => <OtherRow key={state.source} state={state} stale={stale} />)}</tbody>
          </table>
        </div>
      )}
      {unobserved.length > 0 && (
        <ul className="unobserved" data-testid="unobserved">
          {unobserved.map(({ reason, origin, sources }) => (
            <li key={`${reason} ${origin}`} data-reason={reason}>
              <span>Not observed, <code>{reason}</code>:</span> {sources.map((source) => <code key={source}>{source}</code>)} <OriginBadge origin={origin} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function LaneKey({ lane, bySource, stale }: { lane: Lane; bySource: ReadonlyMap<string, SourceState>; stale: boolean }) {
  const origin = originOf(lane, bySource);
  return (
    <div className="key">
      <div className="row"><h3>{lane.title}</h3>{origin && <OriginBadge origin={origin} />}</div>
      <dl>
        {lane.sources.map(({ source, label, token }) => {
          const state = bySource.get(source);
          const rate = state && !stale ? rateWords(state) : null;
          return (
            <div key={source} style={{ display: "contents", "--tone": `var(${token})` } as CSSProperties} data-testid={`rate-${source}`}>
              <i aria-hidden="true" />
              <dt title={state ? `${countWords(state)} since the guest’s start` : undefined}>{label}</dt>
              <dd className={rate ? undefined : "gap"}>{rate ?? (state?.value === null ? "not observed" : stale ? "no rate now" : "no rate yet")}</dd>
            </div>
          );
        })}
      </dl>
    </div>
  );
}

function OtherRow({ state, stale }: { state: SourceState; stale: boolean }) {
  return (
    <tr data-testid={`source-${state.source}`}>
      <td><code>{state.source}</code></td>
      <td className="num">{countWords(state)}</td>
      <td className="num">{(stale ? null : rateWords(state)) ?? <span className="soft">{stale ? "no sample" : stale ? "no rate now" : "no rate yet"}</span>}</td>
      <td><OriginBadge origin={state.origin} /></td>
    </tr>
  );
}
