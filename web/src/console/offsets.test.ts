import { describe, expect, it } from "vitest";
import { fromBase64, mergeFrame, pieces, toBase64 } from "./offsets";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array) => new TextDecoder().decode(data);

describe("joining console frames", () => {
  it.each([
    ["the first frame of all", null, 100, "abc", "abc", 0, 103],
    ["the next one", 103, 103, "def", "def", 0, 106],
    ["the ring again after a new connection: only what is new", 103, 100, "abcdef", "def", 0, 106],
    ["nothing new in it", 106, 100, "abcdef", "", 0, 106],
    ["older than all that was shown", 106, 50, "xyz", "", 0, 106],
    ["a hole, because the ring had dropped bytes", 103, 110, "jkl", "jkl", 7, 113],
    ["an empty frame", 103, 103, "", "", 0, 103],
  ])("%s", (_, next, offset, data, shown, missed, end) => {
    const merged = mergeFrame(next, offset, bytes(data));
    expect([text(merged.data), merged.missed, merged.next]).toEqual([shown, missed, end]);
  });

  it("shows every byte once however the stream is cut and begun again", () => {
    const all = "0123456789abcdefghij";
    const frames: [number, number][] = [[0, 5], [3, 9], [0, 9], [9, 10], [10, 10], [4, 20]];
    let next: number | null = null;
    let shown = "";
    for (const [from, to] of frames) {
      const merged = mergeFrame(next, from, bytes(all.slice(from, to)));
      shown += text(merged.data);
      next = merged.next;
    }
    expect(shown).toBe(all);
  });
});

describe("bytes on the way", () => {
  it("survive base64, all 256 of them", () => {
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    expect(fromBase64(toBase64(all))).toEqual(all);
  });

  it("are cut into pieces that one write takes, in order", () => {
    const cut = pieces(bytes("abcdefgh"), 3);
    expect(cut.map(text)).toEqual(["abc", "def", "gh"]);
    expect(pieces(bytes(""), 3)).toEqual([]);
  });
});
