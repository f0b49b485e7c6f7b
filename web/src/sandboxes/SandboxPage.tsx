import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { ConsolePanel } from "../console/ConsolePanel";
import type { SandboxView } from "../contracts";
import { FaultPanel } from "../faults/FaultPanel";
import { ApiError, get } from "../http/client";
import { keys } from "../http/keys";
import { OriginBadge, PhaseBadge, StormBadge } from "../page/badges";
import { ErrorNote } from "../page/ErrorNote";
import { Link } from "../page/router";
import { FullTime } from "../page/time";
import { useRights } from "../session/rights";
import { Conditions } from "./Conditions";
import { PhaseTrace } from "./PhaseTrace";
import { ProbePanel } from "./ProbePanel";
import { RowActions } from "./RowActions";
import { StormPolicyDialog } from "./StormPolicyDialog";
import { VerdictChain } from "./VerdictChain";
import { hugePageWords, placementWords, restartWords, runByOf, runsGuest, stormPolicyWords, stormWords, viommuWords, vmmWords } from "./words";

export function SandboxPage({ id }: { id: string }) {
  const query = useQuery({
    queryKey: keys.sandbox(id),
    queryFn: ({ signal }) => get<SandboxView>(`/v1/sandboxes/${encodeURIComponent(id)}`, signal),
  });
  const name = query.data?.name;
  useEffect(() => {
    document.title = `${name ?? "Sandbox"} · Sandbox`;
  }, [name]);

  if (query.error instanceof ApiError && [400, 404].includes(query.error.status)) {
    return (
      <div className="panel empty" data-testid="sandbox-gone">
        <p>{name ? `${name} has been deleted. Nothing of it is left.` : "There is no such sandbox, or it has been deleted."}</p>
        <Link to="/" className="button">Go to the overview</Link>
      </div>
    );
  }
  if (!query.data) return query.error ? <ErrorNote error={query.error} what="The sandbox could not be read." /> : null;
  return <Details sandbox={query.data} />;
}

function Details({ sandbox }: { sandbox: SandboxView }) {
  return (
    <>
      <div className="title" data-testid="sandbox-header">
        <div>
          <p className="crumb"><Link to="/">Sandboxes</Link></p>
          <h1>{sandbox.name}</h1>
          <div className="under-title">
            <PhaseBadge phase={sandbox.phase} large />
            {sandbox.origin && <OriginBadge origin={sandbox.origin} />}
            <StormBadge storm={stormWords(sandbox)} />
            {sandbox.desired === "Deleted" ? <span className="soft">being deleted</span> : sandbox.desired === "Stopped" && sandbox.phase !== "Stopped" ? <span className="soft">asked to stop</span> : null}
          </div>
        </div>
        <RowActions sandbox={sandbox} full />
      </div>
      <div className="stack">
        {sandbox.failure && (
          <div className="notice bad" data-testid="failure">
            <strong>{sandbox.failure.message}</strong> <code>{sandbox.failure.reason}</code> <span className="soft small">at <FullTime at={sandbox.failure.at} /></span>
            <p className="remedy"><span>{sandbox.failure.remedy}</span></p>
          </div>
        )}
        <section className="panel" aria-labelledby="phases-title">
          <header><h2 id="phases-title">Phases</h2><span className="soft small">Start {sandbox.incarnation}</span></header>
          <div className="body"><PhaseTrace entries={sandbox.phases} /></div>
        </section>
        {sandbox.verdict && (
          <section className="panel" aria-labelledby="verdict-title">
            <header><h2 id="verdict-title">Shared virtual addressing</h2></header>
            <div className="body"><VerdictChain verdict={sandbox.verdict} /></div>
          </section>
        )}
        <FaultPanel sandboxId={sandbox.id} />
        <div className="columns">
          <div className="stack">
            {runsGuest(sandbox) && <ConsolePanel sandboxId={sandbox.id} name={sandbox.name} />}
            <ProbePanel results={sandbox.probe} />
          </div>
          <div className="stack">
            <section className="panel" aria-labelledby="conditions-title">
              <header><h2 id="conditions-title">Conditions</h2></header>
              <Conditions conditions={sandbox.conditions} />
            </section>
            <Facts sandbox={sandbox} />
          </div>
        </div>
      </div>
    </>
  );
}

