interface MeterProps {
  label: string;
  used: number;
  capacity: number;
  shown: (amount: number) => string;
}

const mostCells = 32;

/** Capacity in cells, one a unit while they fit, so that what is left can be counted. */
export function Meter({ label, used, capacity, shown }: MeterProps) {
  const cells = Math.max(1, Math.min(mostCells, capacity));
  const filled = capacity > 0 ? (used / capacity) * cells : 0;
  return (
    <div className="meter">
      <div className="label"><span>{label}</span><span className="num">{shown(used)} of {shown(capacity)}</span></div>
      <div className="cells" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={capacity} aria-valuenow={used}>
        {Array.from({ length: cells }, (_, cell) => {
          const share = Math.max(0, Math.min(1, filled - cell));
          if (share >= 1) return <i key={cell} className="used" />;
          return share > 0
            ? <i key={cell} className="part" style={{ "--fill": `${Math.round(share * 100)}%` } as React.CSSProperties} />
            : <i key={cell} />;
        })}
      </div>
    </div>
  );
}
