import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import type { DeviceClassView, DeviceView, Page } from "../contracts";
import { get } from "../http/client";
import { keys } from "../http/keys";
import { OriginBadge, PhaseBadge } from "../page/badges";
import { ErrorNote } from "../page/ErrorNote";
import { Link } from "../page/router";
import { verdictWords, viommuWords, vmmWords } from "../sandboxes/words";
import { useRights } from "../session/rights";
import { quarantineNote } from "./quarantine";
import { QuarantineActions } from "./QuarantineActions";

export function DevicesPage() {
  const { seeService } = useRights();
  const classes = useQuery({ queryKey: keys.deviceClasses, queryFn: ({ signal }) => get<Page<DeviceClassView>>("/v1/device-classes", signal) });
  const list = useInfiniteQuery({
    queryKey: keys.devices,
    queryFn: ({ pageParam, signal }) => get<Page<DeviceView>>(`/v1/devices?limit=100${pageParam ? `&after=${encodeURIComponent(pageParam)}` : ""}`, signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.next,
    enabled: seeService,
  });
  const devices = list.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <div className="title"><h1>Devices</h1></div>
      <div className="stack">
        <section className="panel" aria-labelledby="classes-title">
          <header><h2 id="classes-title">Classes</h2></header>
          {classes.error && !classes.data && <div className="body"><ErrorNote error={classes.error} what="The classes could not be read." /></div>}
          <ul className="classes">
            {classes.data?.items.map((one) => (
              <li key={one.name} data-testid={`class-${one.name}`}>
                <span className="row"><h3>{one.name}</h3> <OriginBadge origin={one.origin} /></span>
                <span className="count">{one.available} <small>of {one.total} free</small></span>
                <p className="small soft">{one.description}</p>
              </li>
            ))}
          </ul>
          {classes.data?.items.length === 0 && <p className="empty">No node offers a device.</p>}
        </section>
        {seeService && <section className="panel" aria-labelledby="devices-title" data-testid="devices">
          <header><h2 id="devices-title">Functions</h2></header>
          {list.error && !list.data && <div className="body"><ErrorNote error={list.error} what="The devices could not be read." /></div>}
          {list.data && devices.length === 0 && <p className="empty">No node has reported a device.</p>}
          {devices.length > 0 && (
            <div className="table-frame">
              <table>
                <thead><tr><th scope="col">Address</th><th scope="col">Class</th><th scope="col">Node</th><th scope="col">Phase</th><th scope="col">Held by</th><th scope="col">Origin</th><th scope="col">SVA verdict</th><th scope="col">Fits</th><th scope="col"><span className="hidden">Actions</span></th></tr></thead>
                <tbody>{devices.map((device) => <DeviceRow key={device.id} device={device} />)}</tbody>
              </table>
            </div>
          )}
          {list.hasNextPage && <p className="body"><button type="button" onClick={() => void list.fetchNextPage()}>Show more</button></p>}
        </section>}
      </div>
    </>
  );
}

function DeviceRow({ device }: { device: DeviceView }) {
  const note = quarantineNote(device);
  return (
    <tr data-testid={`device-row-${device.address}`}>
      <td><code>{device.address}</code><br /><span className="small soft">{device.description} <code>{device.vendorId}:{device.deviceId}</code></span></td>
      <td>{device.class}</td>
      <td>{device.nodeName}</td>
      <td>
        <PhaseBadge phase={device.phase} />
        {device.quarantine && <p className="small" data-testid="quarantine">{device.quarantine.message} <code>{device.quarantine.reason}</code>{note && <><br />{note}</>}<span className="remedy"><span>{device.quarantine.remedy}</span></span></p>}
      </td>
      <td>{device.sandboxId ? <Link to={`/sandboxes/${device.sandboxId}`}>{device.sandboxName ?? device.sandboxId}</Link> : <span className="soft">nobody</span>}</td>
      <td><OriginBadge origin={device.origin} /></td>
      <td>{device.verdict ? <span title={device.verdict.message}>{verdictWords[device.verdict.class]}<br /><code className="small soft">{device.verdict.reason}</code></span> : <span className="soft">not judged</span>}</td>
      <td className="small">{[...device.viommus.map((one) => (one === "None" ? "QEMU" : `QEMU, ${viommuWords[one]}`)), ...(device.fitsKvmtool ? ["kvmtool"] : []), ...(device.origin === "Simulated" ? [vmmWords.Simulated] : [])].map((one) => <span key={one}>{one}<br /></span>)}</td>
      <td><QuarantineActions device={device} /></td>
    </tr>
  );
}
