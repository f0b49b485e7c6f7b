import { useState } from "react";
import { CreateDialog } from "../sandboxes/CreateDialog";
import { SandboxTable } from "../sandboxes/SandboxTable";
import { useRights } from "../session/rights";
import { NodeList } from "./NodeList";

export function Overview() {
  const [creating, setCreating] = useState(false);
  const rights = useRights();
  return (
    <>
      <div className="title">
        <h1>Overview</h1>
        {rights.operate && <button type="button" className="primary" onClick={() => setCreating(true)} data-testid="create-button">Create sandbox</button>}
      </div>
      <div className="stack">
        {rights.seeService && <NodeList />}
        <SandboxTable onCreate={rights.operate ? () => setCreating(true) : null} />
      </div>
      {creating && <CreateDialog onClose={() => setCreating(false)} />}
    </>
  );
}
