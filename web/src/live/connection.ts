// One SignalR connection for the whole page. It reconnects for ever, at most two seconds apart, and opens every stream again
// with arguments asked for anew, so that a stream can resume from where it was. What is lost between two connections is the
// business of those arguments: the event stream resumes from the last number seen, the console from its last offset.
import { type HubConnection, HubConnectionBuilder, HubConnectionState, LogLevel } from "@microsoft/signalr";
import type { EventView } from "../contracts";

export type LiveState = "connecting" | "live" | "reconnecting";

export interface LiveCallbacks {
  /** Number of the newest event, null if the API does not say. Throws when the API is away; answers false when not signed in. */
  probe(): Promise<number | null | false>;
  onEvent(event: EventView): void;
  /** A connection has just come up: whatever failed or was asked for meanwhile should be asked for again. */
  onConnected(): void;
  onSignedOut(): void;
}

/** The part of a SignalR connection that is used here. */
export type Hub = Pick<HubConnection, "state" | "start" | "stop" | "onclose" | "stream" | "invoke">;

export function dashboardHub(): Hub {
  return new HubConnectionBuilder().withUrl("/hubs/dashboard").configureLogging(LogLevel.None).build();
}

interface Subscription {
  method: string;
  args: () => unknown[];
  onItem: (item: never) => void;
  /** Changes with every opening; items and ends of an older opening are ignored. */
  opening: number;
  close: (() => void) | null;
}

const retryStreamMilliseconds = 1000;

export function backoffMilliseconds(attempt: number): number {
  return Math.min(2000, 200 * 2 ** Math.min(attempt, 10));
}

export class LiveConnection {
  private readonly subscriptions = new Set<Subscription>();
  private readonly listeners = new Set<() => void>();
  private readonly events: Subscription;
  private closed: () => void = () => undefined;
  private stopped = false;
  private lastNumber: number | null = null;
  private current: LiveState = "connecting";
  private generation = 0;

  constructor(
    private readonly callbacks: LiveCallbacks,
    private readonly connection: Hub,
  ) {
    this.connection.onclose(() => this.closed());
    this.events = {
      method: "Events", args: () => [this.lastNumber ?? -1], onItem: (event: EventView) => this.take(event), opening: 0, close: null,
    } as Subscription;
    this.subscriptions.add(this.events);
  }

  get state(): LiveState {
    return this.current;
  }

  /** Grows with each connection, so that others can load what they missed. */
  get epoch(): number {
    return this.generation;
  }

  onChange = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  start(): void {
    void this.run();
  }

  stop(): void {
    this.stopped = true;
    this.closed();
    void this.connection.stop();
  }

  subscribe<T>(method: string, args: () => unknown[], onItem: (item: T) => void): () => void {
    const subscription: Subscription = { method, args, onItem: onItem as (item: never) => void, opening: 0, close: null };
    this.subscriptions.add(subscription);
    this.open(subscription);
    return () => {
      this.subscriptions.delete(subscription);
      subscription.opening++;
      subscription.close?.();
    };
  }

  invoke<T>(method: string, ...args: unknown[]): Promise<T> {
    return this.connection.invoke<T>(method, ...args);
  }

  private async run(): Promise<void> {
    for (let attempt = 0; !this.stopped; attempt++) {
      try {
        const newest = await this.callbacks.probe();
        if (this.stopped) return;
        if (newest === false) {
          this.callbacks.onSignedOut();
          return;
        }
        // A number below ours means another database: resume from its present.
        if (this.lastNumber === null || (newest !== null && newest < this.lastNumber)) this.lastNumber = newest;
        const closed = new Promise<void>((resolve) => (this.closed = resolve));
        await this.connection.start();
        if (this.stopped) return void this.connection.stop();
        attempt = 0;
        this.generation++;
        this.become("live");
        for (const subscription of this.subscriptions) this.open(subscription);
        this.callbacks.onConnected();
        await closed;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
      }
      if (this.stopped) return;
      this.become(this.generation === 0 ? "connecting" : "reconnecting");
      await new Promise((resolve) => setTimeout(resolve, backoffMilliseconds(attempt)));
    }
  }

  private open(subscription: Subscription): void {
    if (this.connection.state !== HubConnectionState.Connected) return;
    const opening = ++subscription.opening;
    const again = () => {
      if (subscription.opening !== opening || !this.subscriptions.has(subscription)) return;
      setTimeout(() => {
        if (subscription.opening === opening && this.subscriptions.has(subscription)) this.open(subscription);
      }, retryStreamMilliseconds);
    };
    const handle = this.connection.stream<never>(subscription.method, ...subscription.args()).subscribe({
      next: (item) => {
        if (subscription.opening === opening) subscription.onItem(item);
      },
      complete: again,
      error: (error: Error) => {
        if (subscription === this.events && error.message.includes("events_expired")) this.beginAnew();
        else again();
      },
    });
    subscription.close = () => handle.dispose();
  }

  /** What came after the last number is no longer kept: the next connection begins from now, and everything is loaded again. */
  private beginAnew(): void {
    this.lastNumber = null;
    void this.connection.stop();
  }

  private take(event: EventView): void {
    if (this.lastNumber !== null && event.number <= this.lastNumber) return;
    this.lastNumber = event.number;
    this.callbacks.onEvent(event);
  }

  private become(state: LiveState): void {
    this.current = state;
    for (const listener of [...this.listeners]) listener();
  }
}