function Facts({ sandbox }: { sandbox: SandboxView }) {
  const { operate } = useRights();
  const [changing, setChanging] = useState(false);
  const guest = sandbox.guest;
  const runBy = runByOf(sandbox);
  const labels = Object.entries(sandbox.labels);
  return (
    <section className="panel" aria-labelledby="facts-title">
      <header><h2 id="facts-title">Machine</h2></header>
      <dl className="facts body">
        <div><dt>Image</dt><dd>{sandbox.image}</dd></div>
        <div><dt>vCPUs</dt><dd className="num">{sandbox.vcpus}</dd></div>
        <div><dt>Memory</dt><dd className="num">{sandbox.memoryMib} MiB{sandbox.hugePages !== "None" && <>, on pages of {hugePageWords[sandbox.hugePages]}</>}</dd></div>
        <div><dt>IOMMU</dt><dd>{viommuWords[sandbox.viommu]}</dd></div>
        <div data-testid="vmm"><dt>VMM</dt><dd>{vmmWords[sandbox.vmm]}</dd></div>
        <div><dt>Node</dt><dd>{sandbox.nodeName ?? "not placed"}{sandbox.wantedNode && sandbox.wantedNode !== sandbox.nodeName ? `, wants ${sandbox.wantedNode}` : ""}</dd></div>
        {sandbox.priority !== 0 && <div><dt>Priority</dt><dd className="num">{sandbox.priority}</dd></div>}
        {sandbox.placement && <div><dt>Placement</dt><dd>{placementWords(sandbox.placement)}</dd></div>}
        {sandbox.preemptAt && <div data-testid="preempt-at"><dt>Ends</dt><dd>on <FullTime at={sandbox.preemptAt} />, for one of higher priority</dd></div>}
        {runBy && <div data-testid="run-by"><dt>Guest run by</dt><dd>{runBy === "Kvm" ? "KVM" : <span className="origin Emulated">TCG, emulated</span>}</dd></div>}
        {sandbox.devices.map((device) => (
          <div key={device.id} data-testid="device"><dt>Device</dt><dd className="row">{device.class} <code>{device.address}</code> <OriginBadge origin={device.origin} /></dd></div>
        ))}
        {guest && <div><dt>Guest kernel</dt><dd><code>{guest.kernel}</code></dd></div>}
        {guest && <div><dt>Guest agent</dt><dd><code>{guest.agentVersion}</code></dd></div>}
        {sandbox.lease && <div><dt>Lease</dt><dd>{sandbox.lease.onExpiry === "Delete" ? "deleted" : "stopped"}{sandbox.lease.expiresAt && <> on <FullTime at={sandbox.lease.expiresAt} /></>}{sandbox.lease.idleTimeoutSeconds !== null && <>{sandbox.lease.expiresAt && ","} after {sandbox.lease.idleTimeoutSeconds} s without use</>}</dd></div>}
        {sandbox.restart && <div><dt>Restart</dt><dd>{restartWords[sandbox.restart.policy]}{sandbox.restart.restarts > 0 && `, ${sandbox.restart.restarts} in a row`}{sandbox.restart.at && <>, next on <FullTime at={sandbox.restart.at} /></>}</dd></div>}
        <div data-testid="storm-policy">
          <dt>Storm policy</dt>
          <dd className="row">
            {sandbox.faultStorm ? stormPolicyWords(sandbox.faultStorm) : "none"}
            {operate && sandbox.desired !== "Deleted" && <button type="button" className="compact" onClick={() => setChanging(true)} data-testid="storm-change">{sandbox.faultStorm ? "Change" : "Set"}</button>}
          </dd>
        </div>
        {labels.length > 0 && <div><dt>Labels</dt><dd>{labels.map(([key, value]) => <code key={key}>{key}={value} </code>)}</dd></div>}
        <div><dt>Created</dt><dd><FullTime at={sandbox.createdAt} /></dd></div>
        <div><dt>Id</dt><dd><code>{sandbox.id}</code></dd></div>
      </dl>
      {changing && <StormPolicyDialog sandbox={sandbox} onClose={() => setChanging(false)} />}
    </section>
  );
}
