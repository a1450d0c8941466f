import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RoomId, ServerName, UserId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { sendEvent } from '../../../src/room/send-event.js';
import { eventNidOf } from '../../../src/store/events.js';
import { NO_EVENT } from '../../../src/store/nids.js';
import type { PartialStateRow, Room } from '../../../src/store/rooms.js';
import { loadRoom, putPartialState, putRoom } from '../../../src/store/rooms.js';
import { ALICE, HS2_KEY, HS3_KEY, NOW, ROOM, ServedRoom } from '../federation/served-room.js';
import { ClientApi } from './client-api.js';

const OTHER_ROOM = '!other:hs1' as RoomId;
const PATH = `/rooms/${encodeURIComponent(ROOM)}`;
const DORA = '@dora:hs1' as UserId;
const HELLO = { msgtype: 'm.text', body: 'hello' };

/** A resync of which a full round failed. */
const FAILED: PartialStateRow = {
  joinNid: NO_EVENT,
  joinedVia: 'hs2' as ServerName,
  servers: ['hs2' as ServerName],
  deviceListPosition: 0,
  attempts: 1,
  nextTryTs: NOW + 60_000,
  lastFailure: 'hs2: no answer',
};

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

function room(): Room {
  const row = loadRoom(served.store, ROOM);
  if (row === undefined) throw new Error(`no room ${ROOM}`);
  return row;
}

function setResidency(residency: 'partial-state' | 'full-state'): void {
  const row = room();
  served.store.write((writer) => putRoom(writer, row.nid, { ...row, residency }));
}

function send(txnId: string, type = 'm.room.message', roomId: string = ROOM) {
  const path = `/rooms/${encodeURIComponent(roomId)}/send/${type}/${encodeURIComponent(txnId)}`;
  return api.call('PUT', path, { token, content: HELLO });
}

describe('PUT /rooms/{roomId}/send/{eventType}/{txnId}', () => {
  it('is idempotent by its transaction identifier', async () => {
    const first = await send('t1');
    expect(first).toEqual({ status: 200, body: { event_id: expect.stringMatching(/^\$/) } });
    expect(await send('t1')).toEqual(first);
    const other = await send('t2');
    expect(other.body.event_id).not.toBe(first.body.event_id);
  });

  it('is idempotent while the first request has no answer yet', async () => {
    const [first, second] = await Promise.all([send('t1'), send('t1')]);
    expect(first.status).toBe(200);
    expect(second).toEqual(first);
  });

  it('tells apart the same transaction identifier on another path', async () => {
    await served.createRoom(undefined, undefined, OTHER_ROOM);
    const answers = [await send('t1'), await send('t1', 'm.room.message', OTHER_ROOM), await send('t1', 'org.example')];
    expect(new Set(answers.map(({ body }) => body.event_id)).size).toBe(3);
  });

  it('takes a transaction identifier of any length', async () => {
    const long = 't'.repeat(4000);
    const first = await send(long);
    expect(first.status).toBe(200);
    expect(await send(long)).toEqual(first);
  });

  it('can be repeated after a failure', async () => {
    const failed = await api.call('PUT', `${PATH}/send/m.room.message/t1`, { token, content: { float: 1.5 } });
    expect(failed.status).toBe(400);
    expect((await send('t1')).status).toBe(200);
  });

  it('answers M_FORBIDDEN to who is not in the room', async () => {
    const stranger = await api.tokenOf('stranger');
    const { status, body } = await api.call('PUT', `${PATH}/send/m.room.message/t1`, {
      token: stranger,
      content: HELLO,
    });
    expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN']);
  });
});

describe('GET /rooms/{roomId}/state/{eventType}/{stateKey}', () => {
  it.each(['nothing', 'k'.repeat(4000)])('answers M_NOT_FOUND for a state key that the room has not', async (key) => {
    const { status, body } = await api.call('GET', `${PATH}/state/org.example/${key}`, { token });
    expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND']);
  });
});

