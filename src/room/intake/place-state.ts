/**
 * From the events of a state to their places in the state group's array: reads the keys, names those that are new, and
 * finds two events for one key. In pieces between turns of the event loop: a room has 85,000 of them.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { recordStateKey } from '../../store/event-record.js';
import type { EventNid, RoomNid, StateKeyNid } from '../../store/nids.js';
import type { Store } from '../../store/open-store.js';
import { internStateKeys } from '../../store/state-groups.js';

/** Events handled between two turns of the event loop: about 5 ms. */
export const EVENTS_A_TURN = 2_000;

type StateKey = readonly [type: string, stateKey: string];

interface KeyedEvent {
  readonly nid: EventNid;
  readonly key: StateKey;
}

/** The array of a state group: the event at each place, 0 where there is none. */
export interface PlacedState {
  readonly events: Uint32Array;
  /** A key that two of the events have; then they are no state. */
  readonly twice: StateKey | undefined;
}

/**
 * Places events of a room; those that are no state events are left out. New keys are named in the background: what a crash
 * loses is named again, and the next write of a decision makes all of them durable.
 */
export async function placeState(store: Store, room: RoomNid, nids: readonly EventNid[]): Promise<PlacedState> {
  const entries = await keyedEvents(store, nids);
  const places: number[] = [];
  for (let at = 0; at < entries.length; at += EVENTS_A_TURN) {
    const some = entries.slice(at, at + EVENTS_A_TURN);
    const keys = some.map(({ key }) => key);
    const named = await store.writeInBackground((writer) => internStateKeys(writer, room, keys));
    for (const [i, { nid, key }] of some.entries()) {
      const place = named[i] as StateKeyNid;
      if (places[place] !== undefined && places[place] !== nid) return { events: new Uint32Array(0), twice: key };
      places[place] = nid;
    }
  }
  return { events: Uint32Array.from(places, (nid) => nid ?? 0), twice: undefined };
}

/** State events with their keys, sorted by them nearly as the store sorts: then 85,000 new keys are written page after page. */
async function keyedEvents(store: Store, nids: readonly EventNid[]): Promise<KeyedEvent[]> {
  const records = store.tables.event_record_by_nid;
  const entries: KeyedEvent[] = [];
  await inTurns(nids, (nid) => {
    const record = records.getBinaryFast(nid);
    const key = record === undefined ? undefined : recordStateKey(record);
    if (key !== undefined) entries.push({ nid, key });
  });
  return entries.sort(({ key: [typeA, a] }, { key: [typeB, b] }) =>
    typeA === typeB ? order(a, b) : order(typeA, typeB),
  );
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** `each` for all items, with a turn of the event loop after every EVENTS_A_TURN. */
export async function inTurns<T>(items: Iterable<T>, each: (item: T) => void): Promise<void> {
  let n = 0;
  for (const item of items) {
    each(item);
    n += 1;
    if (n % EVENTS_A_TURN === 0) await nextTurn();
  }
}
