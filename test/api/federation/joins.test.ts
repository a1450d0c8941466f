import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RoomId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { receivePdus } from '../../../src/room/receive-pdus.js';
import { eventVerdict, Verdict } from '../../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import type { Room } from '../../../src/store/rooms.js';
import { loadRoom, markPartialStateEvent, putPartialState, putRoom } from '../../../src/store/rooms.js';
import { stateEvent } from '../../../src/store/state-groups.js';
import { ALICE, BOB, HS2_KEY, HS3_KEY, NOW, OWN_KEY, ROOM, ServedRoom } from './served-room.js';

let served: ServedRoom;
beforeEach(() => {
  served = new ServedRoom();
});
afterEach(() => served.close());

const room = () => loadRoom(served.store, ROOM) as Room;
const typesOf = (events: unknown) =>
  (events as JsonObject[]).map(({ type, state_key }) => `${type} ${state_key}`).sort();
const uri = (tail: string) => `/_matrix/federation/v1/${tail.replaceAll('ROOM', encodeURIComponent(ROOM))}`;

describe('make_join', () => {
  it('returns a template on the newest forward extremities with the auth events of the current state', async () => {
    await served.createRoom();
    const { status, body } = await served.call('GET', uri(`make_join/ROOM/${BOB}?ver=10&ver=11`), { as: HS2_KEY });
    expect(status).toBe(200);
    expect(body.room_version).toBe('11');
    const event = body.event as JsonObject;
    expect(event).toMatchObject({
      type: 'm.room.member',
      sender: BOB,
      state_key: BOB,
      content: { membership: 'join' },
      depth: 5,
    });
    expect(event.prev_events).toHaveLength(1);
    expect(event.auth_events).toHaveLength(3);
  });

  it('refuses other versions, foreign users, unknown rooms and joins that the rules forbid', async () => {
    await served.createRoom({ join_rule: 'invite' });
    const refusal = async (tail: string) => {
      const { status, body } = await served.call('GET', uri(tail), { as: HS2_KEY });
      return [status, body.errcode, body.room_version];
    };
    expect(await refusal(`make_join/ROOM/${BOB}?ver=9`)).toEqual([400, 'M_INCOMPATIBLE_ROOM_VERSION', '11']);
    expect(await refusal(`make_join/ROOM/${BOB}`)).toEqual([400, 'M_INCOMPATIBLE_ROOM_VERSION', '11']);
    expect(await refusal('make_join/ROOM/@x:hs3?ver=11')).toEqual([403, 'M_FORBIDDEN', undefined]);
    expect(await refusal(`make_join/!other:hs1/${BOB}?ver=11`)).toEqual([404, 'M_NOT_FOUND', undefined]);
    expect(await refusal(`make_join/ROOM/${BOB}?ver=11`)).toEqual([403, 'M_FORBIDDEN', undefined]);
  });

  it('cannot authorise a restricted join by a room that it is not in', async () => {
    await served.createRoom({ join_rule: 'restricted', allow: [{ type: 'm.room_membership', room_id: '!else:hs9' }] });
    const { status, body } = await served.call('GET', uri(`make_join/ROOM/${BOB}?ver=11`), { as: HS2_KEY });
    expect([status, body.errcode]).toEqual([400, 'M_UNABLE_TO_AUTHORISE_JOIN']);
  });

  it('names a local user who may invite, and countersigns the join that names it', async () => {
    const space = '!space:hs1' as RoomId;
    await served.createRoom(undefined, undefined, space);
    await served.join(HS2_KEY, BOB, '', HS2_KEY, space);
    await served.createRoom({ join_rule: 'restricted', allow: [{ type: 'm.room_membership', room_id: space }] });
    const carol = await served.call('GET', uri('make_join/ROOM/@carol:hs3?ver=11'), { as: HS3_KEY });
    expect([carol.status, carol.body.errcode]).toEqual([403, 'M_FORBIDDEN']);
    const { status, body } = await served.join(HS2_KEY, BOB);
    expect(status).toBe(200);
    const event = body.event as JsonObject;
    expect(event.content).toEqual({ membership: 'join', join_authorised_via_users_server: ALICE });
    expect(Object.keys(event.signatures as JsonObject).sort()).toEqual(['hs1', 'hs2']);
  });
});

