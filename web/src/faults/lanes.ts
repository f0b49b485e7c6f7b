import { presentState, type SourceState } from "./rates";
import type { FaultSample, Origin } from "../contracts";

export interface LaneSource { source: string; label: string; token: string }
export interface Lane { id: string; title: string; sources: readonly LaneSource[] }

/** One lane a layer, each with its own scale: a guest that boots would flatten every SMMU event otherwise. */
export const lanes: readonly Lane[] = [
  {
    id: "guest", title: "Guest page faults",
    sources: [
      { source: "guest.minorFaults", label: "minor", token: "--trace-1" },
      { source: "guest.majorFaults", label: "major", token: "--trace-2" },
    ],
  },
  {
    id: "smmu", title: "SMMU",
    sources: [
      { source: "smmu.events", label: "events", token: "--trace-2" },
      { source: "smmu.tlbHits", label: "TLB hits", token: "--trace-1" },
      { source: "smmu.tlbMisses", label: "TLB misses", token: "--trace-3" },
    ],
  },
  { id: "virtioIommu", title: "virtio-iommu", sources: [{ source: "virtioIommu.events", label: "faults", token: "--trace-2" }] },
  {
    id: "io", title: "Device page faults",
    sources: [
      { source: "io.pageFaults.success", label: "served", token: "--trace-1" },
      { source: "io.pageFaults.invalid", label: "refused", token: "--trace-2" },
      { source: "io.pageFaults.failure", label: "failed", token: "--trace-3" },
    ],
  },
  {
    id: "hostSmmu", title: "Host's SMMU",
    sources: [{ source: "hostSmmu.events", label: "events", token: "--trace-2" }],
  },
  {
    id: "vmm", title: "VMM page faults",
    sources: [
      { source: "vmm.minorFaults", label: "minor", token: "--trace-1" },
      { source: "vmm.majorFaults", label: "major", token: "--trace-2" },
    ],
  },
];

const drawn = new Set(lanes.flatMap((lane) => lane.sources.map((one) => one.source)));

/** The newest state of every source by name, those that no lane draws, and those that nobody can observe now. */
export function statesOf(samples: readonly FaultSample[]) {
  const states = presentState(samples);
  return {
    bySource: new Map(states.map((state) => [state.source, state])),
    others: states.filter((state) => !drawn.has(state.source) && state.value !== null),
    unobserved: byReason(states.filter((state) => state.value === null)),
  };
}

/** What cannot be observed now, together where the reason and the origin are the same. */
function byReason(states: readonly SourceState[]): { reason: string; origin: Origin; sources: string[] }[] {
  const groups = new Map<string, { reason: string; origin: Origin; sources: string[] }>();
  for (const { source, nullReason, origin } of states) {
    const reason = nullReason ?? "";
    const group = groups.get(`${reason} ${origin}`) ?? { reason, origin, sources: [] };
    group.sources.push(source);
    groups.set(`${reason} ${origin}`, group);
  }
  return [...groups.values()];
}

export function originOf(lane: Lane, bySource: ReadonlyMap<string, SourceState>): Origin | null {
  for (const { source } of lane.sources) {
    const state = bySource.get(source);
    if (state) return state.origin;
  }
  return null;
}

const short = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3, notation: "compact" });
const whole = new Intl.NumberFormat("en-GB");

export function rateWords(state: Pick<SourceState, "ratePerSecond" | "lowerBound">): string | null {
  if (state.ratePerSecond === null) return null;
  return `${state.lowerBound ? "≥ " : ""}${short.format(state.ratePerSecond)}/s`;
}

export function countWords(state: Pick<SourceState, "value" | "lowerBound">): string {
  return state.value === null ? "" : `${state.lowerBound ? "≥ " : ""}${whole.format(state.value)}`;
}
