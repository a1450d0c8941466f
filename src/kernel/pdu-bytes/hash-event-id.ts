/**
 * Event IDs that are url-safe hashes, in bytes: recognised, and turned into event keys without a string in between. The
 * same IDs as event-key.ts recognises in text.
 */

import { EVENT_KEY_BYTES } from '../matrix/event-key.js';
import { decodeBase64 } from './decode-base64.js';

/** `$` and 43 characters. */
export const HASH_EVENT_ID_BYTES = 44;
const HASH_CHARS = 43;
const DOLLAR = 0x24;

const URL_SAFE = classOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_');
/** Of 43 characters the last one's two low bits are zero, or the ID could not be made of the hash again. */
const URL_SAFE_LAST = classOf('AEIMQUYcgkosw048');

/** A table of 256 bytes: 1 for each of `characters`. */
export function classOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}

/** Whether a hash event ID stands at `at`. */
export function isHashEventIdAt(bytes: Uint8Array, at: number): boolean {
  const last = at + HASH_CHARS;
  if (bytes[at] !== DOLLAR || last >= bytes.length) return false;
  for (let i = at + 1; i < last; i++) if (URL_SAFE[bytes[i] as number] === 0) return false;
  return URL_SAFE_LAST[bytes[last] as number] === 1;
}

const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_');

/** Writes the event ID whose key begins at `at` of `keys` into HASH_EVENT_ID_BYTES and one more of `target` from `to`. */
export function writeHashEventId(keys: Uint8Array, at: number, target: Uint8Array, to: number): void {
  target[to] = DOLLAR;
  let out = to + 1;
  for (let i = at; i < at + EVENT_KEY_BYTES; i += 3) {
    // 32 bytes end two bytes into a group of three: the last character is padding, which the caller overwrites.
    const third = i + 2 < at + EVENT_KEY_BYTES ? (keys[i + 2] as number) : 0;
    const bits = ((keys[i] as number) << 16) | ((keys[i + 1] as number) << 8) | third;
    target[out++] = ALPHABET[bits >>> 18] as number;
    target[out++] = ALPHABET[(bits >>> 12) & 63] as number;
    target[out++] = ALPHABET[(bits >>> 6) & 63] as number;
    target[out++] = ALPHABET[bits & 63] as number;
  }
}

/** Writes the key of the hash event ID at `at` into 32 bytes of `target` from `to`. */
export function writeHashEventKey(bytes: Uint8Array, at: number, target: Uint8Array, to: number): void {
  decodeBase64(bytes, at + 1, HASH_CHARS, target, to);
}
