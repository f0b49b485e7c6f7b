import { useState } from "react";
import { CreateDialog } from "../sandboxes/CreateDialog";
import { SandboxTable } from "../sandboxes/SandboxTable";
import { NodeList } from "./NodeList";

export function Overview() {
  const [creating, setCreating] = useState(false);
  return (
    <>
      <div className="title">
        <h1>Overview</h1>
        <button type="button" className="primary" onClick={() => setCreating(true)} data-testid="create-button">Create sandbox</button>
      </div>
      <div className="stack">
        <NodeList />
        <SandboxTable onCreate={() => setCreating(true)} />
      </div>
      {creating && <CreateDialog onClose={() => setCreating(false)} />}
    </>
  );
}
