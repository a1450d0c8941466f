/**
 * State resolution of room version 1: power levels, then join rules, then memberships, each as a list of events from the
 * oldest that stops at the first that is not allowed; everything else takes the newest that is allowed.
 *
 * Where the specification is silent (no event allowed at all) the oldest one stands, as with the reference homeserver.
 * Specification v1.19, rooms/v1, "State resolution".
 */

import { createHash } from 'node:crypto';
import { type AuthRuleOptions, checkAuthRules } from '../event-auth/check-auth-rules.js';
import type { AuthEvent } from '../matrix/auth-event.js';
import { compareCodePoints } from '../matrix/canonical-json.js';
import type { EventId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import type { EventSource } from './event-source.js';
import { eventAt, type ResolvingState } from './iterative-auth-checks.js';
import { type StateKey, splitStateKey, stateKeyOf } from './state-map.js';

/** Conflicted events by key, two or more for each: known, state events, not rejected. */
export type Contenders = ReadonlyMap<StateKey, readonly AuthEvent[]>;

/** "Sort the list by ascending depth then descending sha1(event_id)": the oldest first. */
function fromOldest(events: readonly AuthEvent[]): readonly AuthEvent[] {
  const hashed = events.map((event) => ({ event, sha1: sha1Of(event.eventId) }));
  hashed.sort((x, y) => x.event.depth - y.event.depth || compareCodePoints(y.sha1, x.sha1));
  return hashed.map(({ event }) => event);
}

function sha1Of(eventId: EventId): string {
  return createHash('sha1').update(eventId, 'utf8').digest('hex');
}

/** Resolves the contenders into `resolving`, whose base is the unconflicted state. */
export function resolveContendersV1(
  rules: RoomVersionRules,
  contenders: Contenders,
  resolving: ResolvingState,
  source: EventSource,
  options: AuthRuleOptions,
): void {
  const isAllowed = (event: AuthEvent, key: StateKey, current: AuthEvent | undefined): boolean => {
    const verdict = checkAuthRules(
      rules,
      event,
      (type, stateKey) => {
        const wanted = stateKeyOf(type, stateKey);
        if (wanted === key && current !== undefined) return current;
        return eventAt(resolving, wanted, source);
      },
      options,
    );
    if (!verdict.allowed) resolving.refused.push({ eventId: event.eventId, code: verdict.code });
    return verdict.allowed;
  };

  // "Add the first event in the list to R. For each subsequent event ... If it would not be allowed, stop"
  const resolveAuthEvents = (key: StateKey, events: readonly AuthEvent[]): EventId => {
    const [oldest, ...newer] = fromOldest(events);
    let winner = oldest!;
    for (const event of newer) {
      if (!isAllowed(event, key, winner)) break;
      winner = event;
    }
    return winner.eventId;
  };
  // "pick the event with the highest depth and lowest sha1(event_id) that passes authentication in R"
  const resolveOthers = (key: StateKey, events: readonly AuthEvent[]): EventId => {
    const ordered = fromOldest(events);
    const winner = ordered.findLast((event) => isAllowed(event, key, undefined)) ?? ordered[0]!;
    return winner.eventId;
  };

  const passes = [
    { has: (type: string) => type === 'm.room.power_levels', resolve: resolveAuthEvents },
    { has: (type: string) => type === 'm.room.join_rules', resolve: resolveAuthEvents },
    { has: (type: string) => type === 'm.room.member', resolve: resolveAuthEvents },
    { has: () => true, resolve: resolveOthers },
  ];
  const left = new Map(contenders);
  for (const { has, resolve } of passes) {
    // Winners of a pass enter R together after it: keys of one pass do not see each other, so their order is no matter.
    const winners = new Map<StateKey, EventId>();
    for (const [key, events] of left) if (has(splitStateKey(key)[0])) winners.set(key, resolve(key, events));
    for (const [key, winner] of winners) {
      resolving.applied.set(key, winner);
      left.delete(key);
    }
  }
}
