import type { ConditionStatus } from "../contracts";

/** Two address lines that become one: the process's and the device's. */
export function Mark() {
  return (
    <svg viewBox="0 0 26 20" aria-hidden="true">
      <g fill="none" stroke="currentColor" strokeWidth="2.6">
        <path d="M1 4h7l6 6h11" />
        <path d="M1 16h7l6-6" />
      </g>
      <circle cx="14" cy="10" r="3.1" fill="var(--panel)" stroke="currentColor" strokeWidth="2.6" />
    </svg>
  );
}

const paths: Record<ConditionStatus, string> = {
  True: "M3.5 9.5 7 13l7.5-8",
  False: "M4 4l10 10M14 4 4 14",
  Unknown: "M5.5 6.5a3.5 3.5 0 1 1 5 3.2c-1 .5-1.5 1-1.5 2.1M9 14.6v.6",
};

/** `goodWhen`: the status that is good news. It decides how the mark looks, not what it says. */
export function StatusMark({ status, goodWhen = "True" }: { status: ConditionStatus; goodWhen?: ConditionStatus }) {
  const drawn = status === "Unknown" ? status : status === goodWhen ? "True" : "False";
  return (
    <svg viewBox="0 0 18 18" className={`status-${drawn}`} role="img" aria-label={status}>
      <path d={paths[drawn]} fill="none" stroke="currentColor" strokeWidth="2.2" strokeLinecap="round" strokeLinejoin="round" />
    </svg>
  );
}
