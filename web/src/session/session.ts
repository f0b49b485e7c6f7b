import { useQuery, useQueryClient } from "@tanstack/react-query";
import type { SessionView } from "../contracts";
import { ApiError, get, send } from "../http/client";
import { keys } from "../http/keys";

/** Who is signed in; null when nobody is. */
export function useSession() {
  return useQuery({
    queryKey: keys.session,
    queryFn: async ({ signal }): Promise<SessionView | null> => {
      try {
        return await get<SessionView>("/v1/session", signal);
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) return null;
        throw error;
      }
    },
    staleTime: Infinity,
    retry: true,
    retryDelay: 1500,
  });
}

export function useSignOut(): () => Promise<void> {
  const client = useQueryClient();
  return async () => {
    await send("DELETE", "/v1/session");
    client.setQueryData(keys.session, null);
    client.removeQueries({ predicate: (query) => query.queryKey[0] !== keys.session[0] });
  };
}
