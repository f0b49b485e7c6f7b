import type { ProbeResult } from "../contracts";
import { duration } from "./phases";

export function ProbePanel({ results }: { results: readonly ProbeResult[] | null }) {
  return (
    <section className="panel" aria-labelledby="probe-title" data-testid="probe">
      <header><h2 id="probe-title">Shared-address probe</h2></header>
      {results === null && <p className="empty">The guest agent has not reported its probe.</p>}
      {results?.length === 0 && <p className="empty">The guest has no function that the probe can drive.</p>}
      {results && results.length > 0 && (
        <div className="body">{results.map((result) => <Probe key={result.pciAddress} result={result} />)}</div>
      )}
    </section>
  );
}

function Probe({ result }: { result: ProbeResult }) {
  const tone = result.outcome === "Passed" ? "Pass" : result.outcome === "Failed" ? "Fail" : "Unknown";
  return (
    <article className="probe" data-testid={`probe-${result.pciAddress}`} data-outcome={result.outcome}>
      <div className="row">
        <h3 className={tone} style={{ color: "var(--tone)" }}>{result.outcome}</h3>
        <code>{result.pciAddress}</code>
        <code className="soft">{result.vendorId}:{result.deviceId}</code>
        <code className="soft">{result.reason}</code>
      </div>
      <p className="soft">{result.message}</p>
      {result.iovaEqualsVa && (
        <div className="pointer">
          <div><span>Pointer in the guest process</span><code>{result.iovaEqualsVa}</code></div>
          <div className="ways">
            <Way done={result.deviceReadMatched} label="device read" arrow="⟶" />
            <Way done={result.deviceWroteMatched} label="device wrote" arrow="⟵" />
          </div>
          <div><span>Address given to the device</span><code>{result.iovaEqualsVa}</code></div>
        </div>
      )}
      <div className="ticks">
        <Capability name="PASID" has={result.pasid} />
        <Capability name="ATS" has={result.ats} />
        <Capability name="PRI" has={result.pri} />
        <span>IOMMU driver {result.iommuDriver ? <code>{result.iommuDriver}</code> : <span className="soft">not known</span>}</span>
        <span>Unmapped DMA {result.unmappedAccess ?? <span className="soft">not sent</span>}</span>
        <span>Took {duration(result.elapsedMicroseconds / 1000)}</span>
      </div>
    </article>
  );
}

function Way({ done, label, arrow }: { done: boolean | null; label: string; arrow: string }) {
  const tone = done === true ? "Pass" : done === false ? "Fail" : "Unknown";
  return (
    <span className={tone}>
      <i>{arrow} {done === true ? "equal" : done === false ? "differs" : "not tried"}</i>
      {label}
    </span>
  );
}

function Capability({ name, has }: { name: string; has: boolean | null }) {
  return <span>{name} {has === null ? <span className="soft">could not be read</span> : has ? <b>yes</b> : <b>no</b>}</span>;
}
