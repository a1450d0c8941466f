/**
 * One hash for a room state, so that two runs can be compared by a line: SHA-256 over the lines
 * `type \0 state_key \0 event_id \n`, sorted by code units.
 */

import { createHash } from 'node:crypto';
import type { StateIds } from './manifest.js';

/** The hash of a state, in hexadecimal. */
export function stateHash(state: StateIds): string {
  const lines: string[] = [];
  for (const [key, eventId] of state) lines.push(`${key}\0${eventId}\n`);
  lines.sort();
  const digest = createHash('sha256');
  for (const line of lines) digest.update(line);
  return digest.digest('hex');
}