describe('send_join', () => {
  it('lets the room hear of the join when the joining server has had time to check its answer', async () => {
    await served.createRoom();
    await served.join(HS2_KEY, BOB);
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    try {
      const { status } = await served.join(HS3_KEY, '@carol:hs3', '?omit_members=true');
      expect(status).toBe(200);
      expect(served.queued).toEqual([]);
      vi.advanceTimersByTime(2_000);
      expect(served.queued).toEqual(['hs2']);
    } finally {
      vi.useRealTimers();
    }
  });

  it('answers with the full state before the join, streamed, and its auth chain', async () => {
    await served.createRoom();
    const { status, body } = await served.join(HS2_KEY, BOB);
    expect(status).toBe(200);
    expect(body.members_omitted).toBe(false);
    expect(body.origin).toBe('hs1');
    const state = ['m.room.create ', 'm.room.join_rules ', `m.room.member ${ALICE}`, 'm.room.power_levels '];
    expect(typesOf(body.state)).toEqual(state);
    expect(typesOf(body.auth_chain)).toEqual(['m.room.create ', `m.room.member ${ALICE}`, 'm.room.power_levels ']);
    expect((body.event as JsonObject).sender).toBe(BOB);
    expect(served.callers).toEqual(['hs2', 'hs2']);
  });

  it('leaves members out when asked to, but not the heroes of a room without a name', async () => {
    await served.createRoom();
    await served.join(HS2_KEY, BOB);
    await served.send('m.room.name', '', { name: 'A name' });
    await served.send('org.test.\u{1F600}', 'm.room.member', { a: 1 });
    const named = await served.join(HS3_KEY, '@carol:hs3', '?omit_members=true');
    expect(named.status).toBe(200);
    expect(named.body.members_omitted).toBe(true);
    expect(named.body.servers_in_room).toEqual(['hs1', 'hs2']);
    const types = [
      'm.room.create ',
      'm.room.join_rules ',
      'm.room.name ',
      'm.room.power_levels ',
      'org.test.\u{1F600} m.room.member',
    ];
    expect(typesOf(named.body.state)).toEqual(types);
    expect(typesOf(named.body.auth_chain)).toEqual([`m.room.member ${ALICE}`]);
    await served.send('m.room.name', '', { name: '' });
    const unnamed = await served.join(HS3_KEY, '@dave:hs3', '?omit_members=true');
    const members = typesOf(unnamed.body.state).filter((type) => type.startsWith('m.room.member'));
    expect(members).toEqual(['m.room.member @alice:hs1', 'm.room.member @bob:hs2', 'm.room.member @carol:hs3']);
  });

  it('sends the previous membership of the joiner along', async () => {
    await served.createRoom();
    await served.send('m.room.name', '', { name: 'A name' });
    await served.send('m.room.member', BOB, { membership: 'invite' });
    const { body } = await served.join(HS2_KEY, BOB, '?omit_members=true');
    expect(typesOf(body.state)).toContain(`m.room.member ${BOB}`);
  });

  it('refuses a bad signature, another value of omit_members and a path that names another event', async () => {
    await served.createRoom();
    const unsigned = await served.join(HS2_KEY, BOB, '', HS3_KEY);
    expect([unsigned.status, unsigned.body.errcode]).toEqual([400, 'M_INVALID_PARAM']);
    const omit = await served.join(HS2_KEY, BOB, '?omit_members=yes');
    expect([omit.status, omit.body.errcode]).toEqual([400, 'M_INVALID_PARAM']);
    const { body } = await served.call('GET', uri(`make_join/ROOM/${BOB}?ver=11`), { as: HS2_KEY });
    const other = await served.call('PUT', uri('send_join/ROOM/$other'), {
      as: HS2_KEY,
      content: body.event as JsonObject,
    });
    expect([other.status, other.body.errcode]).toEqual([400, 'M_INVALID_PARAM']);
  });

  it('refuses a banned user with 403', async () => {
    await served.createRoom();
    await served.send('m.room.member', BOB, { membership: 'ban' });
    expect(await served.join(HS2_KEY, BOB)).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } });
  });
});

