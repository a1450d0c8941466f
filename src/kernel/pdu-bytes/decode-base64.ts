/** Base64 of either alphabet from bytes to bytes, without a string in between. The characters have been checked before. */

const VALUES = new Uint8Array(256);
for (const [value, character] of [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].entries()) {
  VALUES[character.charCodeAt(0)] = value;
}
VALUES['-'.charCodeAt(0)] = 62;
VALUES['_'.charCodeAt(0)] = 63;

/** Decodes `count` characters (unpadded) at `at` into `target` from `to`. */
export function decodeBase64(bytes: Uint8Array, at: number, count: number, target: Uint8Array, to: number): void {
  let out = to;
  let i = at;
  for (const end = at + count - 3; i < end; i += 4) {
    const word =
      ((VALUES[bytes[i] as number] as number) << 18) |
      ((VALUES[bytes[i + 1] as number] as number) << 12) |
      ((VALUES[bytes[i + 2] as number] as number) << 6) |
      (VALUES[bytes[i + 3] as number] as number);
    target[out++] = word >> 16;
    target[out++] = word >> 8;
    target[out++] = word;
  }
  const left = at + count - i;
  if (left < 2) return;
  const first = VALUES[bytes[i] as number] as number;
  const second = VALUES[bytes[i + 1] as number] as number;
  target[out++] = (first << 2) | (second >> 4);
  if (left === 3) target[out] = (second << 4) | ((VALUES[bytes[i + 2] as number] as number) >> 2);
}
