/**
 * The text of one event to what the authorization rules read. Real PDUs are taken as a server would take them: the ID
 * computed, the content redacted where the content hash that is stated does not match. Stories are easier to write: an
 * event with an `event_id` has that ID, and may leave out what says nothing to the rules.
 *
 * Signatures are not looked at. Specification v1.19, rooms, "Event format"; server-server API, "Checks performed on receipt
 * of a PDU", steps 1 and 3.
 */

import type { AuthEvent } from '../../kernel/matrix/auth-event.js';
import { CanonicalJsonError } from '../../kernel/matrix/canonical-json.js';
import type { EventId, RoomId } from '../../kernel/matrix/ids.js';
import { parseEventId } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { parseJsonObject } from '../../kernel/matrix/parse-json.js';
import type { ParsedPdu, Pdu } from '../../kernel/matrix/parse-pdu.js';
import { parsePdu } from '../../kernel/matrix/parse-pdu.js';
import { redactContent } from '../../kernel/matrix/redact.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { hashPdu } from '../../kernel/signatures/verify-pdu.js';

export type EventReading =
  | { readonly ok: true; readonly eventId: EventId; readonly event: AuthEvent; readonly redacted: boolean }
  | {
      readonly ok: false;
      /** As stated; undefined where no valid ID is. */
      readonly eventId: EventId | undefined;
      readonly code: string;
      readonly reason: string;
    };

/** Events of a file are history: the limits on what is pushed do not apply. */
const NOT_PUSHED = { pushed: false };
/** What a story may leave out. */
const STORY_DEFAULTS: JsonObject = { hashes: {}, signatures: {}, prev_events: [], depth: 0, origin_server_ts: 0 };

/** Reads one event. `text` must be JSON; whatever else is wrong with it is said in the answer. */
export function readEvent(rules: RoomVersionRules, text: string): EventReading {
  const strict = parsePdu(rules, text, NOT_PUSHED);
  const parsed = strict.ok ? strict : (parseStory(rules, text) ?? strict);
  if (!parsed.ok) return { ok: false, eventId: statedIdIn(text), code: parsed.code, reason: parsed.reason };
  const { pdu } = parsed;
  const stated = pdu.statedEventId ?? pdu.json.event_id;
  const explicitId = parseEventId(stated);
  if (stated !== undefined && explicitId === undefined) {
    return { ok: false, eventId: undefined, code: 'bad-field', reason: 'event_id is not an event ID' };
  }
  if (rules.roomIdIsCreateEventHash && pdu.type === 'm.room.create' && pdu.roomId !== undefined) {
    const reason = 'rule 1.2: an m.room.create event must not have a room_id';
    return { ok: false, eventId: explicitId, code: 'create-has-room-id', reason };
  }
  if (explicitId !== undefined && pdu.statedEventId === undefined) return reading(rules, pdu, explicitId, false);
  try {
    const { eventId, contentMatches } = hashPdu(rules, pdu);
    return reading(rules, pdu, eventId, !contentMatches && statesHash(pdu));
  } catch (error) {
    if (!(error instanceof CanonicalJsonError)) throw error;
    return { ok: false, eventId: explicitId, code: error.code, reason: error.message };
  }
}

function reading(rules: RoomVersionRules, pdu: Pdu, eventId: EventId, redacted: boolean): EventReading {
  const redacts = rules.redactsInContent || redacted ? undefined : parseEventId(pdu.json.redacts);
  const event: AuthEvent = {
    eventId,
    // Only the create event of a room whose ID is that event's hash has none.
    roomId: pdu.roomId ?? (`!${eventId.slice(1)}` as RoomId),
    type: pdu.type,
    stateKey: pdu.stateKey,
    sender: pdu.sender,
    content: redacted ? redactContent(rules.redaction, pdu.type, pdu.content) : pdu.content,
    originServerTs: pdu.originServerTs,
    depth: pdu.depth,
    authEventIds: pdu.authEventIds,
    prevEventIds: pdu.prevEventIds,
    redacts,
    rejected: false,
  };
  return { ok: true, eventId, event, redacted };
}

function statesHash(pdu: Pdu): boolean {
  return isJsonObject(pdu.json.hashes) && pdu.json.hashes.sha256 !== undefined;
}

/** Parses an event that states its ID with what it leaves out filled in; undefined for one that states none. */
function parseStory(rules: RoomVersionRules, text: string): ParsedPdu | undefined {
  const parsed = parseJsonObject(text, rules.strictCanonicalJson);
  if (!parsed.ok || typeof parsed.value.event_id !== 'string') return undefined;
  const story: Record<string, JsonValue | undefined> = { ...STORY_DEFAULTS, ...parsed.value };
  if (rules.eventReferenceForm === 'pair') {
    for (const name of ['auth_events', 'prev_events']) story[name] = pairsOf(story[name]);
  }
  return parsePdu(rules, JSON.stringify(story), NOT_PUSHED);
}

/** References by ID alone as the pairs of room versions 1 and 2. */
function pairsOf(list: JsonValue | undefined): JsonValue | undefined {
  if (!Array.isArray(list)) return list;
  return (list as readonly JsonValue[]).map((item) => (typeof item === 'string' ? [item, {}] : item));
}

/** The ID that an event states which is malformed otherwise. The text is JSON: the walk over the document has seen it. */
function statedIdIn(text: string): EventId | undefined {
  const value = JSON.parse(text) as JsonValue;
  return isJsonObject(value) ? parseEventId(value.event_id) : undefined;
}
