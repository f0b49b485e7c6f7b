import type { Condition } from "../contracts";
import { StatusMark } from "../page/marks";
import { Age } from "../page/time";
import { goodStatusOf } from "./words";

export function Conditions({ conditions }: { conditions: readonly Condition[] }) {
  if (conditions.length === 0) return <p className="empty">Nothing has been observed yet.</p>;
  return (
    <ul data-testid="conditions">
      {conditions.map((condition) => (
        <li key={condition.type} className="condition" data-testid={`condition-${condition.type}`} data-status={condition.status}>
          <StatusMark status={condition.status} goodWhen={goodStatusOf(condition)} />
          <span><b>{condition.type}</b> <code className="soft">{condition.reason}</code></span>
          <span className="since">for <Age at={condition.since} /></span>
          <p>{condition.message}</p>
        </li>
      ))}
    </ul>
  );
}