describe('asked about events', () => {
  it('answers state and state_ids with the same events in the same order', async () => {
    await served.createRoom();
    await served.join(HS2_KEY, BOB);
    const eventId = await served.send('m.room.message', undefined, { body: 'hello' });
    const as = HS2_KEY;
    const ids = await served.call('GET', uri(`state_ids/ROOM?event_id=${encodeURIComponent(eventId)}`), { as });
    const state = await served.call('GET', uri(`state/ROOM?event_id=${encodeURIComponent(eventId)}`), { as });
    expect(ids.body.pdu_ids).toHaveLength(5);
    expect(state.body.pdus).toHaveLength(5);
    const fetched = await Promise.all(
      (ids.body.pdu_ids as string[]).map(
        async (id) => (await served.call('GET', uri(`event/${encodeURIComponent(id)}`), { as })).body.pdus,
      ),
    );
    expect(fetched.flat()).toEqual(state.body.pdus);
    const auth = await served.call('GET', uri(`event_auth/ROOM/${encodeURIComponent(eventId)}`), { as });
    expect(typesOf(auth.body.auth_chain)).toEqual(['m.room.create ', `m.room.member ${ALICE}`, 'm.room.power_levels ']);
  });

  it('refuses servers that are not in the room and does not know events of no room', async () => {
    await served.createRoom();
    const eventId = encodeURIComponent(await served.send('m.room.message', undefined, { body: 'hello' }));
    for (const tail of [`state/ROOM?event_id=${eventId}`, `state_ids/ROOM?event_id=${eventId}`, `event/${eventId}`]) {
      expect(await served.call('GET', uri(tail), { as: HS2_KEY })).toMatchObject({
        status: 403,
        body: { errcode: 'M_FORBIDDEN' },
      });
    }
    expect(await served.call('GET', uri('event/$nothing'), { as: HS2_KEY })).toMatchObject({ status: 404 });
  });

  it('walks back prev_events for backfill and get_missing_events', async () => {
    await served.createRoom();
    await served.join(HS2_KEY, BOB);
    const ids: string[] = [];
    for (const body of ['one', 'two', 'three']) ids.push(await served.send('m.room.message', undefined, { body }));
    const as = HS2_KEY;
    const back = await served.call('GET', uri(`backfill/ROOM?limit=2&v=${encodeURIComponent(ids[2] as string)}`), {
      as,
    });
    expect((back.body.pdus as JsonObject[]).map((pdu) => (pdu.content as JsonObject).body)).toEqual(['three', 'two']);
    const content = { earliest_events: [ids[0] as string], latest_events: [ids[2] as string], limit: 10 };
    const missing = await served.call('POST', uri('get_missing_events/ROOM'), { as, content });
    expect((missing.body.events as JsonObject[]).map((pdu) => (pdu.content as JsonObject).body)).toEqual(['two']);
  });

  it('gives a rejected event for get_missing_events, because an accepted one may follow upon it', async () => {
    await served.createRoom();
    await served.join(HS2_KEY, BOB);
    const { nid, currentGroup, rules } = room();
    const idOf = (type: string, key: string) =>
      eventIdOfNid(served.store, stateEvent(served.store, nid, currentGroup, type, key));
    const join = idOf('m.room.member', BOB);
    const auth = [idOf('m.room.create', ''), idOf('m.room.power_levels', ''), join];
    const say = (prev: string, fields: JsonObject) =>
      hashAndSignPdu(
        rules,
        {
          ...{ type: 'm.room.message', room_id: ROOM, sender: BOB, content: {}, auth_events: auth },
          ...{ prev_events: [prev], depth: 9, origin_server_ts: NOW, ...fields },
        },
        HS2_KEY,
      );
    const topic = say(join, { type: 'm.room.topic', state_key: '' });
    const upon = say(topic.eventId, { content: { body: 'upon it' } });
    const bytes = [topic, upon].map(({ json }) => Buffer.from(JSON.stringify(json)));
    await receivePdus(served.server, HS2_KEY.serverName, ROOM, bytes, () => Promise.reject(new Error('no gap')));
    const verdicts = [topic, upon].map(({ eventId }) =>
      eventVerdict(served.store, eventNidOf(served.store, eventId) as EventNid),
    );
    expect(verdicts).toEqual([Verdict.rejected, Verdict.accepted]);
    const content = { earliest_events: [join], latest_events: [upon.eventId], limit: 10 };
    const { body } = await served.call('POST', uri('get_missing_events/ROOM'), { as: HS2_KEY, content });
    expect((body.events as JsonObject[]).map(({ type }) => type)).toEqual(['m.room.topic']);
  });

  it('redacts what the history visibility hides from the server', async () => {
    await served.createRoom();
    await served.send('m.room.history_visibility', '', { history_visibility: 'joined' });
    const before = await served.send('m.room.message', undefined, { body: 'before' });
    await served.join(HS2_KEY, BOB);
    const after = await served.send('m.room.message', undefined, { body: 'after' });
    const contents = await Promise.all(
      [before, after].map(async (id) => {
        const { body } = await served.call('GET', uri(`event/${encodeURIComponent(id)}`), { as: HS2_KEY });
        return (body.pdus as JsonObject[])[0]?.content;
      }),
    );
    expect(contents).toEqual([{}, { body: 'after' }]);
  });
});

