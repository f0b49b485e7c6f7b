import { describe, expect, it } from "vitest";
import { quarantineActionsFor, quarantineNote } from "./quarantine";

const quarantine = { reason: "FlrFailed", message: "m", remedy: "r", at: "2026-01-01T00:00:00Z" };

describe("what can be done with a device", () => {
  it("is to quarantine it while nobody has", () => expect(quarantineActionsFor({ quarantine: null })).toEqual({ quarantine: true, release: false }));
  it("is to release it once somebody has", () => expect(quarantineActionsFor({ quarantine })).toEqual({ quarantine: false, release: true }));
});

describe("the note on a quarantine", () => {
  it("says of a held device that it holds later", () => expect(quarantineNote({ quarantine, phase: "Assigned" })).toMatch(/tenancy/));
  it("is not needed where the phase says it", () => expect(quarantineNote({ quarantine, phase: "Quarantined" })).toBeNull());
  it("is not made of nothing", () => expect(quarantineNote({ quarantine: null, phase: "Assigned" })).toBeNull());
});
