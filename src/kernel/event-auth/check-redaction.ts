/**
 * Rule 11 of room versions 1 and 2: `m.room.redaction`. From version 3 on a redaction is authorised like any event, and
 * checked when it is applied. Specification v1.19, rooms/v1, "Authorization rules", rule 11.
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import { serverNameOf } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { ALLOWED, type AuthVerdict, refused } from './auth-verdict.js';
import { namedLevel } from './power-levels.js';
import type { StateLookup } from './state-lookup.js';

/** Checks an `m.room.redaction` event of room versions 1 and 2. */
export function checkRedaction(
  rules: RoomVersionRules,
  event: AuthEvent,
  state: StateLookup,
  senderLevel: number,
): AuthVerdict {
  // 11.1. If the sender's power level is greater than or equal to the redact level, allow.
  if (senderLevel >= namedLevel(rules, state, 'redact')) return ALLOWED;
  // 11.2. If the domains of the event_id of the event being redacted and of the m.room.redaction match, allow.
  const ownDomain = serverNameOf(event.eventId);
  if (event.redacts !== undefined && ownDomain !== undefined && serverNameOf(event.redacts) === ownDomain) {
    return ALLOWED;
  }
  // 11.3. Otherwise, reject.
  return refused('redaction-insufficient-power');
}
