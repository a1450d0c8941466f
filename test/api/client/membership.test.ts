/** Joining and leaving rooms that another server serves, as a client does it over HTTP. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clientEndpoints } from '../../../src/api/client/client-endpoints.js';
import type { HttpServer } from '../../../src/http/start-http-server.js';
import { startHttpServer } from '../../../src/http/start-http-server.js';
import type { UserId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { RemoteError } from '../../../src/remote/remote-error.js';
import { joinAnyRoom } from '../../../src/room/join/join-any-room.js';
import { receivePdus } from '../../../src/room/receive-pdus.js';
import { sendEvent } from '../../../src/room/send-event.js';
import { loadEvent } from '../../../src/store/events.js';
import { loadRoom } from '../../../src/store/rooms.js';
import { localMembership } from '../../../src/store/timeline.js';
import { putAccessToken } from '../../../src/store/users.js';
import { FullStateWaiters } from '../../../src/sync/full-state-waiters.js';
import { SyncNotifier } from '../../../src/sync/sync-notifier.js';
import { ask, memoryLog } from '../../http/http-support.js';
import { Joiner } from '../../partial-state/joiner.js';
import { BOB, HS3_KEY, ROOM, ServedRoom } from '../federation/served-room.js';

const DORA = '@dora:hs2' as UserId;
/** Whom the resident bans. */
const ERIN = '@erin:hs2' as UserId;
const JOIN_ASKED = ['hs1 make_join', 'hs1 send_join'];
const ID = encodeURIComponent(ROOM);

let resident: ServedRoom;
let joiner: Joiner;
let http: HttpServer;

// The resident knows our server from the tests before; each test has a joiner that knows nothing yet.
beforeAll(async () => {
  resident = new ServedRoom();
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  await resident.join(HS3_KEY, '@carol:hs3');
});
afterAll(() => resident.close());

beforeEach(async () => {
  joiner = new Joiner(resident);
  const { server, store } = joiner;
  store.write((writer) => {
    for (const userId of [BOB, DORA, ERIN]) putAccessToken(writer, userId, { userId, deviceId: 'D' });
  });
  const endpoints = clientEndpoints(server, {
    registrationEnabled: false,
    defaultRoomVersion: '11',
    partialJoins: true,
    waiters: new FullStateWaiters(store, server.clock),
    sync: new SyncNotifier(),
    rooms: {
      join: (request) => joinAnyRoom(server, request),
      send: (roomId, sender, intent, alongside) => sendEvent(server, roomId, { ...intent, sender }, alongside),
    },
  });
  http = await startHttpServer({ listeners: [{ bind: '127.0.0.1', port: 0, endpoints }], log: memoryLog() });
});

afterEach(async () => {
  await http.close(0);
  await joiner.close();
});

interface Answer {
  readonly status: number;
  readonly body: JsonObject;
}

/** A request of Bob's, whose token is his name, unless another's is given (empty: none). */
async function call(method: string, path: string, body = '', token: string = BOB): Promise<Answer> {
  const headers = token === '' ? {} : { authorization: `Bearer ${token}` };
  const answer = await ask(http.addresses[0]?.port ?? 0, path, { method, headers, body });
  return { status: answer.status, body: JSON.parse(answer.text) as JsonObject };
}

function post(path: string, body = '{}', token: string = BOB): Promise<Answer> {
  return call('POST', `/_matrix/client/v3${path}`, body, token);
}

async function joinedRooms(): Promise<unknown> {
  return (await call('GET', '/_matrix/client/v3/joined_rooms')).body.joined_rooms;
}

/** What was asked for joins; the events before one are asked for besides. */
function joinsAsked(): string[] {
  return joiner.asked.filter((line) => line.endsWith('_join'));
}

function codeOf({ status, body }: Answer): unknown[] {
  return [status, body.errcode];
}

