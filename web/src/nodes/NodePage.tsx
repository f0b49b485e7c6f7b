import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import type { Capability, FunctionFacts, HugePagePool, NodeInventory, NodeReadinessView, NodeView } from "../contracts";
import { ApiError, get } from "../http/client";
import { keys } from "../http/keys";
import { OriginBadge, PhaseBadge } from "../page/badges";
import { ErrorNote } from "../page/ErrorNote";
import { Link } from "../page/router";
import { FullTime } from "../page/time";
import { VerdictChain } from "../sandboxes/VerdictChain";
import { verdictWords } from "../sandboxes/words";
import { CordonAction } from "./CordonAction";
import { CredentialActions } from "./CredentialActions";
import { rotationWords } from "./credentials";
import { DrainActions } from "./DrainActions";
import { drainWords } from "./drains";
import { Problems } from "./Problems";
import { gib, hugePagesWords, tally } from "./words";

export function NodePage({ id }: { id: string }) {
  const query = useQuery({
    queryKey: keys.node(id),
    queryFn: ({ signal }) => get<NodeReadinessView>(`/v1/nodes/${id}/readiness`, signal),
    // The self checks change without an event.
    refetchInterval: 5000,
  });
  const name = query.data?.nodeName;
  useEffect(() => {
    if (name) document.title = `${name} · Sandbox`;
  }, [name]);
  if (query.error instanceof ApiError && query.error.status === 404) {
    return <div className="panel empty"><p>There is no such node.</p><Link to="/" className="button">Go to the overview</Link></div>;
  }
  if (!query.data) return query.error ? <ErrorNote error={query.error} what="The node could not be read." /> : null;
  return <Readiness node={query.data} />;
}

function Readiness({ node }: { node: NodeReadinessView }) {
  const view = useQuery({ queryKey: [...keys.node(node.nodeId), "view"], queryFn: ({ signal }) => get<NodeView>(`/v1/nodes/${node.nodeId}`, signal), refetchInterval: 5000 }).data;
  const words = view && drainWords(view);
  const rotation = view && rotationWords(view);
  return (
    <>
      <div className="title" data-testid="node-header">
        <div>
          <p className="crumb"><Link to="/">Nodes</Link></p>
          <h1>{node.nodeName}</h1>
          <div className="under-title">
            <PhaseBadge phase={node.phase} large />
            <span className="soft" data-testid="can-run">{node.canRunSandboxes ? "Sandboxes can run here." : "No sandbox can run here now."}</span>
            {words && <span className="soft" data-testid="drain-state">{words} {view.drain && !view.drain.drainedAt && <>What is left is stopped on <FullTime at={view.drain.deadline} />.</>}</span>}
            {rotation && <span className="soft" data-testid="rotation-state">{rotation}</span>}
          </div>
        </div>
        <div className="head-actions"><CordonAction node={node} />{view && <DrainActions node={view} />}{view && <CredentialActions node={view} />}</div>
      </div>
      <div className="stack">
        {view?.refusal && <section className="panel" aria-label="Refusal"><div className="body"><Problems of={node.nodeName} problems={[view.refusal]} /></div></section>}
        {node.problems.length > 0 && <section className="panel" aria-label="Problems"><div className="body"><Problems of={node.nodeName} problems={node.problems} /></div></section>}
        {node.inventory
          ? <><Host inventory={node.inventory} pools={view?.facts?.hugePages ?? null} /><Functions functions={node.inventory.functions} /></>
          : <p className="panel empty">Its worker has not told what the host has.</p>}
      </div>
    </>
  );
}

