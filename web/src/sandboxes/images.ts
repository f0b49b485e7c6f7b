import type { ImageView } from "../contracts";

const where: Record<ImageView["source"], string> = { Project: "the project's", Shared: "shared", Node: "on nodes" };

/** One choice for each name: a name means the first image of it in the API's order (the project's own, then a shared one, then a folder of nodes). What can be started now comes first. */
export function imageChoices(images: readonly ImageView[]): { name: string; label: string }[] {
  const first = new Map<string, ImageView>();
  for (const image of images) if (!first.has(image.name)) first.set(image.name, image);
  const ready = (image: ImageView) => image.phase === null || image.phase === "Ready";
  return [...first.values()]
    .sort((a, b) => Number(ready(b)) - Number(ready(a)) || a.name.localeCompare(b.name))
    .map((image) => ({ name: image.name, label: `${image.name} (${[image.architecture, image.kernel, where[image.source], ...(ready(image) ? [] : [image.phase])].join(", ")})` }));
}
