/** An RFC 9457 answer, or a failure to reach the API at all (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string | null,
    readonly errors: Readonly<Record<string, readonly string[]>>,
  ) {
    super(detail ?? title);
  }
}

export interface Answer<T> {
  data: T;
  /** Number of the last event that the answer already contains; null when the endpoint does not say. */
  eventNumber: number | null;
}

const timeoutMilliseconds = 20_000;

export async function send<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Answer<T>> {
  const headers: Record<string, string> = { Accept: "application/json", "X-Sandbox-Request": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const deadline = AbortSignal.timeout(timeoutMilliseconds);
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "ApiUnreachable", "The API does not answer", null, {});
  }
  if (!response.ok) throw await problemOf(response);
  const text = await response.text();
  const number = response.headers.get("X-Event-Number");
  return { data: (text ? JSON.parse(text) : undefined) as T, eventNumber: number === null ? null : Number(number) };
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await send<T>("GET", path, undefined, signal)).data;
}

async function problemOf(response: Response): Promise<ApiError> {
  let problem: { code?: unknown; title?: unknown; detail?: unknown; errors?: unknown } = {};
  try {
    problem = (await response.json()) ?? {};
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return new ApiError(
    response.status,
    typeof problem.code === "string" ? problem.code : `Http${response.status}`,
    typeof problem.title === "string" ? problem.title : response.statusText || "The API refused",
    typeof problem.detail === "string" ? problem.detail : null,
    fieldErrorsOf(problem.errors),
  );
}

function fieldErrorsOf(errors: unknown): Record<string, string[]> {
  if (typeof errors !== "object" || errors === null) return {};
  return Object.fromEntries(
    Object.entries(errors).map(([field, messages]) => [field, Array.isArray(messages) ? messages.map(String) : [String(messages)]]),
  );
}
