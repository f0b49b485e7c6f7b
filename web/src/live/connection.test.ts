import { HubConnectionState } from "@microsoft/signalr";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { EventView } from "../contracts";
import { type Hub, LiveConnection } from "./connection";

interface OpenStream { method: string; args: unknown[]; next: (item: unknown) => void; error: (error: Error) => void; disposed: boolean }

/** A hub that is up or down as the test says, and lets the test speak for the API. */
class FakeHub {
  state = HubConnectionState.Disconnected;
  reachable = true;
  starts = 0;
  streams: OpenStream[] = [];
  private onClosed: () => void = () => undefined;

  async start(): Promise<void> {
    this.starts++;
    if (!this.reachable) throw new Error("refused");
    this.state = HubConnectionState.Connected;
  }

  async stop(): Promise<void> {
    this.drop();
  }

  onclose(callback: () => void): void {
    this.onClosed = callback;
  }

  stream(method: string, ...args: unknown[]) {
    return {
      subscribe: (observer: { next: (item: unknown) => void; error: (error: Error) => void }) => {
        const open: OpenStream = { method, args, next: (item) => observer.next(item), error: (error) => observer.error(error), disposed: false };
        this.streams.push(open);
        return { dispose: () => void (open.disposed = true) };
      },
    };
  }

  drop(): void {
    if (this.state !== HubConnectionState.Connected) return;
    this.state = HubConnectionState.Disconnected;
    for (const stream of this.streams) stream.error(new Error("closed"));
    this.onClosed();
  }

  opened(method: string): OpenStream[] {
    return this.streams.filter((stream) => stream.method === method);
  }
}

const event = (number: number) => ({ number }) as EventView;

function bench(newest: number | null | false = 40) {
  const hub = new FakeHub();
  const seen: number[] = [];
  const probe = { answer: newest };
  let connected = 0;
  let signedOut = 0;
  const live = new LiveConnection({
    probe: async () => probe.answer,
    onEvent: ({ number }) => seen.push(number),
    onConnected: () => connected++,
    onSignedOut: () => signedOut++,
  }, hub as unknown as Hub);
  return { hub, live, seen, probe, counts: () => ({ connected, signedOut }) };
}

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("the live connection", () => {
  it("begins after the newest event that the API tells", async () => {
    const { hub, live } = bench(40);
    live.start();
    await pass(0);
    expect(hub.opened("Events").map((stream) => stream.args)).toEqual([[40]]);
    expect(live.state).toBe("live");
  });

  it("begins from now when the API does not tell", async () => {
    const { hub, live } = bench(null);
    live.start();
    await pass(0);
    expect(hub.opened("Events")[0]?.args).toEqual([-1]);
  });

  it("resumes after the last event that it saw, and shows none twice", async () => {
    const { hub, live, seen, probe } = bench(40);
    live.start();
    await pass(0);
    [41, 42, 42, 41].forEach((number) => hub.opened("Events")[0]?.next(event(number)));
    hub.drop();
    expect(live.state).toBe("live");
    await pass(0);
    expect(live.state).toBe("reconnecting");
    probe.answer = 45;
    await pass(300);
    const again = hub.opened("Events")[1];
    expect(again?.args).toEqual([42]);
    [42, 43, 44, 45].forEach((number) => again?.next(event(number)));
    expect(seen).toEqual([41, 42, 43, 44, 45]);
  });

  it("starts from the present of another database", async () => {
    const { hub, live, probe } = bench(40);
    live.start();
    await pass(0);
    probe.answer = 3;
    hub.drop();
    await pass(300);
    expect(hub.opened("Events")[1]?.args).toEqual([3]);
  });

  it("never gives up, and tries at least every two seconds", async () => {
    const { hub, live, counts } = bench();
    hub.reachable = false;
    live.start();
    await pass(60_000);
    expect(hub.starts).toBeGreaterThan(30);
    expect(live.state).toBe("connecting");
    hub.reachable = true;
    await pass(2000);
    expect(live.state).toBe("live");
    expect(counts().connected).toBe(1);
  });

  it("opens the streams of others again with fresh arguments, and not those that were closed", async () => {
    const { hub, live } = bench();
    let offset = 0;
    const got: unknown[] = [];
    live.subscribe("Console", () => ["id", offset], (item) => got.push(item));
    const close = live.subscribe("Faults", () => ["id"], (item) => got.push(item));
    live.start();
    await pass(0);
    offset = 512;
    close();
    hub.opened("Faults")[0]?.next("too late");
    hub.drop();
    await pass(5000);
    expect(hub.opened("Console").map((stream) => stream.args)).toEqual([["id", 0], ["id", 512]]);
    expect(hub.opened("Faults")).toHaveLength(1);
    expect(hub.opened("Faults")[0]?.disposed).toBe(true);
    hub.opened("Console")[0]?.next("of the old stream");
    hub.opened("Console")[1]?.next("of the new stream");
    expect(got).toEqual(["of the new stream"]);
  });

  it("opens a stream again that failed while the connection stands", async () => {
    const { hub, live } = bench();
    live.subscribe("Faults", () => ["id"], () => undefined);
    live.start();
    await pass(0);
    hub.opened("Faults")[0]?.error(new Error("slow reader"));
    await pass(1500);
    expect(hub.opened("Faults")).toHaveLength(2);
    expect(hub.starts).toBe(1);
  });

  it("begins anew from now when what it missed is no longer kept", async () => {
    const { hub, live, probe, counts } = bench(40);
    live.start();
    await pass(0);
    probe.answer = 900;
    hub.opened("Events")[0]?.error(new Error("An error occurred: HubException: events_expired: begin from now"));
    await pass(2500);
    expect(hub.opened("Events").map((stream) => stream.args)).toEqual([[40], [900]]);
    expect(counts().connected).toBe(2);
  });

  it("asks to sign in when nobody is signed in any more", async () => {
    const { hub, live, probe, counts } = bench();
    live.start();
    await pass(0);
    probe.answer = false;
    hub.drop();
    await pass(60_000);
    expect(counts().signedOut).toBe(1);
    expect(hub.starts).toBe(1);
  });

  it("stays away once stopped", async () => {
    const { hub, live } = bench();
    live.start();
    await pass(0);
    live.stop();
    await pass(60_000);
    expect(hub.starts).toBe(1);
  });
});
