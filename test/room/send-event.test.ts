/** Events of our own users, and joins that we let in: who gets them, and that a crash leaves all of it or nothing. */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import { eventIdOfNid } from '../../src/store/events.js';
import { loadRoom } from '../../src/store/rooms.js';
import { roomTimeline } from '../../src/store/timeline.js';
import { queuedEvents } from '../../src/store/transactions.js';
import { ClientApi } from '../api/client/client-api.js';
import { HS2_KEY, HS3_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';

const HS3 = 'hs3' as ServerName;
const CAROL = '@carol:hs3';
/** More than any of this takes. */
const WRITES_TRIED = 6;

let served: ServedRoom;

beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
  await served.join(HS3_KEY, CAROL);
});

afterEach(() => served.close());

/** IDs of the events that wait for hs3. */
function queued(): string[] {
  return queuedEvents(served.store, HS3, 100).map(({ event }) => eventIdOfNid(served.store, event));
}

function timeline(): string[] {
  const { nid = 0 as never } = loadRoom(served.store, ROOM) ?? {};
  const events = [...roomTimeline(served.store, nid, { after: 0, upTo: 1000, limit: 100 })];
  return events.map(({ event }) => eventIdOfNid(served.store, event));
}

/** Runs in a process that is gone after `count` writes. */
async function withWrites(count: number, run: () => Promise<unknown>): Promise<void> {
  const { store } = served;
  const { write, writeInBackground } = store;
  let writes = 0;
  const take = (): void => {
    writes += 1;
    if (writes > count) throw new Error('the process is gone');
  };
  vi.spyOn(store, 'write').mockImplementation((change) => {
    take();
    return write(change) as never;
  });
  vi.spyOn(store, 'writeInBackground').mockImplementation(async (change) => {
    take();
    return (await writeInBackground(change)) as never;
  });
  await run().catch(() => undefined);
  vi.restoreAllMocks();
  store.refresh();
}

describe('an event of one of our users', () => {
  it('is queued for the server of the last user whom it removes', async () => {
    const kick = await served.send('m.room.member', CAROL, { membership: 'leave' });
    expect(queued()).toContain(kick);
  });

  it('is in the timeline, in the queues and known by its transaction identifier, or nowhere, wherever a crash comes', async () => {
    const api = new ClientApi(served.server);
    const token = await api.tokenOf('alice');
    let sent = 0;
    for (let count = 0; count <= WRITES_TRIED; count++) {
      const path = `/rooms/${encodeURIComponent(ROOM)}/send/m.room.message/t${count}`;
      const call = () => api.call('PUT', path, { token, content: { body: 'hello' } });
      const [timelineBefore, queuedBefore] = [timeline(), queued()];
      await withWrites(count, call);
      const said = timeline().filter((id) => !timelineBefore.includes(id));
      expect(queued().filter((id) => !queuedBefore.includes(id))).toEqual(said);
      sent += said.length;
      const again = await call();
      if (said.length > 0) expect(again.body.event_id).toBe(said[0]);
    }
    expect(sent).toBeGreaterThan(0);
  });
});

describe('a join that we let in', () => {
  it('is in the timeline and in the queues, or nowhere, wherever a crash comes', async () => {
    let joined = 0;
    for (let count = 0; count <= WRITES_TRIED; count++) {
      const [timelineBefore, queuedBefore] = [timeline(), queued()];
      await withWrites(count, () => served.join(HS2_KEY, `@user${count}:hs2`));
      const joins = timeline().filter((id) => !timelineBefore.includes(id));
      expect(queued().filter((id) => !queuedBefore.includes(id))).toEqual(joins);
      joined += joins.length;
    }
    expect(joined).toBeGreaterThan(0);
  });
});
