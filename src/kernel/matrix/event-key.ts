/**
 * Event keys: 32 bytes that stand for an event ID wherever many of them are compared or stored.
 *
 * For the url-safe form (`$` and 43 characters, room versions 4+) the key is the reference hash itself and the ID can be
 * rebuilt from it. Every other ID (a domain, the older base64 alphabet, stray bits in the last character) is opaque:
 * its key is the SHA-256 of the ID's text and the ID has to be kept beside it.
 */

import { hash } from 'node:crypto';
import type { EventId } from './ids.js';

export const EVENT_KEY_BYTES = 32;

const URL_SAFE_HASH = /^\$[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/** Whether `id` is the url-safe form whose key is its reference hash. */
export function isHashEventId(id: string): boolean {
  return URL_SAFE_HASH.test(id);
}

/** The key of an event ID: 32 bytes. */
export function eventKeyOf(id: EventId): Buffer {
  if (isHashEventId(id)) return Buffer.from(id.slice(1), 'base64url');
  return hash('sha256', id, 'buffer');
}

/** The event ID of a key that is a reference hash. */
export function eventIdOfHash(key: Buffer): EventId {
  return `$${key.toString('base64url', 0, EVENT_KEY_BYTES)}` as EventId;
}
