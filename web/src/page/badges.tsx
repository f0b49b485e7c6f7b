import type { DeliveryState, DevicePhase, NodePhase, Origin, Phase } from "../contracts";

export type Tone = "ok" | "busy" | "idle" | "bad" | "warn";

type Shown = Phase | NodePhase | DevicePhase | DeliveryState;

const tones: Record<Shown, Tone> = {
  Pending: "busy", Scheduled: "busy", Preparing: "busy", Booting: "busy", Running: "ok",
  Stopping: "busy", Stopped: "idle", Failed: "bad", Lost: "warn", Deleting: "busy",
  Joining: "busy", Ready: "ok", Cordoned: "idle", Draining: "busy", Unreachable: "warn", Maintenance: "idle",
  Available: "ok", Assigned: "idle", Cleaning: "busy", Quarantined: "bad",
  Waiting: "idle", Succeeded: "ok",
};

export function toneOf(phase: Shown): Tone {
  return tones[phase] ?? "idle";
}

export function PhaseBadge({ phase, large }: { phase: Shown; large?: boolean }) {
  return (
    <span className={`phase ${toneOf(phase)}${large ? " large" : ""}`} data-testid="phase-badge" data-phase={phase}>
      <i aria-hidden="true" />
      {phase}
    </span>
  );
}

export function StormBadge({ storm }: { storm: { words: string; message: string } | null }) {
  return storm && (
    <span className="phase bad" title={storm.message} data-testid="storm-badge">
      <i aria-hidden="true" />
      {storm.words}
    </span>
  );
}

const meaning: Record<Origin, string> = {
  Hardware: "Measured on real hardware",
  Emulated: "Emulated by the virtual machine monitor, not hardware",
  Simulated: "Computed by a model, not hardware",
};

export function OriginBadge({ origin }: { origin: Origin }) {
  return (
    <span className={`origin ${origin}`} title={meaning[origin]} data-testid="origin-badge" data-origin={origin}>
      {origin}
    </span>
  );
}
