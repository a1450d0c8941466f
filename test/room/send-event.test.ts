/** Events of our own users, and joins that we let in: who gets them, and that a crash leaves all of it or nothing. */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import { RoomQueues } from '../../src/room/room-queues.js';
import { eventIdOfNid } from '../../src/store/events.js';
import type { Store } from '../../src/store/open-store.js';
import { openStore } from '../../src/store/open-store.js';
import { loadRoom } from '../../src/store/rooms.js';
import { roomTimeline } from '../../src/store/timeline.js';
import { queuedEvents } from '../../src/store/transactions.js';
import { inlinePool } from '../../src/workers/inline-pool.js';
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
function queued(store: Store = served.store): string[] {
  return queuedEvents(store, HS3, 100).map(({ event }) => eventIdOfNid(store, event));
}

function timeline(store: Store = served.store): string[] {
  const { nid = 0 as never } = loadRoom(store, ROOM) ?? {};
  const events = [...roomTimeline(store, nid, { after: 0, upTo: 1000, limit: 100 })];
  return events.map(({ event }) => eventIdOfNid(store, event));
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

describe('a message whose sending is tried again with its transaction identifier', () => {
  it('stands once: while the first is under way, after its answer, and after a restart', async () => {
    const send = async (api: ClientApi) => {
      const path = `/rooms/${encodeURIComponent(ROOM)}/send/m.room.message/again`;
      const { body } = await api.call('PUT', path, { token, content: { body: 'hello' } });
      return body.event_id as string;
    };
    const api = new ClientApi(served.server);
    const token = await api.tokenOf('alice');
    const [timelineBefore, queuedBefore] = [timeline(), queued()];
    const [eventId, same] = (await Promise.all([send(api), send(api)])) as [string, string];
    expect([same, await send(api)]).toEqual([eventId, eventId]);
    await served.store.close();
    const store = openStore(served.folder, 'hs1');
    try {
      const server = { ...served.server, store, pool: inlinePool(store), queues: new RoomQueues() };
      expect(await send(new ClientApi(server))).toBe(eventId);
      expect(timeline(store)).toEqual([...timelineBefore, eventId]);
      expect(queued(store)).toEqual([...queuedBefore, eventId]);
    } finally {
      await store.close();
    }
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
