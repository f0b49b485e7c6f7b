import type { SessionView } from "../contracts";
import { useSession } from "./session";

/** What the page offers to whoever is signed in; the API decides in the end. */
export interface Rights {
  /** Create, change and end sandboxes, and type into their consoles. */
  operate: boolean;
  /** Keys, webhooks, the audit log. */
  administer: boolean;
  /** Nodes and devices: of those who run the service. */
  seeService: boolean;
  changeService: boolean;
}

export function rightsOf(session: Pick<SessionView, "role" | "operates"> | null | undefined): Rights {
  return {
    operate: session?.role === "Operator" || session?.role === "Admin",
    administer: session?.role === "Admin",
    seeService: session?.operates === true,
    changeService: session?.operates === true && session.role === "Admin",
  };
}

export const useRights = (): Rights => rightsOf(useSession().data);
