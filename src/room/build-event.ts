/**
 * Builds an event of one of our users: what the user says, and around it what the room prescribes.
 * Specification v1.19, server-server API, "PDUs"; "Auth events selection".
 */

import { createHash } from 'node:crypto';
import { authEventTypes } from '../kernel/event-auth/auth-event-types.js';
import type { StateLookup } from '../kernel/event-auth/state-lookup.js';
import type { EventId, UserId } from '../kernel/matrix/ids.js';
import { serverNameOf } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { DEPTH_MAX } from '../kernel/matrix/limits.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';

/** What a user wants to say. */
export interface EventIntent {
  readonly type: string;
  readonly sender: UserId;
  readonly stateKey: string | undefined;
  readonly content: JsonObject;
}

/** Where in the room's graph it is said. */
export interface EventPlace {
  readonly roomId: string;
  readonly authEventIds: readonly EventId[];
  readonly prevEventIds: readonly EventId[];
  /** Greatest depth among the prev_events. */
  readonly depth: number;
  readonly now: number;
  /** In [0, 1). */
  readonly random: () => number;
}

/** Characters of an event ID's local part, of 6 bits: two of ours are never the same. */
const OPAQUE_ID_CHARS = 24;

/** The event without hashes and signatures. */
export function buildEvent(rules: RoomVersionRules, intent: EventIntent, place: EventPlace): JsonObject {
  const references = (ids: readonly EventId[]) =>
    rules.eventReferenceForm === 'pair' ? ids.map((id) => [id, {}]) : [...ids];
  return {
    ...(rules.eventIdForm === 'domain' ? { event_id: opaqueEventId(intent, place) } : {}),
    type: intent.type,
    room_id: place.roomId,
    sender: intent.sender,
    content: intent.content,
    ...(intent.stateKey === undefined ? {} : { state_key: intent.stateKey }),
    auth_events: references(place.authEventIds),
    prev_events: references(place.prevEventIds),
    depth: Math.min(place.depth + 1, DEPTH_MAX),
    origin_server_ts: place.now,
  };
}

/** In room versions 1 and 2 whoever makes an event gives it its ID. */
function opaqueEventId(intent: EventIntent, place: EventPlace): string {
  const seed = JSON.stringify([intent, place, place.random(), place.random()]);
  const localpart = createHash('sha256').update(seed).digest('base64url').slice(0, OPAQUE_ID_CHARS);
  return `$${localpart}:${serverNameOf(intent.sender)}`;
}

/** The auth events of an event that is to be built, by the room's state before it. */
export function selectAuthEvents(rules: RoomVersionRules, intent: EventIntent, state: StateLookup): EventId[] {
  const ids: EventId[] = [];
  for (const [type, stateKey] of authEventTypes(rules, intent)) {
    const event = state(type, stateKey);
    if (event !== undefined) ids.push(event.eventId);
  }
  return ids;
}
