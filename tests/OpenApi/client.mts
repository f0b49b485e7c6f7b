// Drives one sandbox from its creation to its end with a client that is generated from the API's own document:
// every path, parameter, body and answer below is typed by it, so that this compiles says that the document is right.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

const [baseUrl, key, name] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
type Sandbox = components["schemas"]["SandboxView"];
type Problem = components["schemas"]["ProblemDetails"];

/** What was answered, or an end with the problem's own words. */
function given<T>({ data, error, response }: { data?: T; error?: Problem; response: Response }): NonNullable<T> {
  if (error || !response.ok) throw new Error(`${response.status}: ${error?.detail ?? error?.title}`);
  return data as NonNullable<T>;
}

const create: components["schemas"]["SandboxCreate"] = {
  name: name!, image: "guest", vcpus: 1, memoryMib: 256, vmm: "Simulated",
  accelerators: [{ class: "sva", count: 1 }], labels: { team: "generated" }, userData: JSON.stringify({ workload: "hotSet", seed: 3 }),
};
const made: Sandbox = given(await api.POST("/v1/sandboxes", { body: create, params: { header: { "Idempotency-Key": `once-${name}` } } }));
const again: Sandbox = given(await api.POST("/v1/sandboxes", { body: create, params: { header: { "Idempotency-Key": `once-${name}` } } }));
const path = { id: made.id };

const running: Sandbox = given(await api.GET("/v1/sandboxes/{id}", { params: { path, query: { waitFor: "Running", timeoutSeconds: 60 } } }));
const listed = given(await api.GET("/v1/sandboxes", { params: { query: { label: ["team=generated"], phase: ["Running"] } } }));

const { response: read } = await api.GET("/v1/sandboxes/{id}", { params: { path } });
const stale = await api.PATCH("/v1/sandboxes/{id}", { params: { path, header: { "If-Match": '"1-0"' } }, body: { labels: { team: "nobody" } } });
const patched: Sandbox = given(await api.PATCH("/v1/sandboxes/{id}", { params: { path, header: { "If-Match": "*" } }, body: { labels: { stage: "two" } } }));

const refused = await api.POST("/v1/sandboxes", { body: { ...create, vcpus: 100_000 } });
const events = given(await api.GET("/v1/events", { params: { query: { subject: made.id } } }));
const gone = await api.DELETE("/v1/sandboxes/{id}", { params: { path } });

console.log(JSON.stringify({
  sameTwice: made.id === again.id,
  phase: running.phase,
  origin: running.origin,
  listed: listed.items.map((one) => one.id === made.id),
  hasVersion: read.headers.get("etag") !== null,
  stale: stale.response.status,
  labels: patched.labels,
  refused: refused.error && { status: refused.response.status, fields: Object.keys((refused.error as Problem & { errors?: Record<string, string[]> }).errors ?? {}) },
  created: events.items[0]?.type,
  deleted: gone.response.status,
}));
