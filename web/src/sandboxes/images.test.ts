import { describe, expect, it } from "vitest";
import type { ImageView } from "../contracts";
import { imageChoices } from "./images";

const image = (name: string, source: ImageView["source"], phase: ImageView["phase"] = null, kernel = "6.12"): ImageView =>
  ({ name, digest: `sha256:${name}${source}`, architecture: "arm64", kernel, hasAgent: false, sizeBytes: 1, nodes: null, source, id: phase === null ? null : name, phase });

describe("the images to choose from", () => {
  it("names each once, as the one that the name means", () => {
    expect(imageChoices([image("guest", "Project", "Ready", "own"), image("guest", "Shared", "Ready", "common"), image("guest", "Node")])).toEqual([{ name: "guest", label: "guest (arm64, own, the project's)" }]);
  });

  it("puts what cannot be started yet behind, and says so", () => {
    expect(imageChoices([image("early", "Project", "Downloading"), image("broken", "Shared", "Failed"), image("ready", "Shared", "Ready"), image("guest", "Node")]).map((c) => c.label)).toEqual([
      "guest (arm64, 6.12, on nodes)", "ready (arm64, 6.12, shared)", "broken (arm64, 6.12, shared, Failed)", "early (arm64, 6.12, the project's, Downloading)",
    ]);
  });
});
