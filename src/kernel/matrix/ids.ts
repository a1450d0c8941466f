/**
 * Matrix identifiers as branded strings, and the functions that make them.
 *
 * A branded ID has the right sigil, a domain where one is required, and is at most 255 bytes long (255 code points in
 * events of room versions 1 to 10, see parse-pdu.ts). Nothing here touches the network; whether a server name resolves
 * is remote/'s business.
 * Specification v1.19, appendices, "Common Identifier Format" and "Server Name".
 */

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** `$...`: opaque with a domain in room versions 1 and 2, a reference hash from version 3 on. */
export type EventId = Branded<string, 'EventId'>;
/** `!...`: with a domain up to room version 11, the create event's hash from version 12 on. */
export type RoomId = Branded<string, 'RoomId'>;
/** `@localpart:domain`. */
export type UserId = Branded<string, 'UserId'>;
/** `host[:port]`. */
export type ServerName = Branded<string, 'ServerName'>;
/** `ed25519:version`. */
export type KeyId = Branded<string, 'KeyId'>;

/** Longest identifier in bytes, sigil and domain included (appendices, "Common Identifier Format"). */
export const ID_BYTES_MAX = 255;
/** Longest server name in characters (appendices, "Server Name": 230 for future-proofing IDs). */
export const SERVER_NAME_CHARS_MAX = 230;

const SERVER_NAME = /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.-]{1,230})(?::[0-9]{1,5})?$/;
const KEY_ID = /^[a-z0-9]+:[A-Za-z0-9_+/=.-]+$/;
const NON_ASCII = /[^ -~]/;

/** What the length of an identifier is counted in: code points only in events of old room versions. */
export type LengthUnit = 'bytes' | 'code-points';

/** Length of `text` in `unit`. */
export function lengthIn(unit: LengthUnit, text: string): number {
  return unit === 'bytes' ? utf8Bytes(text) : [...text].length;
}

/** Length of `text` in UTF-8 bytes. */
export function utf8Bytes(text: string): number {
  return NON_ASCII.test(text) ? Buffer.byteLength(text, 'utf8') : text.length;
}

/** The server name, or undefined when `text` is not one. */
export function parseServerName(text: unknown): ServerName | undefined {
  if (typeof text !== 'string' || text.length > SERVER_NAME_CHARS_MAX || !SERVER_NAME.test(text)) return undefined;
  return text as ServerName;
}

function parseSigilId(text: unknown, sigil: string, domainRequired: boolean, unit: LengthUnit): string | undefined {
  if (typeof text !== 'string' || text.length < 2 || text[0] !== sigil) return undefined;
  if (text.length * 3 > ID_BYTES_MAX && lengthIn(unit, text) > ID_BYTES_MAX) return undefined;
  const colon = text.indexOf(':');
  if (colon < 0) return domainRequired ? undefined : text;
  return parseServerName(text.slice(colon + 1)) === undefined ? undefined : text;
}

/** The user ID, or undefined. Historical local parts (any characters but the colon) are accepted. */
export function parseUserId(text: unknown, unit: LengthUnit = 'bytes'): UserId | undefined {
  return parseSigilId(text, '@', true, unit) as UserId | undefined;
}

/** The room ID of either form (with a domain, or a create event's hash), or undefined. */
export function parseRoomId(text: unknown, unit: LengthUnit = 'bytes'): RoomId | undefined {
  return parseSigilId(text, '!', false, unit) as RoomId | undefined;
}

/** The event ID of either form, or undefined. */
export function parseEventId(text: unknown, unit: LengthUnit = 'bytes'): EventId | undefined {
  return parseSigilId(text, '$', false, unit) as EventId | undefined;
}

/** The key ID (`algorithm:version`), or undefined. */
export function parseKeyId(text: unknown): KeyId | undefined {
  return typeof text === 'string' && text.length <= ID_BYTES_MAX && KEY_ID.test(text) ? (text as KeyId) : undefined;
}

/** The domain of a user ID, or of a room or event ID that has one; undefined where there is none. */
export function serverNameOf(id: UserId): ServerName;
export function serverNameOf(id: RoomId | EventId): ServerName | undefined;
export function serverNameOf(id: string): ServerName | undefined {
  const colon = id.indexOf(':');
  return colon < 0 ? undefined : (id.slice(colon + 1) as ServerName);
}

/** The part of a user ID between sigil and domain. */
export function localpartOf(userId: UserId): string {
  return userId.slice(1, userId.indexOf(':'));
}
