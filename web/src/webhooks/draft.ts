import type { WebhookCreate } from "../contracts";

export interface WebhookDraft { url: string; description: string; types: string; labels: string }

export const emptyDraft: WebhookDraft = { url: "", description: "", types: "", labels: "" };

/** The request, or what is wrong with what was typed; everything else is the API's to judge. */
export function bodyOf(draft: WebhookDraft): { body: WebhookCreate; errors: Record<string, string[]> } {
  const errors: Record<string, string[]> = {};
  const body: WebhookCreate = { url: draft.url.trim() };
  if (!body.url) errors.url = ["is required"];
  if (draft.description.trim()) body.description = draft.description.trim();
  const types = draft.types.split(/[\s,]+/).filter(Boolean);
  if (types.length > 0) body.types = types;
  const labels: Record<string, string> = {};
  for (const line of draft.labels.split("\n").map((text) => text.trim()).filter(Boolean)) {
    const at = line.indexOf("=");
    if (at < 1) errors.labels = ["takes key=value, one a line"];
    else labels[line.slice(0, at)] = line.slice(at + 1);
  }
  if (Object.keys(labels).length > 0) body.labels = labels;
  return { body, errors };
}