/** Pools are of the last report, the rest is as it was when the worker started. */
function Host({ inventory, pools }: { inventory: NodeInventory; pools: readonly HugePagePool[] | null }) {
  const emulated = inventory.functions.map((each) => each.verdict.origin).find((origin) => origin !== "Hardware");
  return (
    <section className="panel" aria-labelledby="host-title" data-testid="host">
      <header><h2 id="host-title">Host</h2>{emulated && <OriginBadge origin={emulated} />}<span className="soft small">read <FullTime at={inventory.readAt} /></span></header>
      <dl className="facts body">
        {inventory.cpus.map((cpu) => <div key={`${cpu.implementer}-${cpu.part}`}><dt>Cores</dt><dd>{cpu.count} {cpu.name ?? <>of implementer <code>0x{cpu.implementer.toString(16)}</code>, part <code>0x{cpu.part.toString(16)}</code></>}</dd></div>)}
        {inventory.numa.map((numa) => <div key={numa.number}><dt>NUMA node {numa.number}</dt><dd>CPUs {numa.cpus ?? "unknown"}, {numa.memoryMib === null ? "memory unknown" : gib(numa.memoryMib)}{hugePagesWords(pools === null ? numa.hugePages : pools.filter((pool) => pool.numaNode === numa.number))}</dd></div>)}
        {pools?.some((pool) => pool.numaNode === null) && <div><dt>Huge pages</dt><dd>{hugePagesWords(pools.filter((pool) => pool.numaNode === null)).replace(/^, /, "") || "none"}</dd></div>}
        {inventory.smmus.map((smmu) => (
          <div key={smmu.name} data-testid="smmu"><dt>{smmu.isSmmuV3 ? "SMMUv3" : "IOMMU"}</dt><dd><code>{smmu.name}</code><br /><span className="small soft">{!smmu.isSmmuV3 ? "no SMMUv3" : smmu.features === null ? "features unknown" : `${smmu.outputBits}-bit, ${smmu.features.join(", ")}`}</span></dd></div>
        ))}
        {inventory.smmus.length === 0 && <div><dt>IOMMU</dt><dd>none</dd></div>}
        {inventory.uacce.map((one) => <div key={one.name}><dt>uacce</dt><dd><code>{one.name}</code> {one.algorithms}, shares addresses: <Known value={one.sharesAddresses} /></dd></div>)}
      </dl>
    </section>
  );
}

function Functions({ functions }: { functions: FunctionFacts[] }) {
  return (
    <section className="panel" aria-labelledby="functions-title" data-testid="functions">
      <header><h2 id="functions-title">PCI functions</h2><span className="soft small">{tally(functions)}</span></header>
      {functions.length === 0 && <p className="empty">The worker found no PCI function.</p>}
      {functions.map((one) => <FunctionRow key={one.address} one={one} />)}
    </section>
  );
}

/** The chain is drawn only once it is asked for: a host may have a thousand functions. */
function FunctionRow({ one }: { one: FunctionFacts }) {
  const [open, setOpen] = useState(false);
  const c = one.capabilities;
  return (
    <details className="function" onToggle={(event) => setOpen(event.currentTarget.open)} data-testid={`function-${one.address}`}>
      <summary>
        <code>{one.address}</code> <span className="soft small">{one.vendorId}:{one.deviceId}, {one.driver ? <>driver <code>{one.driver}</code></> : "no driver"}, {one.iommuGroup === null ? "no group" : `group ${one.iommuGroup}`}</span>
        <b>{verdictWords[one.verdict.class]}</b>
      </summary>
      {open && (
        <div className="body">
          <p className="small capabilities">
            {([["ATS", c.ats], ["PASID", c.pasid], ["PRI", c.pri], ["FLR", c.flr], ["ACS", c.acs], ["SR-IOV", c.sriov]] as const).map(([name, value]) => <span key={name}>{name} <Known value={value} /></span>)}
            <span>resets {one.resetMethods === null ? "unknown" : one.resetMethods.length === 0 ? "none" : one.resetMethods.join(", ")}</span>
            {one.physicalFunction && <span>of <code>{one.physicalFunction}</code></span>}
          </p>
          <VerdictChain verdict={one.verdict} />
        </div>
      )}
    </details>
  );
}

/** What could not be read is said to be unknown, never no. */
function Known({ value }: { value: Capability }) {
  return <b className={value === null ? "unread" : undefined}>{value === null ? "unknown" : value ? "yes" : "no"}</b>;
}
