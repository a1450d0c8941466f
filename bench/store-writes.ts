/**
 * Question: what does it gain to write bodies in ascending order of NID and keys in ascending order of key, instead of as
 * they come?
 *
 * Workload: one durable transaction of bodies and one of random 32-byte keys, into tables that hold as many already; the
 * fsync is part of each, and so is making the keys (the same for both orders) and sorting them. Cannot show: a store
 * larger than memory, where random order costs most.
 */

import { hash } from 'node:crypto';
import { eventNidOfKey, putEventKey } from '../src/store/events.js';
import type { EventNid } from '../src/store/nids.js';
import type { Store } from '../src/store/open-store.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure } from './measure.js';
import { SEED, shuffled } from './signed-room.js';
import { withStore } from './stored-room.js';

/** Bytes of a typical member event. */
const BODY_BYTES = 700;

function keysOf(store: Store, round: number, count: number, inOrder: boolean): number {
  const keys = Array.from({ length: count }, (_, i) => hash('sha256', `${SEED} ${round} ${i}`, 'buffer'));
  if (inOrder) keys.sort(Buffer.compare);
  store.write((writer) => {
    for (const [i, key] of keys.entries()) putEventKey(writer, key, (round * count + i + 1) as EventNid);
  });
  return keys.length;
}

export async function run(size: BenchSize): Promise<BenchReport> {
  const events = size === 'full' ? 10_000 : 200;
  return withStore((store) => {
    const body = Buffer.alloc(BODY_BYTES, 0x61);
    const numbers = Array.from({ length: events }, (_, i) => i + 1);
    const mixed = shuffled(numbers, SEED);
    let round = 0;
    const bodies = (order: readonly number[]) => {
      const base = ++round * events;
      store.write((writer) => {
        for (const number of order) writer.tables.event_body_by_nid.put(base + number, body);
      });
      return base;
    };
    keysOf(store, 0, events, false);
    const keys = [...store.tables.event_nid_by_key.getKeys({})] as Buffer[];
    const nids = keys.map((key) => eventNidOfKey(store, key) ?? 0);
    if ([...nids].sort((a, b) => a - b).join() !== numbers.join()) throw new Error('a key that was put is not found');
    const answer = keys.map((key, i) => `${key.toString('hex')} ${nids[i]}`).join();
    return measure(`store ${events} events`, size, events, answer, [
      { name: 'bodies in ascending order', run: () => bodies(numbers) },
      { name: 'bodies in random order', run: () => bodies(mixed) },
      { name: 'keys sorted', run: () => keysOf(store, ++round, events, true) },
      { name: 'keys as they come', run: () => keysOf(store, ++round, events, false) },
    ]);
  });
}
