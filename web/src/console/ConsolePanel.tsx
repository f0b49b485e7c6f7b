import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import { useEffect, useRef, useState } from "react";
import { type ConsoleFrame, type ConsoleWriter, maxConsoleWriteBytes } from "../contracts";
import { useLive, useLiveEpoch, useLiveState } from "../live/LiveProvider";
import { Ask } from "../page/Dialog";
import { tellFailure } from "../page/Toasts";
import { useRights } from "../session/rights";
import { fromBase64, mergeFrame, pieces, toBase64 } from "./offsets";

interface Holders { viewers: number; writer: string | null; youWrite: boolean }

const nobody: Holders = { viewers: 0, writer: null, youWrite: false };
const colors = { background: "#10191c", foreground: "#d9e4e5", cursor: "#ffc44d", cursorAccent: "#10191c", selectionBackground: "#2c545f" };

export function ConsolePanel({ sandboxId, name }: { sandboxId: string; name: string }) {
  const { operate } = useRights();
  const live = useLive();
  const state = useLiveState();
  const epoch = useLiveEpoch();
  const host = useRef<HTMLDivElement>(null);
  const terminal = useRef<Terminal | null>(null);
  const held = useRef(false);
  const [holders, setHolders] = useState(nobody);
  const [takenBy, setTakenBy] = useState<string | null>(null);
  const youWrite = holders.youWrite && state === "live";
  const writing = useRef(youWrite);
  writing.current = youWrite;

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const term = new Terminal({ convertEol: false, scrollback: 5000, fontFamily: "Red Hat Mono Variable, DejaVu Sans Mono, monospace", fontSize: 13.5, lineHeight: 1.15, theme: colors, disableStdin: true, cursorInactiveStyle: "outline" });
    const fit = new FitAddon();
    term.loadAddon(fit);
    // Tab belongs to the guest only while one types into it, and Shift+Tab always leads out: the page must not trap the keyboard.
    term.attachCustomKeyEventHandler((event) => !(event.key === "Tab" && (event.shiftKey || !writing.current)));
    term.open(element);
    terminal.current = term;
    const refit = () => element.clientWidth > 0 && fit.fit();
    const observer = new ResizeObserver(refit);
    observer.observe(element);
    document.fonts.load("13px 'Red Hat Mono Variable'").then(() => {
      term.options.fontFamily = "'Red Hat Mono Variable', DejaVu Sans Mono, monospace";
      refit();
    }, () => undefined);

    const encoder = new TextEncoder();
    const keyboard = term.onData((text) => {
      if (!writing.current) return;
      for (const piece of pieces(encoder.encode(text), maxConsoleWriteBytes)) {
        live.invoke("ConsoleWrite", sandboxId, toBase64(piece)).catch((error: unknown) => tellFailure("Keys not sent", error));
      }
    });
    let next: number | null = null;
    const close = live.subscribe<ConsoleFrame>("Console", () => [sandboxId, next ?? 0], (frame) => {
      setHolders({ viewers: frame.viewers, writer: frame.writer, youWrite: frame.youWrite });
      if (frame.data === null) return;
      const first = next === null;
      const merged = mergeFrame(next, frame.offset, fromBase64(frame.data));
      next = merged.next;
      if (merged.missed > 0 || (first && frame.offset > 0)) {
        term.write(`\r\n\x1b[2m[${merged.missed || frame.offset} earlier bytes are no longer kept]\x1b[0m\r\n`);
      }
      if (merged.data.length > 0) term.write(merged.data);
    });
    return () => {
      close();
      if (held.current) live.invoke("ConsoleRelease", sandboxId).catch(() => undefined);
      observer.disconnect();
      keyboard.dispose();
      term.dispose();
      terminal.current = null;
    };
  }, [live, sandboxId]);

  // Not before the question is gone: an open dialog keeps the focus, and gives it back to a button when it closes.
  const typeNext = useRef(false);
  useEffect(() => {
    const term = terminal.current;
    if (!term) return;
    term.options.disableStdin = !youWrite;
    if (!youWrite || takenBy !== null || !typeNext.current) return;
    typeNext.current = false;
    term.focus();
  }, [youWrite, takenBy]);

  async function acquire(force: boolean, quietly = false) {
    typeNext.current = !quietly;
    try {
      const answer = await live.invoke<ConsoleWriter>("ConsoleAcquire", sandboxId, force);
      held.current = answer.acquired;
      if (answer.acquired) {
        setHolders((before) => ({ ...before, writer: answer.writer, youWrite: true }));
        setTakenBy(null);
      } else if (!quietly) setTakenBy(answer.writer ?? "Someone else");
    } catch (error) {
      if (!quietly) tellFailure("The keyboard could not be taken", error);
    }
  }

  async function release() {
    held.current = false;
    try {
      await live.invoke("ConsoleRelease", sandboxId);
      setHolders((before) => ({ ...before, writer: null, youWrite: false }));
    } catch (error) {
      tellFailure("The keyboard could not be given back", error);
    }
  }

  // A new connection is a new viewer to the API: whoever typed before asks again, without pushing anyone aside.
  const seenEpoch = useRef(epoch);
  useEffect(() => {
    if (epoch === seenEpoch.current) return;
    seenEpoch.current = epoch;
    if (held.current) void acquire(false, true);
  });

  return (
    <section className="panel" aria-labelledby="console-title" data-testid="console">
      <header>
        <h2 id="console-title">Serial console</h2>
        <span className="small soft" data-testid="console-viewers">{holders.viewers === 1 ? "1 viewer" : `${holders.viewers} viewers`}</span>
        {youWrite
          ? <button type="button" className="compact" onClick={() => void release()} data-testid="console-release">Give the keyboard back</button>
          : operate && <button type="button" className="compact" onClick={() => void acquire(false)} disabled={state !== "live"} data-testid="console-acquire">Take the keyboard</button>}
      </header>
      <p className="console-note" data-testid="console-writer" role="status">
        {state !== "live" ? "No connection to the guest now. It goes on by itself where it stopped." : youWrite ? "You type. Shift+Tab leaves the terminal." : holders.writer ? `${holders.writer} types. You only watch.` : operate ? "Nobody types. Take the keyboard to type." : "Nobody types."}
      </p>
      <div className="console-frame">
        <div className="terminal" ref={host} role="group" aria-label={`Serial console of ${name}`} data-testid="console-terminal" />
      </div>
      {takenBy !== null && (
        <Ask title="Take the keyboard away?" action="Take it" danger onNo={() => setTakenBy(null)} onYes={() => void acquire(true)}>
          <p><b>{takenBy}</b> is typing into this console. Taking the keyboard stops them in the middle of what they write.</p>
        </Ask>
      )}
    </section>
  );
}
