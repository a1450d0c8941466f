/**
 * Bytes to a PDU: the format checks that need nothing but the event itself ("is a valid event, otherwise it is
 * dropped"). A `Pdu` is well-formed for its room version, no more: nobody has verified or authorised it.
 *
 * Trusted: the room version. From the wire: every byte. Specification v1.19, server-server API, "Checks performed on
 * receipt of a PDU", step 1; client-server API, "Size limits"; rooms/v*.md, "Event format".
 */

import { CanonicalJsonError, canonicalJson } from './canonical-json.js';
import { withoutTopLevelKey } from './excise-key.js';
import type { EventId, LengthUnit, RoomId, UserId } from './ids.js';
import { lengthIn, parseEventId, parseRoomId, parseUserId, utf8Bytes } from './ids.js';
import type { JsonObject, JsonValue } from './json.js';
import { isJsonObject } from './json.js';
import {
  AUTH_EVENTS_MAX,
  DEPTH_MAX,
  OLD_DEPTH_MAX,
  PDU_BYTES_MAX,
  PDU_FIELD_BYTES_MAX,
  PREV_EVENTS_MAX,
} from './limits.js';
import { exactJsonObject } from './old-versions/exact-numbers.js';
import { parseJsonObject } from './parse-json.js';
import type { RoomVersionRules } from './room-versions.js';

declare const parsed: unique symbol;

/** A well-formed event of one room version; only parsePdu makes one. */
export interface Pdu {
  readonly [parsed]: true;
  /** The parsed event. Its `unsigned`, if any, is the sender's chatter: never stored, hashed or believed. */
  readonly json: JsonObject;
  /** `json` without `unsigned`, or its numbers as they were sent where they are not doubles: what is hashed. */
  readonly hashedJson: JsonObject;
  /** The bytes it came in, `unsigned` cut out: what is stored. */
  readonly text: string;
  /** The `event_id` field of room versions 1 and 2. */
  readonly statedEventId: EventId | undefined;
  /** Undefined only for the create event of a room whose ID is that event's hash. */
  readonly roomId: RoomId | undefined;
  readonly type: string;
  readonly sender: UserId;
  readonly stateKey: string | undefined;
  readonly content: JsonObject;
  readonly depth: number;
  readonly originServerTs: number;
  readonly authEventIds: readonly EventId[];
  readonly prevEventIds: readonly EventId[];
}

export type PduFormatCode =
  | 'not-json'
  | 'duplicate-key'
  | 'not-an-integer'
  | 'integer-out-of-range'
  | 'lone-surrogate'
  | 'too-deep'
  | 'too-large'
  | 'field-too-large'
  | 'bad-field'
  | 'too-many-prev-events'
  | 'too-many-auth-events';

export type ParsedPdu =
  | { readonly ok: true; readonly pdu: Pdu }
  | { readonly ok: false; readonly code: PduFormatCode; readonly reason: string };

/** `pushed`: the limits on prev_events and auth_events apply (not to what `backfill` and old state return). */
export interface ParsePduOptions {
  readonly pushed: boolean;
}

