/**
 * The three byte forms of an event, made in one pass: what its content hash covers, what its signatures and its
 * reference hash cover, and from the latter its event ID.
 *
 * Each top-level member is written as canonical JSON once; the forms are concatenations of those. Redaction keeps
 * `hashes`, so content that does not match its hash changes the event's standing but not its ID.
 * Specification v1.19, server-server API, "Calculating the content hash for an event", "Calculating the reference hash
 * for an event"; rooms/v3.md and v4.md, "Event IDs".
 */

import { hash } from 'node:crypto';
import { canonicalJson, canonicalKeys, canonicalString } from '../matrix/canonical-json.js';
import { eventIdOfHash } from '../matrix/event-key.js';
import type { EventId } from '../matrix/ids.js';
import type { JsonObject, JsonValue } from '../matrix/json.js';
import { isJsonObject } from '../matrix/json.js';
import { redactContent } from '../matrix/redact.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';

export interface PduForms {
  /** Unpadded base64 of the content's SHA-256, to be compared with `hashes.sha256`. */
  readonly contentHash: string;
  /** Canonical JSON of the redacted event without `signatures` and `unsigned`: signed, and hashed for the reference. */
  readonly signedText: string;
}

/** Members of very old events that no hash covers (server-server API, "Calculating the content hash": `age_ts` and others). */
const NEVER_HASHED: ReadonlySet<string> = new Set(['age_ts', 'outlier', 'destinations']);

function isHashedMember(rules: RoomVersionRules, key: string): boolean {
  if (key === 'unsigned' || key === 'signatures') return false;
  return rules.eventIdForm !== 'domain' || !NEVER_HASHED.has(key);
}

/** Both forms of an event. Throws CanonicalJsonError where the event has none. */
export function pduForms(rules: RoomVersionRules, event: JsonObject): PduForms {
  const strict = rules.strictCanonicalJson;
  const { topLevelKeys } = rules.redaction;
  let hashed = '{';
  let signed = '{';
  for (const key of canonicalKeys(event)) {
    const value = event[key];
    if (value === undefined || !isHashedMember(rules, key)) continue;
    const member = `${canonicalString(key)}:${canonicalJson(value, strict)}`;
    if (key !== 'hashes') hashed += hashed.length > 1 ? `,${member}` : member;
    if (!topLevelKeys.has(key)) continue;
    const kept = key === 'content' ? redactedContentMember(rules, event, member) : member;
    signed += signed.length > 1 ? `,${kept}` : kept;
  }
  return { contentHash: unpadded(hash('sha256', `${hashed}}`, 'base64')), signedText: `${signed}}` };
}

function redactedContentMember(rules: RoomVersionRules, event: JsonObject, whole: string): string {
  const type = typeof event.type === 'string' ? event.type : '';
  const content: JsonObject = isJsonObject(event.content) ? event.content : {};
  const kept = redactContent(rules.redaction, type, content);
  return kept === content ? whole : `"content":${canonicalJson(kept, rules.strictCanonicalJson)}`;
}

/** Base64 without `=`. */
export function unpadded(base64: string): string {
  const end = base64.indexOf('=');
  return end < 0 ? base64 : base64.slice(0, end);
}

/** Whether the event's stated `hashes.sha256` is `contentHash`; in any alphabet or padding, as deployed servers compare bytes. */
export function contentHashMatches(event: JsonObject, contentHash: string): boolean {
  const hashes = event.hashes;
  const stated: JsonValue | undefined = isJsonObject(hashes) ? hashes.sha256 : undefined;
  if (stated === contentHash) return true;
  return typeof stated === 'string' && Buffer.from(stated, 'base64').equals(Buffer.from(contentHash, 'base64'));
}

/** The reference hash: 32 bytes. By way of a string, which node makes in a third of the time that a buffer takes it. */
export function referenceHash(signedBytes: Uint8Array | string): Buffer {
  return Buffer.from(hash('sha256', signedBytes, 'binary'), 'latin1');
}

/** The event ID: stated in room versions 1 and 2, else made of the reference hash. */
export function eventIdOf(rules: RoomVersionRules, reference: Buffer, stated: EventId | undefined): EventId {
  if (rules.eventIdForm === 'domain' && stated !== undefined) return stated;
  if (rules.eventIdForm === 'base64url') return eventIdOfHash(reference);
  return `$${unpadded(reference.toString('base64'))}` as EventId;
}
