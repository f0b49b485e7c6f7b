import { expect, it } from "vitest";
import { parseRoute } from "./router";

it.each([
  ["/", { page: "overview" }],
  ["/sandboxes/0d5c", { page: "sandbox", id: "0d5c" }],
  ["/sandboxes", { page: "nowhere" }],
  ["/nodes/0d5c", { page: "node", id: "0d5c" }],
  ["/nodes", { page: "nowhere" }],
  ["/devices/", { page: "devices" }],
  ["/events", { page: "events" }],
  ["/webhooks", { page: "webhooks" }],
  ["/webhooks/0d5c", { page: "webhook", id: "0d5c" }],
  ["/v2", { page: "nowhere" }],
])("%s leads to its page", (path, route) => expect(parseRoute(path)).toEqual(route));