describe('asked while partial', () => {
  async function makePartial(): Promise<string> {
    await served.createRoom();
    const eventId = await served.send('m.room.message', undefined, { body: 'hello' });
    const nid = eventNidOf(served.store, eventId);
    if (nid === undefined) throw new Error('the event is not stored');
    served.store.write((writer) => {
      putRoom(writer, room().nid, { ...room(), residency: 'partial-state' });
      markPartialStateEvent(writer, room().nid, nid);
      putPartialState(writer, room().nid, {
        joinNid: nid,
        joinedVia: HS2_KEY.serverName,
        servers: [HS2_KEY.serverName],
        deviceListPosition: 0,
        attempts: 0,
        nextTryTs: NOW,
        lastFailure: undefined,
      });
    });
    return encodeURIComponent(eventId);
  }

  it('refuses joins with 404 before it looks at the body', async () => {
    await makePartial();
    const made = await served.call('GET', uri(`make_join/ROOM/${BOB}?ver=11`), { as: HS2_KEY });
    const sent = await served.call('PUT', uri('send_join/ROOM/$x'), { as: HS2_KEY, content: 'nonsense' });
    for (const { status, body } of [made, sent]) expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND']);
  });

  it('gives no partial state to anybody, and its events to servers that the resident named', async () => {
    const eventId = await makePartial();
    const partial = 'ORG.MATRIX.MSC3895_UNABLE_DUE_TO_PARTIAL_STATE';
    for (const as of [HS2_KEY, HS3_KEY]) {
      for (const name of ['state', 'state_ids']) {
        const { status, body } = await served.call('GET', uri(`${name}/ROOM?event_id=${eventId}`), { as });
        expect([status, body.errcode]).toEqual([403, partial]);
      }
    }
    expect(await served.call('GET', uri(`event/${eventId}`), { as: HS2_KEY })).toMatchObject({ status: 200 });
    expect(await served.call('GET', uri(`event/${eventId}`), { as: HS3_KEY })).toMatchObject({
      status: 403,
      body: { errcode: partial },
    });
  });
});

it('takes no request from itself', async () => {
  await served.createRoom();
  expect(await served.call('GET', uri('event/$x'), { as: OWN_KEY })).toMatchObject({ status: 401 });
});
