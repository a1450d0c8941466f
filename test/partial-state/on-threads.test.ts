/**
 * A partial join, a fork while the state is partial, and the resync on the threads of the product's pool: buffers are moved,
 * each thread reads the store through an environment of its own. The outcome must be that of the same jobs inline.
 */

import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { sendEvent } from '../../src/room/send-event.js';
import { eventIdOfNid, loadEvent } from '../../src/store/events.js';
import type { Store } from '../../src/store/open-store.js';
import { stateEntries } from '../../src/store/state-groups.js';
import { inlinePool } from '../../src/workers/inline-pool.js';
import type { WorkerPool } from '../../src/workers/pool.js';
import { openWorkerPool } from '../../src/workers/pool.js';
import { ALICE, BOB, HS3_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner } from './joiner.js';

const HS1 = 'hs1' as ServerName;
const THREAD_FILE = fileURLToPath(new URL('../../dist/src/workers/thread.js', import.meta.url));
/** State that anybody may send. */
const NOTE = 'org.example.note';
/** More events than the first batch of an answer holds. */
const MEMBERS = 20;

/** A room of which a partial join brings less than a quarter. */
async function createResident(): Promise<ServedRoom> {
  const resident = new ServedRoom();
  await resident.createRoom();
  await resident.send('m.room.power_levels', '', { users: { [ALICE]: 100 }, events: { [NOTE]: 0 } });
  await resident.send('m.room.name', '', { name: 'A room' });
  for (let n = 0; n < MEMBERS; n++) await resident.join(HS3_KEY, `@user${n}:hs3`);
  return resident;
}

interface Outcome {
  readonly residency: string;
  readonly members: readonly string[];
  readonly state: readonly string[];
  readonly topic: unknown;
  readonly note: unknown;
  readonly jobs: readonly string[];
  readonly threads: number;
}

/** Joins, lets Bob write a note while a topic of the resident's is on its way, and fetches the full state. */
async function joinForkAndResync(open: (store: Store) => Promise<WorkerPool>): Promise<Outcome> {
  const resident = await createResident();
  const names = new Set<string>();
  let runs = 0;
  const joiner = new Joiner(resident, () => ({
    run: (name, input, lane) => {
      names.add(name);
      runs += 1;
      return pool.run(name, input, lane);
    },
    stats: () => pool.stats(),
    close: () => pool.close(),
  }));
  const pool = await open(joiner.store);
  try {
    await joiner.join();
    const send = (type: string, stateKey: string | undefined, content: JsonObject) =>
      sendEvent(joiner.server, ROOM, { type, sender: BOB, stateKey, content });
    await send(NOTE, '', { note: 'by Bob' });
    const topicId = await resident.send('m.room.topic', '', { topic: 'by Alice' });
    const uri = `/_matrix/federation/v1/event/${encodeURIComponent(topicId)}`;
    const { body } = await resident.call('GET', uri, { as: HS3_KEY });
    await joiner.receive(HS1, ...(body.pdus as JsonObject[]));
    expect(joiner.room().extremities).toHaveLength(2);
    await send('m.room.message', undefined, { body: 'upon both' });
    expect(await joiner.resync()).toBe(true);
    const { residency, currentGroup, rules } = joiner.room();
    const events = [...stateEntries(joiner.store, currentGroup)].map(([, nid]) => nid);
    const contentOf = (type: string) =>
      events.map((nid) => loadEvent(joiner.store, rules, nid)?.json).find((event) => event?.type === type)?.content;
    const { threads, completed } = pool.stats();
    expect(completed).toBe(runs);
    return {
      residency,
      members: joiner.members(),
      state: events.map((nid) => eventIdOfNid(joiner.store, nid)).sort(),
      topic: contentOf('m.room.topic'),
      note: contentOf(NOTE),
      jobs: [...names].sort(),
      threads,
    };
  } finally {
    await pool.close();
    await joiner.close();
    await resident.close();
  }
}

it('a partial join and its resync end on threads as they do inline', async () => {
  const inline = await joinForkAndResync(async (store) => inlinePool(store));
  const threads = await joinForkAndResync((store) =>
    openWorkerPool({ threads: 2, storePath: store.path, threadFile: THREAD_FILE }),
  );
  expect(inline).toMatchObject({ residency: 'full-state', threads: 0 });
  expect([inline.topic, inline.note]).toEqual([{ topic: 'by Alice' }, { note: 'by Bob' }]);
  expect(inline.members).toHaveLength(MEMBERS + 2);
  expect(threads.jobs).toEqual(['checkAuthBatch', 'resolveGroups', 'verifyPdus']);
  expect(threads).toEqual({ ...inline, threads: 2 });
});
