import { useInfiniteQuery } from "@tanstack/react-query";
import { createColumnHelper, flexRender, getCoreRowModel, getSortedRowModel, type SortingState, useReactTable } from "@tanstack/react-table";
import { useDeferredValue, useMemo, useState } from "react";
import { type Page, phases, type SandboxView } from "../contracts";
import { get } from "../http/client";
import { keys } from "../http/keys";
import { OriginBadge, PhaseBadge, StormBadge } from "../page/badges";
import { ErrorNote } from "../page/ErrorNote";
import { Link } from "../page/router";
import { Age } from "../page/time";
import { RowActions } from "./RowActions";
import { acceleratorWords, stormWords, verdictWords } from "./words";

const pageSize = 100;
const column = createColumnHelper<SandboxView>();
const columns = [
  column.accessor("name", { header: "Name", cell: ({ row }) => <Link to={`/sandboxes/${row.original.id}`}>{row.original.name}</Link> }),
  column.accessor("phase", {
    header: "Phase",
    cell: ({ row }) => <span className="row"><PhaseBadge phase={row.original.phase} /><StormBadge storm={stormWords(row.original)} /></span>,
    sortingFn: (a, b) => phases.indexOf(a.original.phase) - phases.indexOf(b.original.phase),
  }),
  column.accessor((sandbox) => sandbox.nodeName ?? "", { id: "node", header: "Node", cell: ({ getValue }) => getValue() || <span className="soft">not placed</span> }),
  column.accessor(acceleratorWords, { id: "accelerators", header: "Accelerators", cell: ({ getValue }) => getValue() || <span className="soft">none</span> }),
  column.accessor((sandbox) => sandbox.origin ?? "", { id: "origin", header: "Origin", cell: ({ row }) => row.original.origin && <OriginBadge origin={row.original.origin} /> }),
  column.accessor((sandbox) => (sandbox.verdict ? verdictWords[sandbox.verdict.class] : ""), {
    id: "verdict", header: "SVA verdict", cell: ({ row, getValue }) => <span title={row.original.verdict?.message}>{getValue() || <span className="soft">not judged</span>}</span>,
  }),
  column.accessor((sandbox) => -Date.parse(sandbox.createdAt), { id: "age", header: "Age", cell: ({ row }) => <Age at={row.original.createdAt} /> }),
  column.display({ id: "actions", header: () => <span className="hidden">Actions</span>, cell: ({ row }) => <RowActions sandbox={row.original} /> }),
];

export function SandboxTable({ onCreate }: { onCreate: (() => void) | null }) {
  const [phase, setPhase] = useState("");
  const [label, setLabel] = useState("");
  const [sorting, setSorting] = useState<SortingState>([]);
  const labelTyped = useDeferredValue(label.trim());
  // Half a label would only be refused.
  const labelAsked = /^[^=]+=./.test(labelTyped) ? labelTyped : "";
  const list = useInfiniteQuery({
    queryKey: [...keys.sandboxList, phase, labelAsked],
    queryFn: ({ pageParam, signal }) => {
      const query = new URLSearchParams({ limit: String(pageSize) });
      if (phase) query.set("phase", phase);
      if (labelAsked) query.set("label", labelAsked);
      if (pageParam) query.set("after", pageParam);
      return get<Page<SandboxView>>(`/v1/sandboxes?${query}`, signal);
    },
    initialPageParam: "",
    getNextPageParam: (last) => last.next,
    placeholderData: (previous) => previous,
  });
  const rows = useMemo(() => list.data?.pages.flatMap((page) => page.items) ?? [], [list.data]);
  const table = useReactTable({
    data: rows, columns, state: { sorting }, onSortingChange: setSorting,
    autoResetAll: false, getRowId: (sandbox) => sandbox.id, getCoreRowModel: getCoreRowModel(), getSortedRowModel: getSortedRowModel(),
  });
  const filtered = phase !== "" || labelAsked !== "";

  return (
    <section className="panel" aria-labelledby="sandboxes-title" data-testid="sandboxes">
      <header>
        <h2 id="sandboxes-title">Sandboxes</h2>
        <div className="filters">
          <label>Phase
            <select value={phase} onChange={(event) => setPhase(event.target.value)} data-testid="filter-phase">
              <option value="">any</option>
              {phases.map((one) => <option key={one}>{one}</option>)}
            </select>
          </label>
          <label>Label <input value={label} placeholder="key=value" onChange={(event) => setLabel(event.target.value)} data-testid="filter-label" /></label>
        </div>
      </header>
      {list.error && <div className="body"><ErrorNote error={list.error} what="The sandboxes could not be read." /></div>}
      {list.data && rows.length === 0 && (
        <div className="empty">
          <p>{filtered ? "No sandbox matches." : onCreate ? "No sandbox yet. Create one: it boots an Arm guest with the accelerator you name." : "No sandbox yet."}</p>
          {!filtered && onCreate && <button type="button" onClick={onCreate}>Create sandbox</button>}
        </div>
      )}
      {rows.length > 0 && (
        <div className="table-frame">
          <table>
            <thead>
              {table.getHeaderGroups().map((group) => (
                <tr key={group.id}>
                  {group.headers.map((header) => {
                    const sorted = header.column.getIsSorted();
                    return (
                      <th key={header.id} scope="col" aria-sort={sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : undefined}>
                        {header.column.getCanSort()
                          ? <button type="button" onClick={header.column.getToggleSortingHandler()}>{flexRender(header.column.columnDef.header, header.getContext())}<span aria-hidden="true">{sorted === "asc" ? "↑" : sorted === "desc" ? "↓" : ""}</span></button>
                          : flexRender(header.column.columnDef.header, header.getContext())}
                      </th>
                    );
                  })}
                </tr>
              ))}
            </thead>
            <tbody>
              {table.getRowModel().rows.map((row) => (
                <tr key={row.id} data-testid={`sandbox-row-${row.original.name}`}>
                  {row.getVisibleCells().map((cell) => <td key={cell.id} className={`col-${cell.column.id}`}>{flexRender(cell.column.columnDef.cell, cell.getContext())}</td>)}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.hasNextPage && (
        <p className="body"><button type="button" onClick={() => void list.fetchNextPage()} disabled={list.isFetchingNextPage} data-testid="more-sandboxes">Show more</button></p>
      )}
    </section>
  );
}
