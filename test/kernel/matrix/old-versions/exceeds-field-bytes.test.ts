/** Events of room versions 1 to 10 whose fields are short in code points and long in bytes: rejected, not dropped. */

import { describe, expect, it } from 'vitest';
import { checkAuthRules } from '../../../../src/kernel/event-auth/check-auth-rules.js';
import type { AuthEvent } from '../../../../src/kernel/matrix/auth-event.js';
import type { EventId, RoomId, UserId } from '../../../../src/kernel/matrix/ids.js';
import { PDU_FIELD_BYTES_MAX } from '../../../../src/kernel/matrix/limits.js';
import { exceedsFieldBytes } from '../../../../src/kernel/matrix/old-versions/exceeds-field-bytes.js';
import { ROOM_VERSIONS } from '../../../../src/kernel/matrix/room-versions.js';
import { ALICE, RoomBuilder } from '../../../rooms/room-builder.js';

/** At the limit and just above it, one letter of two bytes among others of one. */
const atLimit = `é${'a'.repeat(PDU_FIELD_BYTES_MAX - 2)}`;
const aboveLimit = `${atLimit}a`;

describe.each(ROOM_VERSIONS)('a state_key over 255 bytes, in version %s', (version) => {
  it('is for the authorization rules to reject up to version 10, and for the format after', () => {
    const room = new RoomBuilder(version);
    const fork = room.startWith([], {});
    const verdict = (stateKey: string) => {
      const event = room.make(fork, { label: 'tested', sender: ALICE, type: 'org.test', content: {}, stateKey });
      const answer = checkAuthRules(room.rules, event, room.lookupOn(fork));
      return answer.allowed ? 'allowed' : answer.code;
    };
    expect(verdict(atLimit)).toBe('allowed');
    expect(verdict(aboveLimit)).toBe(room.rules.fieldLimitsInBytes ? 'allowed' : 'field-over-byte-limit');
    expect(room.rules.fieldLimitsInBytes).toBe(Number(version) >= 11);
  });
});

describe('the fields with a limit', () => {
  it('are type, state_key, sender, room ID and event ID', () => {
    const room = new RoomBuilder('10');
    const fork = room.startWith([], {});
    const event = room.make(fork, { label: 'tested', sender: ALICE, type: 'org.test', content: {}, stateKey: '' });
    const changes: ((text: string) => Partial<AuthEvent>)[] = [
      (type) => ({ type }),
      (stateKey) => ({ stateKey }),
      (sender) => ({ sender: sender as UserId }),
      (roomId) => ({ roomId: roomId as RoomId }),
      (eventId) => ({ eventId: eventId as EventId }),
    ];
    for (const change of changes) {
      expect(exceedsFieldBytes({ ...event, ...change(atLimit) })).toBe(false);
      expect(exceedsFieldBytes({ ...event, ...change(aboveLimit) })).toBe(true);
    }
    expect(exceedsFieldBytes({ ...event, content: { body: aboveLimit } })).toBe(false);
  });
});
