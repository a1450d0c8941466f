/**
 * Event IDs of PDUs that could not be taken in, so that they can be answered for all the same: a sender looks its events
 * up by ID. Where the room version is not known, every ID that the event has in some version counts.
 * Specification v1.19, server-server API, "Transactions"; rooms/v3.md and v4.md, "Event IDs".
 */

import { CanonicalJsonError } from '../../kernel/matrix/canonical-json.js';
import type { EventId } from '../../kernel/matrix/ids.js';
import { parseEventId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { ROOM_VERSIONS, roomVersionRules } from '../../kernel/matrix/room-versions.js';
import { eventIdOf, pduForms, referenceHash } from '../../kernel/signatures/hash-pdu.js';

/** The ID that an event has by these rules, well-formed or not; undefined for one whose bytes cannot be hashed. */
export function nameOfPdu(rules: RoomVersionRules, pdu: JsonObject): EventId | undefined {
  const stated = parseEventId(pdu.event_id);
  if (rules.eventIdForm === 'domain') return stated;
  try {
    // Numbers that the version forbids are why it was refused, not why it would have no name.
    const { signedText } = pduForms({ ...rules, strictCanonicalJson: false }, pdu);
    return eventIdOf(rules, referenceHash(signedText), stated);
  } catch (error) {
    if (error instanceof CanonicalJsonError) return undefined;
    throw error;
  }
}

/** The IDs that an event may have where nobody can tell its room version. */
export function namesOfPdu(pdu: JsonObject): ReadonlySet<EventId> {
  const names = new Set<EventId>();
  for (const version of ROOM_VERSIONS) {
    const rules = roomVersionRules(version);
    const name = rules === undefined ? undefined : nameOfPdu(rules, pdu);
    if (name !== undefined) names.add(name);
  }
  return names;
}