class FormatError extends Error {
  readonly code: PduFormatCode;
  constructor(code: PduFormatCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Parses one event. `text` is its JSON as received (UTF-8 decoded). Never throws on bad input. */
export function parsePdu(rules: RoomVersionRules, text: string, options: ParsePduOptions): ParsedPdu {
  const parsedJson = parseJsonObject(text, rules.strictCanonicalJson, 'unsigned');
  if (!parsedJson.ok) return parsedJson;
  try {
    return { ok: true, pdu: checkPdu(rules, parsedJson.value, text, options) };
  } catch (error) {
    if (error instanceof FormatError) return { ok: false, code: error.code, reason: error.message };
    if (error instanceof CanonicalJsonError && error.code !== 'not-json') {
      return { ok: false, code: error.code, reason: error.message };
    }
    throw error;
  }
}

function checkPdu(rules: RoomVersionRules, json: JsonObject, text: string, options: ParsePduOptions): Pdu {
  const storedText = json.unsigned === undefined ? text : withoutTopLevelKey(text, 'unsigned');
  const hashedJson = rules.strictCanonicalJson ? json : (exactJsonObject(storedText) ?? json);
  checkCanonical(rules, hashedJson, storedText);
  const type = field(rules, json, 'type');
  const sender = parseUserId(field(rules, json, 'sender'), unitOf(rules));
  if (sender === undefined) throw new FormatError('bad-field', 'sender is not a user ID');
  const isCreate = type === 'm.room.create';
  checkHashesAndSignatures(json);
  const pdu: Omit<Pdu, typeof parsed> = {
    json,
    hashedJson,
    text: storedText,
    statedEventId: statedEventId(rules, json),
    roomId: roomId(rules, json, isCreate),
    type,
    sender,
    stateKey: json.state_key === undefined ? undefined : field(rules, json, 'state_key'),
    content: object(json, 'content'),
    depth: depth(rules, json),
    originServerTs: integer(rules, json, 'origin_server_ts'),
    authEventIds: references(rules, json, 'auth_events', options.pushed ? AUTH_EVENTS_MAX : Number.POSITIVE_INFINITY),
    prevEventIds: references(rules, json, 'prev_events', options.pushed ? PREV_EVENTS_MAX : Number.POSITIVE_INFINITY),
  };
  return pdu as Pdu;
}

/** A number that canonical JSON may write longer than the text does; only room versions 1 to 5 have them. */
const EXPONENT = /\d[eE]/;
/** What a text without a canonical form has somewhere: half of a surrogate pair (escaped, or it were not UTF-8), or a large integer. */
const MAY_HAVE_NO_FORM = /\\u[dD][89a-fA-F]|\d{16}/;

/**
 * The event has a canonical form, and that is not too large. Canonical JSON is never longer than the text it came in but
 * for exponents, so ordinary text needs no second look. verify-pdu.ts relies on the limit: its buffer holds no more.
 */
function checkCanonical(rules: RoomVersionRules, hashedJson: JsonObject, text: string): void {
  const mayGrow = !rules.strictCanonicalJson && EXPONENT.test(text);
  const isSmall = !mayGrow && (text.length * 3 <= PDU_BYTES_MAX || utf8Bytes(text) <= PDU_BYTES_MAX);
  if (isSmall && !MAY_HAVE_NO_FORM.test(text)) return;
  const { unsigned: _, ...counted } = hashedJson;
  const bytes = utf8Bytes(canonicalJson(counted, rules.strictCanonicalJson));
  if (bytes > PDU_BYTES_MAX) throw new FormatError('too-large', `${bytes} bytes, more than ${PDU_BYTES_MAX}`);
}

function unitOf(rules: RoomVersionRules): LengthUnit {
  return rules.fieldLimitsInBytes ? 'bytes' : 'code-points';
}

function field(rules: RoomVersionRules, json: JsonObject, name: string): string {
  const value = json[name];
  if (typeof value !== 'string') throw new FormatError('bad-field', `${name} is not a string`);
  if (value.length * 3 <= PDU_FIELD_BYTES_MAX) return value;
  const size = lengthIn(unitOf(rules), value);
  if (size > PDU_FIELD_BYTES_MAX) {
    throw new FormatError('field-too-large', `${name} is ${size} long, more than ${PDU_FIELD_BYTES_MAX}`);
  }
  return value;
}

function object(json: JsonObject, name: string): JsonObject {
  const value = json[name];
  if (!isJsonObject(value)) throw new FormatError('bad-field', `${name} is not an object`);
  return value;
}

/** An integer; one of room versions 1 to 5 beyond 2^53 - 1 counts as that, and is hashed as it was sent. */
function integer(rules: RoomVersionRules, json: JsonObject, name: string): number {
  const value = json[name];
  if (typeof value !== 'number' || !Number.isInteger(value))
    throw new FormatError('bad-field', `${name} is not an integer`);
  if (Number.isSafeInteger(value)) return value;
  if (rules.strictCanonicalJson) throw new FormatError('integer-out-of-range', `${name} is beyond 2^53 - 1`);
  return Math.sign(value) * Number.MAX_SAFE_INTEGER;
}

function depth(rules: RoomVersionRules, json: JsonObject): number {
  const value = integer(rules, json, 'depth');
  if (value < 0 || value > DEPTH_MAX)
    throw new FormatError('bad-field', `depth ${value} is not between 0 and 2^53 - 1`);
  if ((json.depth as number) > OLD_DEPTH_MAX) throw new FormatError('integer-out-of-range', 'depth is beyond 2^63 - 1');
  return value;
}

function statedEventId(rules: RoomVersionRules, json: JsonObject): EventId | undefined {
  if (rules.eventIdForm !== 'domain') return undefined;
  const id = parseEventId(field(rules, json, 'event_id'), unitOf(rules));
  if (id === undefined || !id.includes(':'))
    throw new FormatError('bad-field', 'event_id is not an event ID with a domain');
  return id;
}

function roomId(rules: RoomVersionRules, json: JsonObject, isCreate: boolean): RoomId | undefined {
  if (rules.roomIdIsCreateEventHash && isCreate && json.room_id === undefined) return undefined;
  const id = parseRoomId(field(rules, json, 'room_id'), unitOf(rules));
  if (id === undefined) throw new FormatError('bad-field', 'room_id is not a room ID');
  return id;
}

function references(
  rules: RoomVersionRules,
  json: JsonObject,
  name: 'auth_events' | 'prev_events',
  most: number,
): EventId[] {
  const list = json[name];
  if (!Array.isArray(list)) throw new FormatError('bad-field', `${name} is not a list`);
  if (list.length > most) {
    throw new FormatError(
      name === 'prev_events' ? 'too-many-prev-events' : 'too-many-auth-events',
      `${list.length} ${name}`,
    );
  }
  const ids: EventId[] = [];
  for (const item of list as readonly JsonValue[]) {
    const id = parseEventId(rules.eventReferenceForm === 'pair' ? pairId(item) : item, unitOf(rules));
    if (id === undefined) throw new FormatError('bad-field', `${name} holds something that is not an event reference`);
    ids.push(id);
  }
  return ids;
}

function pairId(item: JsonValue): JsonValue | undefined {
  return Array.isArray(item) && item.length === 2 && isJsonObject(item[1]) ? (item[0] as JsonValue) : undefined;
}

function checkHashesAndSignatures(json: JsonObject): void {
  object(json, 'hashes');
  const signatures = object(json, 'signatures');
  for (const server in signatures) {
    if (!isJsonObject(signatures[server]))
      throw new FormatError('bad-field', `signatures of ${server} are not an object`);
  }
}
