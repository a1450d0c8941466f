import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RoomId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import type { Room } from '../../../src/store/rooms.js';
import { loadRoom, putRoom } from '../../../src/store/rooms.js';
import { HS2_KEY, ROOM, ServedRoom } from '../federation/served-room.js';
import { ClientApi } from './client-api.js';

const OTHER_ROOM = '!other:hs1' as RoomId;
const PATH = `/rooms/${encodeURIComponent(ROOM)}`;
const HELLO = { msgtype: 'm.text', body: 'hello' };

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

describe('members of a room', () => {
  it('are answered with the state that is full', async () => {
    await served.join(HS2_KEY, '@bob:hs2');
    const { status, body } = await api.call('GET', `${PATH}/members`, { token });
    const members = body.chunk as JsonObject[];
    expect([status, members.map(({ state_key: user }) => user).sort()]).toEqual([200, ['@alice:hs1', '@bob:hs2']]);
    expect(members.map(({ room_id: roomId }) => roomId)).toEqual([ROOM, ROOM]);
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

  it('have display_name and avatar_url null in joined_members where they are unset', async () => {
    const profile = { membership: 'join', displayname: 'Alice', avatar_url: 'mxc://hs1/a' };
    const plain = await api.call('GET', `${PATH}/joined_members`, { token });
    expect(plain.body).toEqual({ joined: { '@alice:hs1': { display_name: null, avatar_url: null } } });
    await served.send('m.room.member', '@alice:hs1', profile);
    const named = await api.call('GET', `${PATH}/joined_members`, { token });
    expect(named.body).toEqual({ joined: { '@alice:hs1': { display_name: 'Alice', avatar_url: 'mxc://hs1/a' } } });
  });
});