describe('the state of a room', () => {
  const asked = ['state', 'members', 'state/m.room.topic'];
  let dora: string;
  const member = (membership: string, sender = DORA) =>
    sendEvent(served.server, ROOM, { type: 'm.room.member', sender, stateKey: DORA, content: { membership } });
  const statuses = () =>
    Promise.all(asked.map(async (path) => (await api.call('GET', `${PATH}/${path}`, { token: dora })).status));
  const topic = async () => (await api.call('GET', `${PATH}/state/m.room.topic`, { token: dora })).body.topic;

  beforeEach(async () => {
    dora = await api.tokenOf('dora');
    await served.send('m.room.topic', '', { topic: 'early' });
  });

  it('is hidden from who never was in the room: a stranger, one invited, one who refused, one banned', async () => {
    expect(await statuses()).toEqual([403, 403, 403]);
    await member('invite', ALICE);
    expect(await statuses()).toEqual([403, 403, 403]);
    await member('leave');
    expect(await statuses()).toEqual([403, 403, 403]);
    await member('ban', ALICE);
    expect(await statuses()).toEqual([403, 403, 403]);
  });

  it('is that at the leave for who has left, also after a ban', async () => {
    await member('join');
    await member('leave');
    await served.send('m.room.topic', '', { topic: 'late' });
    expect([await statuses(), await topic()]).toEqual([[200, 200, 200], 'early']);
    await member('ban', ALICE);
    expect([await statuses(), await topic()]).toEqual([[200, 200, 200], 'early']);
  });

  it('is shown to anybody where the history is world-readable', async () => {
    await served.send('m.room.history_visibility', '', { history_visibility: 'world_readable' });
    expect([await statuses(), await topic()]).toEqual([[200, 200, 200], 'early']);
    expect((await api.call('GET', `${PATH}/joined_members`, { token: dora })).status).toBe(403);
  });

  it('of a room that is not known here is forbidden', async () => {
    const path = `/rooms/${encodeURIComponent('!nowhere:hs1')}/state`;
    expect((await api.call('GET', path, { token: dora })).status).toBe(403);
  });
});

