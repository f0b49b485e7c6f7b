import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { SandboxView } from "../contracts";
import { send } from "../http/client";
import { keys } from "../http/keys";
import { tellFailure } from "../page/Toasts";

export type Action = "start" | "stop" | "restart" | "delete";

const refused: Record<Action, string> = {
  start: "Not started", stop: "Not stopped", restart: "Not restarted", delete: "Not deleted",
};

export function useSandboxAction(sandbox: Pick<SandboxView, "id" | "name">) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (action: Action) => {
      const path = `/v1/sandboxes/${sandbox.id}`;
      const answer = action === "delete"
        ? await send<SandboxView | undefined>("DELETE", path)
        : await send<SandboxView | undefined>("POST", `${path}/${action}`);
      return answer.data;
    },
    onSuccess: (view) => {
      if (view?.id === sandbox.id) client.setQueryData(keys.sandbox(sandbox.id), view);
      void client.invalidateQueries({ queryKey: keys.sandbox(sandbox.id) });
      void client.invalidateQueries({ queryKey: keys.sandboxList });
    },
    onError: (error, action) => tellFailure(`${refused[action]}: ${sandbox.name}`, error),
  });
}

/** What can be asked of a sandbox now; the API decides in the end. */
export function actionsFor(sandbox: Pick<SandboxView, "phase" | "desired">): { start: boolean; stop: boolean; restart: boolean; delete: boolean } {
  const leaving = sandbox.desired === "Deleted" || sandbox.phase === "Deleting";
  const resting = sandbox.phase === "Stopped" || sandbox.phase === "Failed";
  return {
    start: !leaving && (resting || sandbox.desired === "Stopped"),
    stop: !leaving && !resting && sandbox.desired === "Running",
    restart: !leaving && sandbox.desired === "Running" && sandbox.phase !== "Pending",
    delete: !leaving,
  };
}
