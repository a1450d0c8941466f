/**
 * The core of state resolution: from what differs between state sets to what the room state holds at these places.
 *
 * Its cost grows with the difference, never with the room: the unconflicted state is asked key by key, and who calls
 * brings auth difference and conflicted state subgraph. Pure: the answer depends on the sets, not on the order of anything.
 * Specification v1.19, rooms/v1, rooms/v2 and rooms/v12, "State resolution".
 */

import { checkAuthEvents } from '../event-auth/check-auth-events.js';
import { type AuthRuleOptions, checkAuthRules } from '../event-auth/check-auth-rules.js';
import type { StateLookup } from '../event-auth/state-lookup.js';
import type { AuthEvent } from '../matrix/auth-event.js';
import { compareCodePoints } from '../matrix/canonical-json.js';
import type { EventId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { authEventAt, authEventIdsOf, type EventSource } from './event-source.js';
import { iterativeAuthChecks, type RefusedEvent, type ResolvingState } from './iterative-auth-checks.js';
import { mainlineOrdering } from './mainline-ordering.js';
import { resolveContendersV1 } from './resolve-v1.js';
import { reverseTopologicalPowerOrdering } from './reverse-topological-power-ordering.js';
import { POWER_LEVELS_KEY, type StateKey } from './state-map.js';

/** What differs between the state sets. */
export interface ConflictInput {
  /** The conflicted state set: each conflicted key with its events. */
  readonly conflicted: ReadonlyMap<StateKey, readonly EventId[]>;
  /** The unconflicted state map; undefined for conflicted keys and for keys that no state set has. */
  readonly unconflicted: (key: StateKey) => EventId | undefined;
  /** The auth difference of the state sets; not read for state resolution v1. */
  readonly authDifference: Iterable<EventId>;
  /** The conflicted state subgraph; read for state resolution v2.1 only. */
  readonly conflictedSubgraph?: Iterable<EventId>;
  /** All events named so far with their auth events; in v12+ also the create event under the ID in the room ID. */
  readonly source: EventSource;
}

/** What the room state holds where the unconflicted state map says nothing. */
export interface ConflictResolution {
  /** No key of the unconflicted state map is among these: the full state is that map and these. */
  readonly resolved: ReadonlyMap<StateKey, EventId>;
  /** Events that were considered and refused, by event ID. Losing to a later event is no refusal. */
  readonly rejected: readonly RefusedEvent[];
}

/** Resolves what differs between state sets, by the algorithm of the room version. */
export function resolveConflicts(
  rules: RoomVersionRules,
  input: ConflictInput,
  options: AuthRuleOptions = {},
): ConflictResolution {
  switch (rules.stateResolution) {
    case 'v1':
      return resolveV1(rules, input, options);
    case 'v2':
      return resolveV2(rules, input, [], input.unconflicted, options);
    case 'v2.1':
      // v12: "starting from an empty state map", and the full conflicted set includes the subgraph.
      return resolveV2(rules, input, input.conflictedSubgraph ?? [], () => undefined, options);
  }
}

function resolveV1(rules: RoomVersionRules, input: ConflictInput, options: AuthRuleOptions): ConflictResolution {
  const refused: RefusedEvent[] = [];
  const contenders = new Map<StateKey, readonly AuthEvent[]>();
  const lone = new Map<StateKey, EventId>();
  for (const [key, ids] of input.conflicted) {
    const events = [...usableEvents(rules, ids, input.source, refused, options).values()];
    // Version 1: one event, missing from some sets, is no conflict.
    if (events.length === 1) lone.set(key, events[0]!.eventId);
    else if (events.length > 1) contenders.set(key, events);
  }
  const applied = new Map<StateKey, EventId>();
  const base = (key: StateKey): EventId | undefined => lone.get(key) ?? input.unconflicted(key);
  resolveContendersV1(rules, contenders, { applied, base, refused }, input.source, options);
  return { resolved: new Map([...lone, ...applied]), rejected: refused.sort(compareRefused) };
}

function resolveV2(
  rules: RoomVersionRules,
  input: ConflictInput,
  subgraph: Iterable<EventId>,
  base: ResolvingState['base'],
  options: AuthRuleOptions,
): ConflictResolution {
  const { source } = input;
  const resolving: ResolvingState = { applied: new Map(), base, refused: [] };
  const fullConflictedSet = usableEvents(
    rules,
    [...[...input.conflicted.values()].flat(), ...input.authDifference, ...subgraph],
    source,
    resolving.refused,
    options,
  );
  // 1. "Select the set X of all power events that appear in the full conflicted set", enlarged and sorted.
  const powerEvents = powerEventsOf(rules, fullConflictedSet);
  const sortedPowerEvents = reverseTopologicalPowerOrdering(rules, powerEvents, source);
  refuseCycles(powerEvents, sortedPowerEvents, resolving.refused);
  // 2. "Apply the iterative auth checks algorithm ... to get a partially resolved state."
  iterativeAuthChecks(rules, sortedPowerEvents, resolving, source, options);
  // 3. "Take all remaining events ... and order them by the mainline ordering based on the power level in the partially
  // resolved state"
  const powerLevelsId = resolving.applied.get(POWER_LEVELS_KEY) ?? base(POWER_LEVELS_KEY);
  const powerLevels = powerLevelsId === undefined ? undefined : source.event(powerLevelsId);
  const remaining = [...fullConflictedSet.values()].filter((event) => !powerEvents.has(event.eventId));
  const sortedRemaining = mainlineOrdering(rules, remaining, powerLevels, source);
  // 4. "Apply the iterative auth checks algorithm on the partial resolved state and the list of events"
  iterativeAuthChecks(rules, sortedRemaining, resolving, source, options);
  // 5. "replacing any event with the event with the same key from the unconflicted state map"
  for (const key of resolving.applied.keys()) {
    if (input.unconflicted(key) !== undefined) resolving.applied.delete(key);
  }
  return { resolved: resolving.applied, rejected: resolving.refused.sort(compareRefused) };
}

function compareRefused(x: RefusedEvent, y: RefusedEvent): number {
  return compareCodePoints(x.eventId, y.eventId);
}

/**
 * The events that can have a part in a state: known state events, except those that their own auth events refuse. "Events
 * that have been rejected due to failing auth based on the state at the event (rather than based on their auth chain) are
 * handled as usual by the algorithm" (rooms/v2 and v12, "Rejected events"): servers can differ about these.
 */
function usableEvents(
  rules: RoomVersionRules,
  ids: Iterable<EventId>,
  source: EventSource,
  refused: RefusedEvent[],
  options: AuthRuleOptions,
): ReadonlyMap<EventId, AuthEvent> {
  const usable = new Map<EventId, AuthEvent>();
  for (const eventId of new Set(ids)) {
    const event = source.event(eventId);
    if (event === undefined) refused.push({ eventId, code: 'event-missing' });
    else if (event.stateKey === undefined) refused.push({ eventId, code: 'event-not-state' });
    else if (event.rejected && !passesItsAuthEvents(rules, event, source, options)) {
      refused.push({ eventId, code: 'event-rejected' });
    } else usable.set(eventId, event);
  }
  return usable;
}

/** Whether an event passes the authorization rules based on its own auth events. */
function passesItsAuthEvents(
  rules: RoomVersionRules,
  event: AuthEvent,
  source: EventSource,
  options: AuthRuleOptions,
): boolean {
  const authEvents: AuthEvent[] = [];
  for (const id of event.authEventIds) {
    const authEvent = source.event(id);
    if (authEvent === undefined) return false;
    authEvents.push(authEvent);
  }
  if (!checkAuthEvents(rules, event, authEvents).allowed) return false;
  const state: StateLookup = (type, stateKey) => authEventAt(rules, event, type, stateKey, source);
  return checkAuthRules(rules, event, state, options).allowed;
}

/**
 * "A power event is a state event with type m.room.power_levels or m.room.join_rules, or a state event with type
 * m.room.member where the membership is leave or ban and the sender does not match the state_key." The create event
 * counts as well, as with the reference homeserver.
 */
export function isPowerEvent(event: AuthEvent): boolean {
  switch (event.type) {
    case 'm.room.create':
    case 'm.room.power_levels':
    case 'm.room.join_rules':
      return event.stateKey === '';
    case 'm.room.member':
      return (
        (event.content.membership === 'leave' || event.content.membership === 'ban') && event.sender !== event.stateKey
      );
    default:
      return false;
  }
}

/**
 * "For each such power event P, enlarge X by adding the events in the auth chain of P which also belong to the full
 * conflicted set." The walk stays within that set, as that of other homeservers does.
 */
function powerEventsOf(
  rules: RoomVersionRules,
  fullConflictedSet: ReadonlyMap<EventId, AuthEvent>,
): ReadonlyMap<EventId, AuthEvent> {
  const found = new Map<EventId, AuthEvent>();
  const toVisit: AuthEvent[] = [];
  for (const event of fullConflictedSet.values()) {
    if (!isPowerEvent(event)) continue;
    found.set(event.eventId, event);
    toVisit.push(event);
  }
  for (let event = toVisit.pop(); event !== undefined; event = toVisit.pop()) {
    for (const authId of authEventIdsOf(rules, event)) {
      const authEvent = fullConflictedSet.get(authId);
      if (authEvent === undefined || found.has(authId)) continue;
      found.set(authId, authEvent);
      toVisit.push(authEvent);
    }
  }
  return found;
}

function refuseCycles(
  powerEvents: ReadonlyMap<EventId, AuthEvent>,
  sorted: readonly AuthEvent[],
  refused: RefusedEvent[],
): void {
  if (sorted.length === powerEvents.size) return;
  const sortedIds = new Set(sorted.map((event) => event.eventId));
  for (const eventId of powerEvents.keys())
    if (!sortedIds.has(eventId)) refused.push({ eventId, code: 'event-on-cycle' });
}
