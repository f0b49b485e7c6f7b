/** Where the viewer's copy of the console ends. */
export interface Merge {
  /** Bytes to show now; empty when all of them have been shown before. */
  data: Uint8Array;
  /** How many bytes the console put out that will never be shown, because the ring had already dropped them. */
  missed: number;
  /** The offset to resume from. */
  next: number;
}

/** Joins a frame to what has been shown: the overlap of a re-opened stream is dropped, a hole is told. <c>next</c> null: nothing shown yet. */
export function mergeFrame(next: number | null, offset: number, data: Uint8Array): Merge {
  const end = offset + data.length;
  if (next === null) return { data, missed: 0, next: end };
  if (end <= next) return { data: data.subarray(data.length), missed: 0, next };
  if (offset < next) return { data: data.subarray(next - offset), missed: 0, next: end };
  return { data, missed: offset - next, next: end };
}

export function fromBase64(text: string): Uint8Array {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Cuts what was typed or pasted into pieces that one write takes. */
export function pieces(bytes: Uint8Array, most: number): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (let start = 0; start < bytes.length; start += most) all.push(bytes.subarray(start, start + most));
  return all;
}
