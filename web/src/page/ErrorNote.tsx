import { ApiError } from "../http/client";

export function ErrorNote({ error, what }: { error: unknown; what: string }) {
  const api = error instanceof ApiError ? error : null;
  return (
    <div className="notice bad" role="alert">
      <strong>{what}</strong>{" "}
      {error instanceof Error ? error.message : String(error)} {api && <code>{api.code}</code>}
    </div>
  );
}
