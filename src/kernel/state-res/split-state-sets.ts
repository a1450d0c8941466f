/**
 * Divides state maps into the unconflicted state map and the conflicted state set.
 *
 * "If a given key K is present in every S_i with the same value V in each state map, then the pair (K, V) belongs to the
 * unconflicted state map. Otherwise, V belongs to the conflicted state set." Version 1 calls a key conflicted only where
 * two events contend for it; resolve-v1.ts takes lone events as unconflicted. Specification v1.19, rooms/v2, "Definitions".
 */

import type { EventId } from '../matrix/ids.js';
import type { StateKey, StateMap } from './state-map.js';

/** State maps, divided. */
export interface SplitStates {
  readonly unconflicted: StateMap;
  /** Each conflicted key with its events, none twice. */
  readonly conflicted: ReadonlyMap<StateKey, readonly EventId[]>;
}

/** Divides the state maps. */
export function splitStateSets(stateSets: readonly StateMap[]): SplitStates {
  const unconflicted = new Map<StateKey, EventId>();
  const conflicted = new Map<StateKey, readonly EventId[]>();
  for (const [index, stateSet] of stateSets.entries()) {
    for (const [key, eventId] of stateSet) {
      if (unconflicted.has(key) || conflicted.has(key)) continue;
      // A key that an earlier set has was handled then; so this set is the first with it, and the ones before lack it.
      if (index === 0 && stateSets.every((other) => other.get(key) === eventId)) unconflicted.set(key, eventId);
      else conflicted.set(key, distinctEvents(key, stateSets));
    }
  }
  return { unconflicted, conflicted };
}

function distinctEvents(key: StateKey, stateSets: readonly StateMap[]): readonly EventId[] {
  const found = new Set<EventId>();
  for (const stateSet of stateSets) {
    const eventId = stateSet.get(key);
    if (eventId !== undefined) found.add(eventId);
  }
  return [...found];
}
