/**
 * Walks over auth_events: auth chain, auth difference, conflicted state subgraph, over an event source.
 *
 * The plain reference form, whose cost grows with the auth chain. Whoever has an index (numeric IDs, bitmaps) computes
 * difference and subgraph there and calls resolveConflicts. Loops, no recursion: chains are 100,000 events deep.
 * Events that the source does not know end a walk and stay in its result. Specification v1.19, rooms/v2 and rooms/v12, "Definitions".
 */

import type { EventId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { authEventIdsOf, type EventSource } from './event-source.js';

const NONE: ReadonlySet<EventId> = new Set();

/**
 * The full auth chain of some events: "the events reachable by walking the graph induced by an event's auth_events
 * links". Leaves out what is in `known`, whose members must have their own auth chain in it.
 */
export function authChainOf(
  rules: RoomVersionRules,
  eventIds: Iterable<EventId>,
  source: EventSource,
  known: ReadonlySet<EventId> = NONE,
): Set<EventId> {
  const chain = new Set<EventId>();
  const toVisit = [...eventIds];
  for (let id = toVisit.pop(); id !== undefined; id = toVisit.pop()) {
    const event = source.event(id);
    if (event === undefined) continue;
    for (const authId of authEventIdsOf(rules, event)) {
      if (chain.has(authId) || known.has(authId)) continue;
      chain.add(authId);
      toVisit.push(authId);
    }
  }
  return chain;
}

/**
 * The auth difference of state sets, each given by its events: "the union of the auth chains for each event in S_i, and
 * then taking every event that doesn't appear in every auth chain".
 *
 * What all sets share is walked once, whatever the number of sets.
 */
export function authDifferenceOf(
  rules: RoomVersionRules,
  stateSets: readonly Iterable<EventId>[],
  source: EventSource,
): readonly EventId[] {
  const sets = stateSets.map((ids) => new Set(ids));
  const shared = [...(sets[0] ?? NONE)].filter((id) => sets.every((set) => set.has(id)));
  const sharedIds = new Set(shared);
  const sharedChain = authChainOf(rules, shared, source);
  const countById = new Map<EventId, number>();
  for (const set of sets) {
    const own = [...set].filter((id) => !sharedIds.has(id));
    for (const id of authChainOf(rules, own, source, sharedChain)) countById.set(id, (countById.get(id) ?? 0) + 1);
  }
  const difference: EventId[] = [];
  for (const [id, count] of countById) if (count < sets.length) difference.push(id);
  return difference;
}

/**
 * The conflicted state subgraph (v12+): the union of all paths along auth_events "between any pair of events in the
 * conflicted state set (including endpoints)". The conflicted events themselves are all in the result.
 */
export function conflictedStateSubgraphOf(
  rules: RoomVersionRules,
  conflictedIds: Iterable<EventId>,
  source: EventSource,
): ReadonlySet<EventId> {
  const conflicted = new Set(conflictedIds);
  // Everything reachable from the conflicted events, with the way back.
  const citedBy = new Map<EventId, EventId[]>();
  const visited = new Set(conflicted);
  const toVisit = [...conflicted];
  for (let id = toVisit.pop(); id !== undefined; id = toVisit.pop()) {
    const event = source.event(id);
    if (event === undefined) continue;
    for (const authId of authEventIdsOf(rules, event)) {
      const citing = citedBy.get(authId);
      if (citing === undefined) citedBy.set(authId, [id]);
      else citing.push(id);
      if (visited.has(authId)) continue;
      visited.add(authId);
      toVisit.push(authId);
    }
  }
  // Of these, what leads to a conflicted event.
  const subgraph = new Set(conflicted);
  const toReturn = [...conflicted];
  for (let id = toReturn.pop(); id !== undefined; id = toReturn.pop()) {
    for (const citing of citedBy.get(id) ?? []) {
      if (subgraph.has(citing)) continue;
      subgraph.add(citing);
      toReturn.push(citing);
    }
  }
  return subgraph;
}