/** Bob's membership, as our copy of the room has it. */
function membershipEvent(): JsonObject {
  const event = localMembership(joiner.store, BOB, joiner.room().nid)?.event;
  const pdu = event === undefined ? undefined : loadEvent(joiner.store, joiner.room().rules, event);
  if (pdu === undefined) throw new Error(`${BOB} has no membership`);
  return pdu.json;
}

/** Sends it to the resident, as the outbound queue does. */
async function tellResident(): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(membershipEvent()));
  await receivePdus(resident.server, joiner.server.serverName, ROOM, [bytes], () => Promise.resolve());
}

describe('POST /join/{roomIdOrAlias} and /rooms/{roomId}/join', () => {
  it.each([
    `/_matrix/client/v3/join/${ID}?via=hs1`,
    `/_matrix/client/v3/join/${ID}?server_name=hs1`,
    `/_matrix/client/v3/rooms/${ID}/join?via=hs1`,
    `/_matrix/client/r0/join/${ID}?server_name=hs1`,
    // The room ID's own server.
    `/_matrix/client/v3/rooms/${ID}/join`,
  ])('joins through %s', async (path) => {
    expect(await call('POST', path)).toEqual({ status: 200, body: { room_id: ROOM } });
    expect(joinsAsked()).toEqual(JOIN_ASKED);
    expect(await joinedRooms()).toEqual([ROOM]);
    expect(joiner.room().residency).toBe('partial-state');
  });

  it('asks the servers that are named, one after another, and not the one of the room ID', async () => {
    joiner.intercept = (server, { path }) => {
      if (!path.includes('/make_join/')) return undefined;
      throw new RemoteError('unreachable', server, 'nobody is there');
    };
    const { status, body } = await post(`/join/${ID}?via=hs7&server_name=hs8&via=hs9&via=hs7&via=not+a+name`);
    expect([status, body.errcode]).toEqual([502, 'M_UNKNOWN']);
    expect(joiner.asked).toEqual(['hs7 make_join', 'hs9 make_join', 'hs8 make_join']);
    expect(await joinedRooms()).toEqual([]);
  });

  it('puts the reason that the user gives into the membership, and asks nobody where the user is joined already', async () => {
    await post(`/join/${ID}`, '{"reason":"to listen"}');
    expect(membershipEvent().content).toEqual({ membership: 'join', reason: 'to listen' });
    expect((await post(`/join/${ID}?via=hs9`)).body).toEqual({ room_id: ROOM });
    expect(joinsAsked()).toEqual(JOIN_ASKED);
  });

  it('lets a second user of ours in, and two at the same time', async () => {
    const answers = await Promise.all([post(`/join/${ID}`), post(`/join/${ID}`, '{}', DORA)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(joiner.members()).toEqual(expect.arrayContaining([`${BOB} join`, `${DORA} join`]));
    expect(joinsAsked()).toEqual([...JOIN_ASKED, ...JOIN_ASKED]);
  });

  it('answers M_FORBIDDEN where the room does not let the user in', async () => {
    await resident.send('m.room.member', ERIN, { membership: 'ban' });
    expect(codeOf(await post(`/join/${ID}?via=hs1&via=hs3`, '{}', ERIN))).toEqual([403, 'M_FORBIDDEN']);
    expect(joiner.asked).toEqual(['hs1 make_join']);
    expect(loadRoom(joiner.store, ROOM)).toBeUndefined();
  });

  it('answers 502, with what each server said, for a room that none of them knows', async () => {
    const { status, body } = await post(`/join/${encodeURIComponent('!nowhere:hs1')}?via=hs1`);
    expect([status, body.errcode]).toEqual([502, 'M_UNKNOWN']);
    expect(body.error).toContain('M_NOT_FOUND');
  });

  it('answers M_NOT_FOUND where no server is named and the room ID has none, or ours', async () => {
    for (const roomId of ['!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM', '!room:hs2']) {
      expect(codeOf(await post(`/join/${encodeURIComponent(roomId)}`))).toEqual([404, 'M_NOT_FOUND']);
    }
    expect(codeOf(await post(`/join/${ID}?via=hs2`))).toEqual([404, 'M_NOT_FOUND']);
    expect(codeOf(await post(`/join/${encodeURIComponent('#alias:hs1')}`))).toEqual([404, 'M_NOT_FOUND']);
    expect(joiner.asked).toEqual([]);
  });

  it('refuses a body or a room ID that is malformed, and asks nobody', async () => {
    const refusals: [string, string, string][] = [
      [ID, '{', 'M_NOT_JSON'],
      [ID, '[]', 'M_BAD_JSON'],
      [ID, '{"reason":7}', 'M_BAD_JSON'],
      ['room', '{}', 'M_INVALID_PARAM'],
    ];
    for (const [id, body, errcode] of refusals) {
      for (const path of [`/join/${id}`, `/rooms/${id}/join`])
        expect(codeOf(await post(path, body)), body).toEqual([400, errcode]);
    }
    expect(joiner.asked).toEqual([]);
  });

  it('wants an access token', async () => {
    expect(codeOf(await post(`/join/${ID}`, '{}', ''))).toEqual([401, 'M_MISSING_TOKEN']);
    expect(codeOf(await post(`/rooms/${ID}/join`, '{}', 'x'))).toEqual([401, 'M_UNKNOWN_TOKEN']);
    expect(joiner.asked).toEqual([]);
  });
});

describe('POST /rooms/{roomId}/leave', () => {
  it('leaves at once with a reason, also while the state is partial, and twice is no error', async () => {
    await post(`/join/${ID}`);
    for (const body of ['{"reason":"too loud"}', ''])
      expect(await post(`/rooms/${ID}/leave`, body)).toEqual({ status: 200, body: {} });
    expect(await joinedRooms()).toEqual([]);
    expect([joiner.room().residency, membershipEvent().content]).toEqual([
      'paused',
      { membership: 'leave', reason: 'too loud' },
    ]);
    // Nobody is asked: the leave is an event of ours that is queued.
    expect(joinsAsked()).toEqual(JOIN_ASKED);
  });

  it('is forbidden to who was never in the room, or is banned from it, and for a room that is not known', async () => {
    await post(`/join/${ID}`);
    expect(codeOf(await post(`/rooms/${ID}/leave`, '{}', DORA))).toEqual([403, 'M_FORBIDDEN']);
    expect(codeOf(await post(`/rooms/${encodeURIComponent('!nowhere:hs1')}/leave`))).toEqual([403, 'M_FORBIDDEN']);
    const ban = await resident.send('m.room.member', BOB, { membership: 'ban' });
    const { body } = await resident.call('GET', `/_matrix/federation/v1/event/${encodeURIComponent(ban)}`, {
      as: HS3_KEY,
    });
    await joiner.receive(resident.server.serverName, (body.pdus as JsonObject[])[0] as JsonObject);
    expect(codeOf(await post(`/rooms/${ID}/leave`))).toEqual([403, 'M_FORBIDDEN']);
    await resident.send('m.room.member', BOB, { membership: 'leave' });
  });

  it('refuses a body that is no JSON object, and can be followed by another join', async () => {
    await post(`/join/${ID}`);
    expect(codeOf(await post(`/rooms/${ID}/leave`, '{'))).toEqual([400, 'M_NOT_JSON']);
    expect(codeOf(await post(`/rooms/${ID}/leave`, '7'))).toEqual([400, 'M_BAD_JSON']);
    expect(await joinedRooms()).toEqual([ROOM]);
    await post(`/rooms/${ID}/leave`);
    expect(await joinedRooms()).toEqual([]);
    await tellResident();
    expect((await post(`/join/${ID}`)).status).toBe(200);
    expect(await joinedRooms()).toEqual([ROOM]);
  });
});
