/** The first part of every query key, so that an event can name what it touches. */
export const keys = {
  session: ["session"] as const,
  sandboxList: ["sandboxes"] as const,
  sandbox: (id: string) => ["sandbox", id] as const,
  nodes: ["nodes"] as const,
  node: (id: string) => ["node", id] as const,
  devices: ["devices"] as const,
  deviceClasses: ["device-classes"] as const,
  images: ["images"] as const,
  events: ["events"] as const,
  webhooks: ["webhooks"] as const,
  webhook: (id: string) => ["webhooks", id] as const,
  deliveries: (id: string, state: string) => ["webhooks", id, "deliveries", state] as const,
};

export type QueryKey = readonly string[];
