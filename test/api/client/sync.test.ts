import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { loadRoom } from '../../../src/store/rooms.js';
import { ROOM, ServedRoom } from '../federation/served-room.js';
import type { ClientAnswer } from './client-api.js';
import { ClientApi } from './client-api.js';

const USER = encodeURIComponent('@alice:hs1');

let served: ServedRoom;
let api: ClientApi;
let token: string;

beforeEach(async () => {
  served = new ServedRoom();
  api = new ClientApi(served.server);
  await served.createRoom();
  token = await api.tokenOf('alice');
});

afterEach(() => served.close());

function sync(query = '', signal?: AbortSignal): Promise<ClientAnswer> {
  return api.call('GET', `/sync${query}`, signal === undefined ? { token } : { token, signal });
}

function timelineIn({ body }: ClientAnswer): JsonObject[] {
  const rooms = body.rooms as { join: Readonly<Record<string, { timeline: { events: JsonObject[] } }>> };
  return rooms.join[ROOM]?.timeline.events ?? [];
}

function notify(): void {
  const room = loadRoom(served.store, ROOM);
  if (room !== undefined) api.notifier.notify(room.nid);
}

describe('GET /sync', () => {
  it('answers a first sync at once, with every section', async () => {
    const answer = await sync('?timeout=30000');
    expect(Object.keys(answer.body.rooms as object)).toEqual(['join', 'leave', 'invite', 'knock']);
    expect(timelineIn(answer).at(-1)?.type).toBe('m.room.join_rules');
  });

  it('waits for news, and answers them when they come', async () => {
    const { body } = await sync();
    let answered = false;
    const waiting = sync(`?since=${body.next_batch}&timeout=30000`).then((answer) => {
      answered = true;
      return answer;
    });
    // Woken by nothing that the user is to be told of, it goes on waiting.
    notify();
    const eventId = await served.send('m.room.message', undefined, { body: 'news' });
    expect(answered).toBe(false);
    notify();
    expect(timelineIn(await waiting).map(({ event_id: id }) => id)).toEqual([eventId]);
  });

  it('answers nothing when the caller hangs up or the time is over', async () => {
    const { body } = await sync();
    expect(timelineIn(await sync(`?since=${body.next_batch}`))).toEqual([]);
    const caller = new AbortController();
    const waiting = sync(`?since=${body.next_batch}&timeout=30000`, caller.signal);
    caller.abort();
    expect(timelineIn(await waiting)).toEqual([]);
  });

  it('answers what there is when the server stops', async () => {
    const { body } = await sync();
    const waiting = sync(`?since=${body.next_batch}&timeout=30000`);
    api.notifier.close();
    expect(timelineIn(await waiting)).toEqual([]);
    expect(timelineIn(await sync(`?since=${body.next_batch}&timeout=30000`))).toEqual([]);
  });

  it('takes a filter inline or by its ID', async () => {
    const filter = { room: { timeline: { limit: 2 } } };
    const inline = await sync(`?filter=${encodeURIComponent(JSON.stringify(filter))}`);
    expect(timelineIn(inline)).toHaveLength(2);
    const { body } = await api.call('POST', `/user/${USER}/filter`, { token, content: filter });
    expect(timelineIn(await sync(`?filter=${body.filter_id}`))).toEqual(timelineIn(inline));
  });

  it.each([
    ['since=nonsense', 'M_INVALID_PARAM'],
    ['filter=17', 'M_INVALID_PARAM'],
    ['filter=%7B', 'M_NOT_JSON'],
  ])('answers 400 for %s', async (query, errcode) => {
    const { status, body } = await sync(`?${query}`);
    expect([status, body.errcode]).toEqual([400, errcode]);
  });
});
