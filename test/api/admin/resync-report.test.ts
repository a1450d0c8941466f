import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adminEndpoints } from '../../../src/api/admin/admin-endpoints.js';
import type { ApiRequest, HttpMethod } from '../../../src/api/endpoint.js';
import { makeRouter } from '../../../src/http/router.js';
import type { RoomId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { Resyncs } from '../../../src/partial-state/resyncs.js';
import { sendEvent } from '../../../src/room/send-event.js';
import { Joiner } from '../../partial-state/joiner.js';
import { BOB, HS3_KEY, NOW, ROOM, ServedRoom, textOf } from '../federation/served-room.js';

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
  outcome = new Promise((resolve) => {
    resyncs = new Resyncs(
      joiner.server,
      () => resolve('complete'),
      () => resolve('failed for now'),
    );
  });
});

afterEach(async () => {
  await resyncs.close();
  await joiner.close();
  await resident.close();
});

/** Resyncs that an operator has hurried. */
let resyncs: Resyncs;
let outcome: Promise<string>;

async function ask(method: HttpMethod, path: string, token = TOKEN): Promise<JsonObject> {
  const tryResyncNow = (roomId: RoomId) => resyncs.tryNow(roomId);
  const router = makeRouter(adminEndpoints(joiner.server, { token: TOKEN, processReport: () => ({}), tryResyncNow }));
  const { endpoint, params } = router.match(method, path);
  const request: ApiRequest = {
    method,
    rawUri: path,
    params,
    query: new URLSearchParams(),
    header: (name) => (name === 'authorization' ? `Bearer ${token}` : undefined),
    body: Buffer.alloc(0),
    signal: new AbortController().signal,
  };
  return JSON.parse(await textOf(await endpoint.handle(request))) as JsonObject;
}

function resyncPath(roomId: string = ROOM): string {
  return `/_joinery/admin/v1/rooms/${encodeURIComponent(roomId)}/resync`;
}

function report(): Promise<JsonObject> {
  return ask('GET', resyncPath());
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
    await expect(ask('GET', resyncPath(), 'another token')).rejects.toMatchObject({ status: 401 });
    await expect(ask('GET', resyncPath('!nowhere:hs1'))).rejects.toMatchObject({ status: 404, errcode: 'M_NOT_FOUND' });
  });
});

describe('an operator who knows that a server is back', () => {
  it('has the resync tried at once, with its waits beginning anew', async () => {
    joiner.intercept = (_server, { path }) => (path.includes('/state_ids/') ? '<html>' : undefined);
    for (let n = 0; n < 3; n++) expect(await joiner.resync()).toBe(false);
    joiner.intercept = () => undefined;
    const { attempts, next_try_ts: nextTryTs } = await report();
    expect(attempts).toBe(3);
    expect(Number(nextTryTs)).toBeGreaterThan(NOW);
    const answer = await ask('POST', resyncPath());
    expect(answer).toMatchObject({ room_id: ROOM, residency: 'partial-state', attempts: 0, next_try_ts: 0 });
    expect(await outcome).toBe('complete');
    expect(await report()).toMatchObject({ residency: 'full-state' });
    await expect(ask('POST', resyncPath())).rejects.toMatchObject({
      status: 400,
      errcode: 'M_BAD_STATE',
      message: expect.stringMatching(/has full state/),
    });
  });

  it('disturbs none that runs', async () => {
    const answers: JsonObject[] = [];
    joiner.intercept = async (_server, { path }) => {
      await nextTurn();
      if (path.includes('/state_ids/')) answers.push(await ask('POST', resyncPath()));
      return undefined;
    };
    await ask('POST', resyncPath());
    expect(await outcome).toBe('complete');
    expect(answers).toMatchObject([{ stage: 'state_ids', stage_status: 'running' }]);
    expect(joiner.asked.filter((line) => line === 'hs1 state_ids')).toHaveLength(1);
  });

  it('is told where there is nothing to try, and must have the token', async () => {
    await expect(ask('POST', resyncPath(), 'another token')).rejects.toMatchObject({
      status: 401,
      errcode: 'M_UNKNOWN_TOKEN',
    });
    await expect(ask('POST', resyncPath('!nowhere:hs1'))).rejects.toMatchObject({
      status: 404,
      errcode: 'M_NOT_FOUND',
    });
    const content = { membership: 'leave' };
    await sendEvent(joiner.server, ROOM, { type: 'm.room.member', sender: BOB, stateKey: BOB, content });
    await expect(ask('POST', resyncPath())).rejects.toMatchObject({
      status: 400,
      errcode: 'M_BAD_STATE',
      message: expect.stringMatching(/is paused/),
    });
  });
});
