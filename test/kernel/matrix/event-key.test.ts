/** Event keys: reference hashes where the ID is one, a hash of the ID where it is not. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVENT_KEY_BYTES, eventIdOfHash, eventKeyOf, isHashEventId } from '../../../src/kernel/matrix/event-key.js';
import type { EventId } from '../../../src/kernel/matrix/ids.js';

describe('event keys', () => {
  it('lead back to the event ID for the url-safe form', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: EVENT_KEY_BYTES, maxLength: EVENT_KEY_BYTES }), (bytes) => {
        const id = eventIdOfHash(Buffer.from(bytes));
        expect(isHashEventId(id)).toBe(true);
        expect([...eventKeyOf(id)]).toEqual([...bytes]);
      }),
    );
  });

  it('are a hash of the whole ID for every other form', () => {
    const letters = 'A'.repeat(42);
    const ids = [
      `$${letters}A`,
      `$${letters}B`,
      `$${letters}/`,
      `$${letters}+`,
      `$${letters}A:a.test`,
      '$x:a.test',
      `$${letters}AA`,
    ];
    expect(ids.map(isHashEventId)).toEqual([true, false, false, false, false, false, false]);
    const keys = ids.map((id) => eventKeyOf(id as EventId));
    expect(keys.every((key) => key.length === EVENT_KEY_BYTES)).toBe(true);
    expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(ids.length);
  });
});