describe('members of a room', () => {
  it('are answered with the state that is full', async () => {
    await served.join(HS2_KEY, '@bob:hs2');
    const { status, body } = await api.call('GET', `${PATH}/members`, { token });
    const members = body.chunk as JsonObject[];
    expect([status, members.map(({ state_key: user }) => user).sort()]).toEqual([200, ['@alice:hs1', '@bob:hs2']]);
    expect(members.map(({ room_id: roomId }) => roomId)).toEqual([ROOM, ROOM]);
  });

  it('are answered by membership: with one, without another, with one or without another', async () => {
    await served.join(HS2_KEY, '@bob:hs2');
    await served.send('m.room.member', '@carol:hs3', { membership: 'invite' });
    const users = async (query: string) => {
      const { body } = await api.call('GET', `${PATH}/members?${query}`, { token });
      return (body.chunk as JsonObject[]).map(({ state_key: user }) => user).sort();
    };
    expect(await users('membership=join')).toEqual([ALICE, '@bob:hs2']);
    expect(await users('not_membership=join')).toEqual(['@carol:hs3']);
    expect(await users('membership=join&not_membership=leave')).toEqual([ALICE, '@bob:hs2', '@carol:hs3']);
    expect(await users('membership=nonsense')).toEqual([]);
  });

  it('are answered as they were at a token, no later than when the caller left', async () => {
    const dora = await api.tokenOf('dora');
    const tokenNow = async (by: string) => String((await api.call('GET', '/sync', { token: by })).body.next_batch);
    const users = async (at: string, by = token) => {
      const { status, body } = await api.call('GET', `${PATH}/members?at=${at}`, { token: by });
      return status === 200 ? (body.chunk as JsonObject[]).map(({ state_key: user }) => user).sort() : status;
    };
    const join = (membership: string) =>
      sendEvent(served.server, ROOM, { type: 'm.room.member', sender: DORA, stateKey: DORA, content: { membership } });
    const first = await tokenNow(token);
    await join('join');
    const second = await tokenNow(token);
    await served.join(HS2_KEY, '@bob:hs2');
    const third = await tokenNow(token);
    expect([await users(first), await users(second), await users(third)]).toEqual([
      [ALICE],
      [ALICE, DORA],
      [ALICE, '@bob:hs2', DORA],
    ]);
    await join('leave');
    await served.join(HS3_KEY, '@carol:hs3');
    const last = await tokenNow(token);
    expect(await users(last)).toEqual([ALICE, '@bob:hs2', '@carol:hs3', DORA]);
    expect(await users(last, dora)).toEqual([ALICE, '@bob:hs2', DORA]);
    expect(await users('s0')).toEqual([]);
    expect([await users('t1'), await users(`s${'9'.repeat(20)}`)]).toEqual([400, 400]);
  });

  it('are hidden at a token from before the join, where the history is for members only', async () => {
    await served.send('m.room.history_visibility', '', { history_visibility: 'joined' });
    const before = String((await api.call('GET', '/sync', { token })).body.next_batch);
    await served.send('m.room.topic', '', { topic: 'between' });
    const dora = await api.tokenOf('dora');
    await sendEvent(served.server, ROOM, {
      type: 'm.room.member',
      sender: DORA,
      stateKey: DORA,
      content: { membership: 'join' },
    });
    expect((await api.call('GET', `${PATH}/members?at=${before}`, { token: dora })).status).toBe(403);
    const filter = encodeURIComponent(JSON.stringify({ room: { timeline: { limit: 1 } } }));
    const { body } = await api.call('GET', `/sync?filter=${filter}`, { token: dora });
    const rooms = body.rooms as { join: Record<string, { timeline: { prev_batch: string } }> };
    const start = rooms.join[ROOM]?.timeline.prev_batch;
    expect((await api.call('GET', `${PATH}/members?at=${start}`, { token: dora })).status).toBe(200);
  });

  it('wait while the state is partial, and come when it is full', async () => {
    setResidency('partial-state');
    let answered = false;
    const waiting = api.call('GET', `${PATH}/members`, { token }).then((answer) => {
      answered = true;
      return answer;
    });
    // What needs no members is answered meanwhile.
    const rules = await api.call('GET', `${PATH}/state/m.room.join_rules`, { token });
    const own = await api.call('GET', `${PATH}/state/m.room.member/${encodeURIComponent('@alice:hs1')}`, { token });
    expect([rules.body, own.body, answered]).toEqual([{ join_rule: 'public' }, { membership: 'join' }, false]);
    setResidency('full-state');
    api.waiters.completed(room().nid);
    expect((await waiting).status).toBe(200);
  });

  it('answer 503 with a time to retry after where too little time is left', async () => {
    setResidency('partial-state');
    const caller = new AbortController();
    caller.abort();
    const { status, body } = await api.call('GET', `${PATH}/joined_members`, { token, signal: caller.signal });
    expect([status, body.retry_after_ms]).toEqual([503, 30_000]);
  });

  it('answer 503 with the time of the next try as soon as the resync has failed for now, and at once after that', async () => {
    setResidency('partial-state');
    const waiting = api.call('GET', `${PATH}/members`, { token });
    served.store.write((writer) => putPartialState(writer, room().nid, FAILED));
    api.waiters.failedForNow(room().nid);
    const again = api.call('GET', `${PATH}/state`, { token });
    for (const { status, body } of [await waiting, await again]) {
      expect([status, body.errcode, body.retry_after_ms]).toEqual([503, 'M_UNKNOWN', 60_000]);
    }
  });

  it('are answered with the memberships we hold to who has left, also while waiting', async () => {
    await served.join(HS2_KEY, '@bob:hs2');
    setResidency('partial-state');
    const waiting = api.call('GET', `${PATH}/members`, { token });
    const left = await served.send('m.room.member', ALICE, { membership: 'leave' });
    const nid = eventNidOf(served.store, left);
    if (nid === undefined) throw new Error('the leave is not stored');
    api.waiters.onTimelineEvent(room().nid, nid);
    const later = api.call('GET', `${PATH}/members`, { token });
    for (const { status, body } of [await waiting, await later]) {
      const members = (body.chunk as { state_key: string; content: JsonObject }[]).map((event) => [
        event.state_key,
        event.content.membership,
      ]);
      expect([status, members.sort()]).toEqual([
        200,
        [
          [ALICE, 'leave'],
          ['@bob:hs2', 'join'],
        ],
      ]);
    }
  });

  it('have display_name and avatar_url null in joined_members where they are unset', async () => {
    const profile = { membership: 'join', displayname: 'Alice', avatar_url: 'mxc://hs1/a' };
    const plain = await api.call('GET', `${PATH}/joined_members`, { token });
    expect(plain.body).toEqual({ joined: { '@alice:hs1': { display_name: null, avatar_url: null } } });
    await served.send('m.room.member', '@alice:hs1', profile);
    const named = await api.call('GET', `${PATH}/joined_members`, { token });
    expect(named.body).toEqual({ joined: { '@alice:hs1': { display_name: 'Alice', avatar_url: 'mxc://hs1/a' } } });
  });
});
