import { useInfiniteQuery } from "@tanstack/react-query";
import type { NodeView, Page } from "../contracts";
import { get } from "../http/client";
import { keys } from "../http/keys";
import { OriginBadge, PhaseBadge } from "../page/badges";
import { ErrorNote } from "../page/ErrorNote";
import { Link } from "../page/router";
import { Age } from "../page/time";
import { Meter } from "./Meter";
import { Problems } from "./Problems";
import { gib } from "./words";

const pageSize = 50;

export function NodeList() {
  const nodes = useInfiniteQuery({
    queryKey: keys.nodes,
    queryFn: ({ pageParam, signal }) => {
      const query = new URLSearchParams({ limit: String(pageSize) });
      if (pageParam) query.set("after", pageParam);
      return get<Page<NodeView>>(`/v1/nodes?${query}`, signal);
    },
    initialPageParam: "",
    getNextPageParam: (last) => last.next,
    // The time of the last report and the self checks change without an event.
    refetchInterval: 5000,
  });
  const rows = nodes.data?.pages.flatMap((page) => page.items);
  return (
    <section className="panel" aria-labelledby="nodes-title" data-testid="nodes">
      <header><h2 id="nodes-title">Nodes</h2></header>
      {nodes.error && !nodes.data && <div className="body"><ErrorNote error={nodes.error} what="The nodes could not be read." /></div>}
      {rows?.length === 0 && <p className="empty">No node has joined yet. A worker joins with its node token when it starts.</p>}
      {rows?.map((node) => <NodeRow key={node.id} node={node} />)}
      {nodes.hasNextPage && (
        <p className="body"><button type="button" onClick={() => void nodes.fetchNextPage()} disabled={nodes.isFetchingNextPage} data-testid="more-nodes">Show more</button></p>
      )}
    </section>
  );
}

function NodeRow({ node }: { node: NodeView }) {
  const facts = node.facts;
  return (
    <article className="node" data-testid={`node-row-${node.name}`}>
      <div>
        <div className="row">
          <Link to={`/nodes/${node.id}`} className="name">{node.name}</Link>
          <PhaseBadge phase={node.phase} />
        </div>
        {facts && (
          <p className="small soft">
            {facts.cpuModel}, {facts.operatingSystem}, kernel <code>{facts.kernel}</code>
          </p>
        )}
        <p className="small soft">
          {node.lastReportAt ? <>Last report <Age at={node.lastReportAt} /> ago</> : "Has not reported yet"}
          {node.workerVersion && <>, worker <code>{node.workerVersion}</code></>}
        </p>
      </div>
      {facts && (
        <div>
          <Meter label="vCPUs" used={node.vcpusUsed} capacity={facts.vcpuCapacity} shown={(n) => String(n)} />
          <Meter label="Memory" used={node.memoryUsedMib} capacity={facts.memoryCapacityMib} shown={gib} />
        </div>
      )}
      <dl className="facts">
        {facts && (
          <div>
            <dt>Guests run by</dt>
            <dd title={facts.accelerationReason} data-testid="acceleration">
              {facts.acceleration === "None" ? <>nothing: the node is simulated <OriginBadge origin="Simulated" /></> : facts.acceleration !== "Kvm" ? <span className="origin Emulated">TCG, emulated</span> : facts.origin && facts.origin !== "Hardware" ? <>KVM of an emulated host <OriginBadge origin={facts.origin} /></> : "KVM"}
            </dd>
          </div>
        )}
        <div><dt>Sandboxes</dt><dd className="num">{node.sandboxCount}</dd></div>
        <div><dt>Devices</dt><dd className="num">{node.deviceCount}</dd></div>
        {facts?.vmmVersion && <div><dt>VMM</dt><dd>{facts.vmmVersion}</dd></div>}
        {facts?.kvmtoolVersion && <div><dt>kvmtool</dt><dd>{facts.kvmtoolVersion}</dd></div>}
      </dl>
      {facts && facts.problems.length > 0 && (
        <Problems of={node.name} problems={facts.problems} />
      )}
    </article>
  );
}
