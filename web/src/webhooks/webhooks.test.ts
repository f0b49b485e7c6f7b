import { describe, expect, it } from "vitest";
import { bodyOf, emptyDraft } from "./draft";
import { outcome, standing, wants } from "./words";

describe("what is asked for", () => {
  it("is the url alone when nothing else is typed", () => expect(bodyOf({ ...emptyDraft, url: " https://example.com/ " })).toEqual({ body: { url: "https://example.com/" }, errors: {} }));
  it("has the types, however they are separated", () => expect(bodyOf({ ...emptyDraft, url: "u", types: "sandbox.*, node.joined\n image.changed" }).body.types).toEqual(["sandbox.*", "node.joined", "image.changed"]));
  it("has the labels, whose values may hold an equals sign", () => expect(bodyOf({ ...emptyDraft, url: "u", labels: "team=red\na=b=c\n" }).body.labels).toEqual({ team: "red", a: "b=c" }));
  it("needs a url", () => expect(bodyOf(emptyDraft).errors).toHaveProperty("url"));
  it.each(["red", "=red"])("takes no label %s", (labels) => expect(bodyOf({ ...emptyDraft, url: "u", labels }).errors).toHaveProperty("labels"));
});

describe("how an endpoint stands", () => {
  const well = { enabled: true, disabled: null, failingSince: null, pausedUntil: null };
  const why = (reason: string) => ({ reason, message: "m", remedy: "r", at: "2026-01-01T00:00:00Z" });
  it.each([
    [well, "Enabled", "ok"],
    [{ ...well, failingSince: "2026-01-01T00:00:00Z" }, "Failing", "warn"],
    [{ ...well, failingSince: "2026-01-01T00:00:00Z", pausedUntil: "2026-01-01T00:00:00Z" }, "Paused", "warn"],
    [{ ...well, enabled: false, disabled: why("DisabledByUser") }, "Disabled", "idle"],
    [{ ...well, enabled: false, disabled: why("FailingTooLong") }, "Disabled", "bad"],
  ])("%o", (webhook, word, tone) => expect(standing(webhook)).toEqual({ word, tone }));
});

describe("what it wants", () => {
  it("is every event without filters", () => expect(wants({ types: [], labels: {} })).toBe("every event"));
  it("names types and labels", () => expect(wants({ types: ["sandbox.*", "node.joined"], labels: { team: "red" } })).toBe("sandbox.*, node.joined of sandboxes with team=red"));
});

describe("the last attempt", () => {
  const none = { lastAttemptAt: null, lastStatus: null, lastFailure: null, tookMilliseconds: null };
  it("is nothing before the first", () => expect(outcome(none)).toBeNull());
  it("tells the status", () => expect(outcome({ ...none, lastAttemptAt: "t", lastStatus: 503, tookMilliseconds: 12 })).toBe("HTTP 503 after 12 ms"));
  it("does not make up a status where there was no answer", () => expect(outcome({ ...none, lastAttemptAt: "t" })).toBe("no answer"));
});
