import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adminEndpoints } from '../../../src/api/admin/admin-endpoints.js';
import type { ApiRequest } from '../../../src/api/endpoint.js';
import { makeRouter } from '../../../src/http/router.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { Joiner } from '../../partial-state/joiner.js';
import { HS3_KEY, NOW, ROOM, ServedRoom, textOf } from '../federation/served-room.js';

const TOKEN = 'an admin token';

let resident: ServedRoom;
let joiner: Joiner;

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  for (const user of ['@carol:hs3', '@dave:hs3', '@erin:hs3']) await resident.join(HS3_KEY, user);
  await joiner.join();
});

afterEach(async () => {
  await joiner.close();
  await resident.close();
});

async function get(path: string, token = TOKEN): Promise<JsonObject> {
  const router = makeRouter(adminEndpoints(joiner.server, { token: TOKEN, processReport: () => ({}) }));
  const { endpoint, params } = router.match('GET', path);
  const request: ApiRequest = {
    method: 'GET',
    rawUri: path,
    params,
    query: new URLSearchParams(),
    header: (name) => (name === 'authorization' ? `Bearer ${token}` : undefined),
    body: Buffer.alloc(0),
    signal: new AbortController().signal,
  };
  return JSON.parse(await textOf(await endpoint.handle(request))) as JsonObject;
}

function report(): Promise<JsonObject> {
  return get(`/_joinery/admin/v1/rooms/${encodeURIComponent(ROOM)}/resync`);
}

function stageIn(found: JsonObject, stage: string): JsonObject | undefined {
  return (found.stages as JsonObject[]).find(({ name }) => name === stage);
}

describe('the report of a resynchronisation', () => {
  it('says where it failed, through whom, how often, why, and when it is tried next', async () => {
    joiner.intercept = (_server, { path }) => (path.includes('/state_ids/') ? '<html>' : undefined);
    expect(await joiner.resync()).toBe(false);
    const first = await report();
    expect(first).toMatchObject({
      room_id: ROOM,
      residency: 'partial-state',
      stage: 'state_ids',
      stage_status: 'failed',
      done: 0,
      total: 0,
      bytes: 0,
      server: 'hs3',
      attempts: 1,
      last_failure: expect.stringMatching(/^hs1: .*not a JSON object; hs3: .*not a JSON object$/),
    });
    const firstWait = Number(first.next_try_ts) - NOW;
    expect(firstWait).toBeGreaterThan(0);
    expect(await joiner.resync()).toBe(false);
    const second = await report();
    expect(second.attempts).toBe(2);
    expect(Number(second.next_try_ts) - NOW).toBeGreaterThan(firstWait);
  });

  it('says what is done of how much, and through whom, while it runs', async () => {
    const seen: JsonObject[] = [];
    joiner.intercept = async (_server, { path }) => {
      if (path.includes('/state_ids/') || path.includes('/state/')) seen.push(await report());
      return undefined;
    };
    expect(await joiner.resync()).toBe(true);
    const [listing, fetching] = seen;
    expect(listing).toMatchObject({ stage: 'state_ids', stage_status: 'running', server: 'hs1', attempts: 0 });
    expect(fetching).toMatchObject({ stage_status: 'running', server: 'hs1', next_try_ts: 0, last_failure: null });
    const list = fetching && stageIn(fetching, 'state_ids');
    expect(list).toMatchObject({ status: 'done', done: list?.total, total: expect.any(Number) });
    expect(Number(list?.total)).toBeGreaterThan(5);
    expect(Number(fetching?.total)).toBeGreaterThan(0);
    const whole = await report();
    expect(whole).toMatchObject({ residency: 'full-state', stage: 'un_partial_stating', stage_status: 'done' });
    expect((whole.stages as JsonObject[]).filter(({ status }) => status === 'failed')).toEqual([]);
    expect(Number(whole.resync_bytes)).toBeGreaterThan(1000);
  });

  it('forgets a failure when a later attempt completes the room', async () => {
    joiner.intercept = (server, { path }) => (server === 'hs1' && path.includes('/state/') ? '<html>' : undefined);
    expect(await joiner.resync()).toBe(true);
    const whole = await report();
    expect(whole).toMatchObject({ server: 'hs3', attempts: 0, last_failure: null, next_try_ts: 0 });
    expect((whole.stages as JsonObject[]).filter(({ status }) => status === 'failed')).toEqual([]);
  });

  it('is for the administrator, and of rooms that are known', async () => {
    const path = `/_joinery/admin/v1/rooms/${encodeURIComponent(ROOM)}/resync`;
    await expect(get(path, 'another token')).rejects.toMatchObject({ status: 401 });
    const unknown = `/_joinery/admin/v1/rooms/${encodeURIComponent('!nowhere:hs1')}/resync`;
    await expect(get(unknown)).rejects.toMatchObject({ status: 404, errcode: 'M_NOT_FOUND' });
  });
});
