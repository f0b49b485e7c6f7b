import type { Failure } from "../contracts";

export function Problems({ of, problems }: { of: string; problems: readonly Failure[] }) {
  return (
    <ul className="problems" aria-label={`Problems of ${of}`}>
      {problems.map((problem) => (
        <li key={problem.reason} className="notice warn">
          <strong>{problem.message}</strong> <code>{problem.reason}</code>
          <p className="remedy"><span>{problem.remedy}</span></p>
        </li>
      ))}
    </ul>
  );
}
