/**
 * The mainline ordering: events by how recent a power levels event they stand on, then origin_server_ts, then event ID.
 *
 * Positions found on the way are remembered, so that a long chain of power levels events is walked once, not once per
 * event. Specification v1.19, rooms/v2, "Definitions", "Mainline ordering".
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import { compareCodePoints } from '../matrix/canonical-json.js';
import type { EventId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { authEventAt, type EventSource } from './event-source.js';

function powerLevelsCitedBy(rules: RoomVersionRules, event: AuthEvent, source: EventSource): AuthEvent | undefined {
  return authEventAt(rules, event, 'm.room.power_levels', '', source);
}

/** "The mainline of P_0 is the list of events [P_0, P_1, ..., P_n]": each with its index. */
function mainlineOf(
  rules: RoomVersionRules,
  powerLevels: AuthEvent | undefined,
  source: EventSource,
): Map<EventId, number> {
  const positions = new Map<EventId, number>();
  let event = powerLevels;
  while (event !== undefined && !positions.has(event.eventId)) {
    positions.set(event.eventId, positions.size);
    event = powerLevelsCitedBy(rules, event, source);
  }
  return positions;
}

/**
 * The mainline position of an event: the index of the first power levels event behind it that is on the mainline, or
 * Infinity where there is none. `positions` holds the mainline, and takes in the power levels events passed.
 */
function mainlinePositionOf(
  rules: RoomVersionRules,
  event: AuthEvent,
  positions: Map<EventId, number>,
  source: EventSource,
): number {
  const passed: EventId[] = [];
  let position = Number.POSITIVE_INFINITY;
  let current = powerLevelsCitedBy(rules, event, source);
  while (current !== undefined) {
    const known = positions.get(current.eventId);
    if (known !== undefined) {
      position = known;
      break;
    }
    // Until the walk ends it counts as on no mainline, which also ends a walk in a circle (possible in v1 and v2).
    positions.set(current.eventId, Number.POSITIVE_INFINITY);
    passed.push(current.eventId);
    current = powerLevelsCitedBy(rules, current, source);
  }
  for (const id of passed) positions.set(id, position);
  return position;
}

/** The events in "the mainline ordering based on P", smallest first; `powerLevels` is P, if the state has one. */
export function mainlineOrdering(
  rules: RoomVersionRules,
  events: Iterable<AuthEvent>,
  powerLevels: AuthEvent | undefined,
  source: EventSource,
): readonly AuthEvent[] {
  const positions = mainlineOf(rules, powerLevels, source);
  const placed: { readonly event: AuthEvent; readonly position: number }[] = [];
  for (const event of events) placed.push({ event, position: mainlinePositionOf(rules, event, positions, source) });
  placed.sort((x, y) => {
    // 1. "the mainline position of x is greater than the mainline position of y"
    if (x.position !== y.position) return x.position > y.position ? -1 : 1;
    // 2. "x's origin_server_ts is less than y's"
    if (x.event.originServerTs !== y.event.originServerTs) return x.event.originServerTs - y.event.originServerTs;
    // 3. "x's event_id is less than y's"
    return compareCodePoints(x.event.eventId, y.event.eventId);
  });
  return placed.map(({ event }) => event);
}
