/**
 * State resolution in its plain form: whole state sets in, whole state out. What tests, small rooms and the command line
 * use, and what every faster way must agree with.
 *
 * In rooms whose ID is the create event's hash (v12+) a set made from an event's auth_events lacks the create event: add
 * it to the set, or it counts as conflicted. Specification v1.19, rooms, "State resolution".
 */

import type { AuthRuleOptions } from '../event-auth/check-auth-rules.js';
import type { AuthEvent } from '../matrix/auth-event.js';
import type { EventId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { authDifferenceOf, conflictedStateSubgraphOf } from './auth-chain.js';
import type { EventSource } from './event-source.js';
import type { RefusedEvent } from './iterative-auth-checks.js';
import { resolveConflicts } from './resolve-conflicts.js';
import { splitStateSets } from './split-state-sets.js';
import type { StateMap } from './state-map.js';

/** What the resolution needs beside sets and events. */
export interface ResolveOptions extends AuthRuleOptions {
  /** The room's create event (v12+), where the source may not know it: it is implied by the room ID, in no auth_events. */
  readonly createEvent?: AuthEvent | undefined;
}

/** The resolution of a set of states. */
export interface Resolution {
  readonly resolved: StateMap;
  /** How many events the conflicted state set has. */
  readonly conflictedCount: number;
  /** How many events the auth difference has; 0 where there was no conflict, or for state resolution v1. */
  readonly authDifferenceCount: number;
  /** Events that were considered and refused. */
  readonly rejected: readonly RefusedEvent[];
}

/** Resolves the state sets of one room; one set, or equal ones, are their own resolution. */
export function resolveState(
  rules: RoomVersionRules,
  stateSets: readonly StateMap[],
  source: EventSource,
  options: ResolveOptions = {},
): Resolution {
  const { unconflicted, conflicted } = splitStateSets(stateSets);
  if (conflicted.size === 0) {
    return { resolved: unconflicted, conflictedCount: 0, authDifferenceCount: 0, rejected: [] };
  }
  const events = withCreateEvent(source, options.createEvent);
  const conflictedIds = new Set([...conflicted.values()].flat());
  const authDifference =
    rules.stateResolution === 'v1'
      ? []
      : authDifferenceOf(
          rules,
          stateSets.map((stateSet) => stateSet.values()),
          events,
        );
  const conflictedSubgraph: Iterable<EventId> =
    rules.stateResolution === 'v2.1' ? conflictedStateSubgraphOf(rules, conflictedIds, events) : [];
  const { resolved, rejected } = resolveConflicts(
    rules,
    {
      conflicted,
      unconflicted: (key) => unconflicted.get(key),
      authDifference,
      conflictedSubgraph,
      source: events,
    },
    options,
  );
  return {
    resolved: new Map([...unconflicted, ...resolved]),
    conflictedCount: conflictedIds.size,
    authDifferenceCount: authDifference.length,
    rejected,
  };
}

function withCreateEvent(source: EventSource, createEvent: AuthEvent | undefined): EventSource {
  if (createEvent === undefined) return source;
  return { event: (id) => (id === createEvent.eventId ? createEvent : source.event(id)) };
}
