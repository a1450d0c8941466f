/**
 * Redaction: what is left of an event when everything the room version does not protect is taken away. The redacted
 * form is what is signed and what the reference hash covers, so it never changes the event ID.
 * Specification v1.19, rooms/v1.md to v11.md, "Redactions".
 */

import type { JsonObject, JsonValue } from './json.js';
import { isJsonObject } from './json.js';
import type { RedactionRules } from './room-versions.js';

const EMPTY: JsonObject = {};

/** What a redaction leaves of an event's `content`. */
export function redactContent(rules: RedactionRules, type: string, content: JsonObject): JsonObject {
  const keys = rules.contentKeys.get(type);
  if (keys === undefined) return EMPTY;
  if (keys === 'all') return content;
  const kept: Record<string, JsonValue> = {};
  for (const key of keys) {
    const value = content[key];
    if (value !== undefined) kept[key] = value;
  }
  if (rules.keepThirdPartyInviteSigned && type === 'm.room.member') {
    const invite = content.third_party_invite;
    if (isJsonObject(invite)) {
      kept.third_party_invite = invite.signed === undefined ? EMPTY : { signed: invite.signed };
    }
  }
  return kept;
}

/** The redacted event: only protected keys of the top level and of `content`. `unsigned` is not kept. */
export function redactEvent(rules: RedactionRules, event: JsonObject): JsonObject {
  const kept: Record<string, JsonValue> = {};
  for (const key in event) {
    const value = event[key];
    if (value !== undefined && rules.topLevelKeys.has(key)) kept[key] = value;
  }
  const type = typeof event.type === 'string' ? event.type : '';
  kept.content = redactContent(rules, type, isJsonObject(event.content) ? event.content : EMPTY);
  return kept;
}
