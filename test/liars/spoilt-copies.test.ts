/** One server spoils what an event's ID does not cover, or withholds what joins rest on; others have it whole. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { DOUBTFUL_ATTEMPTS_MAX, EVENTS_ASKED_MAX } from '../../src/partial-state/ask-others.js';
import { joinRoom } from '../../src/room/join/join-room.js';
import { eventNidOf, loadEvent } from '../../src/store/events.js';
import { loadRoom } from '../../src/store/rooms.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import { altered, answers, answersJson, startScriptedResident } from '../support/scripted-resident.js';
import { ROOM_NOW, ScriptedRoom } from '../support/scripted-room.js';
import { BOB, bounded, LoopbackJoiner } from './loopback-joiner.js';

const CAROL = '@carol:hs3';

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
let failures: string[];
let now = ROOM_NOW;
beforeAll(async () => {
  resident = await startScriptedResident(['hs1', 'hs3']);
  joiner = await LoopbackJoiner.start(resident, { clock: () => now });
});
afterAll(async () => {
  await joiner.close();
  await resident.close();
});
beforeEach(() => {
  failures = [];
  joiner.server.log.warn = ({ error }: { error?: string }) => failures.push(error ?? '');
});

let rooms = 0;
function makeRoom(): ScriptedRoom {
  const room = new ScriptedRoom(`spoilt${rooms++}`);
  for (const user of [CAROL, '@dave:hs3']) room.member(user, 'join');
  room.state('m.room.member', CAROL, { membership: 'join', displayname: 'C' }, CAROL);
  room.state('m.room.topic', '', { topic: 'true' });
  // The state that is asked for is that before the last event.
  room.say('last');
  resident.rooms.push(room);
  return room;
}

/** hs1 does so at these endpoints when it is asked about this room; hs3 is honest. */
function lie(room: ScriptedRoom, acts: Readonly<Record<string, Act>>): void {
  resident.script = ({ server, endpoint, uri }) => {
    const about = decodeURIComponent(uri);
    const isOurs = about.includes(room.roomId) || [...room.events.keys()].some((id) => about.endsWith(id));
    return server === 'hs1' && isOurs ? acts[endpoint] : undefined;
  };
}

/** Changes these events wherever they stand in an answer. */
function changed(which: (pdu: JsonObject) => boolean, change: (pdu: JsonObject) => JsonObject): Act {
  return altered((answer) => {
    const lists = Object.entries(answer).map(([field, list]) => [
      field,
      Array.isArray(list) ? (list as JsonObject[]).map((pdu) => (which(pdu) ? change(pdu) : pdu)) : list,
    ]);
    return Object.fromEntries(lists) as JsonObject;
  });
}

const unsigned = (pdu: JsonObject): JsonObject => ({
  ...pdu,
  signatures: { hs3: { 'ed25519:a': 'A'.repeat(86) } },
});
const otherKey = (pdu: JsonObject): JsonObject => ({
  ...pdu,
  signatures: { hs3: { 'ed25519:other': 'A'.repeat(86) } },
});
const madeUp = () => `$${randomBytes(32).toString('base64url')}` as EventId;

function contentOf(room: ScriptedRoom, eventId: EventId): unknown {
  const nid = eventNidOf(joiner.store, eventId);
  return nid === undefined ? undefined : loadEvent(joiner.store, room.rules, nid)?.json.content;
}

describe('an event that one server spoils', () => {
  it.each([
    ['in its signature', unsigned],
    ['by naming a key that its origin does not have', otherKey],
  ])('%s is taken from another, with what rests on it', async (_what, spoil) => {
    const room = makeRoom();
    const second = room.id('m.room.member', CAROL);
    const first = (room.pdu(second).auth_events as EventId[]).find((id) => room.pdu(id).state_key === CAROL);
    await joiner.join(room, 'hs1');
    lie(room, { state: changed((pdu) => pdu === room.pdu(first as EventId), spoil) });
    resident.asked.length = 0;
    await bounded(async () => expect(await joiner.resync(room)).toEqual([true]));
    expect([failures, joiner.members(room)]).toEqual([[], room.members()]);
    expect(joiner.refusal(room, first as EventId)).toBeUndefined();
    expect(resident.asked).toEqual(['hs1 state_ids', 'hs1 state', 'hs3 event', 'hs1 event']);
  });

  it('in its content is whole in the end, from the state and from our join', async () => {
    const room = makeRoom();
    const [carol, topic] = [room.id('m.room.member', CAROL), room.id('m.room.topic')];
    const forge = changed(
      ({ type, state_key: key }) => type === 'm.room.topic' || key === CAROL,
      (pdu) => ({ ...pdu, content: { ...(pdu.content as JsonObject), topic: 'false', displayname: 'false' } }),
    );
    lie(room, { send_join: forge, state: forge });
    await joiner.join(room, 'hs1');
    expect(contentOf(room, topic)).toEqual({});
    await joiner.beside(makeRoom(), async () => expect(await joiner.resync(room)).toEqual([true]));
    expect(contentOf(room, topic)).toEqual({ topic: 'true' });
    expect(contentOf(room, carol)).toEqual({ membership: 'join', displayname: 'C' });
    expect([carol, topic].map((id) => joiner.verdict(id))).toEqual(['accepted', 'accepted']);
    expect([carol, topic].map((id) => joiner.refusal(room, id))).toEqual([undefined, undefined]);
    expect([failures, joiner.members(room)]).toEqual([[], room.members()]);
  });

  it.each([
    ['signatures', unsigned, /202 events came in a form that does not verify, and of 20 of them others have 20/],
    [
      'contents',
      (pdu: JsonObject): JsonObject => ({ ...pdu, content: { membership: 'join', displayname: 'false' } }),
      /202 events came with content that is not what was hashed, and of 20 of them others have 20/,
    ],
  ])(
    'like hundreds of others, in their %s, shows who lies, and the next server is asked',
    async (_what, spoil, why) => {
      const room = new ScriptedRoom(`many${rooms++}`);
      for (let n = 0; n < EVENTS_ASKED_MAX + 2; n++) room.member(`@user${n}:hs3`, 'join');
      room.say('last');
      resident.rooms.push(room);
      await joiner.join(room, 'hs1');
      lie(room, { state: changed(({ state_key: key }) => String(key).startsWith('@user'), spoil) });
      resident.asked.length = 0;
      await joiner.beside(makeRoom(), async () => expect(await joiner.resync(room)).toEqual([true]));
      expect(failures).toEqual([expect.stringMatching(why)]);
      expect(joiner.members(room)).toEqual(room.members());
      const last = room.id('m.room.member', '@user0:hs3');
      expect([contentOf(room, last), joiner.refusal(room, last)]).toEqual([{ membership: 'join' }, undefined]);
    },
  );
});

describe('an event that one server spoils while no other answers', () => {
  function spoil(room: ScriptedRoom, isOtherUp: () => boolean): EventId {
    const spoilt = room.id('m.room.member', '@dave:hs3');
    resident.script = ({ server, endpoint, uri }) => {
      if (server === 'hs3') return isOtherUp() ? undefined : answers('down for repairs', 503);
      return endpoint === 'state' || (endpoint === 'event' && decodeURIComponent(uri).endsWith(spoilt))
        ? changed((pdu) => pdu === room.pdu(spoilt), unsigned)
        : undefined;
    };
    return spoilt;
  }

  it('keeps the room partial until one does, and is then taken in', async () => {
    const room = makeRoom();
    await joiner.join(room, 'hs1');
    let isUp = false;
    const spoilt = spoil(room, () => isUp);
    expect(await joiner.resync(room)).toEqual([false]);
    expect(failures[0]).toMatch(/1 events came in a form that does not verify, and nobody else answers/);
    isUp = true;
    expect(await joiner.resync(room)).toEqual([true]);
    expect([joiner.verdict(spoilt), joiner.members(room)]).toEqual(['accepted', room.members()]);
  });

  it('is left out after some attempts: the others may be gone for good', async () => {
    const room = makeRoom();
    await joiner.join(room, 'hs1');
    const spoilt = spoil(room, () => false);
    for (let attempt = 0; attempt < DOUBTFUL_ATTEMPTS_MAX; attempt++)
      expect(await joiner.resync(room)).toEqual([false]);
    expect(await joiner.resync(room)).toEqual([true]);
    expect([joiner.verdict(spoilt), joiner.refusal(room, spoilt)?.verdict]).toEqual(['none', 'dropped']);
  });
});

describe('a server that drips events', () => {
  it.each(['state_ids', 'state'])(
    'into its answer to %s is given up after minutes, not after an hour',
    async (endpoint) => {
      const room = makeRoom();
      await joiner.join(room, 'hs1');
      let minutes = 0;
      lie(room, {
        [endpoint]: (response, honest) => {
          response.writeHead(200, { 'content-type': 'application/json' });
          const [field, list] = Object.entries(honest ?? {})[0] as [string, unknown[]];
          response.write(`{"${field}":[${JSON.stringify(list[0])}`);
          const timer = setInterval(() => {
            minutes += 1;
            now += 60_000;
            response.write(`,${JSON.stringify(list[minutes % list.length])}`);
          }, 10);
          response.on('close', () => clearInterval(timer));
        },
      });
      await bounded(async () => expect(await joiner.resync(room)).toEqual([true]));
      expect(failures).toEqual([expect.stringMatching(`hs1: ${endpoint}: only \\d+ events in \\d+ s`)]);
      expect(minutes).toBeLessThan(20);
      expect(joiner.members(room)).toEqual(room.members());
    },
  );
});

describe('a join', () => {
  const joinFully = (room: ScriptedRoom, ...candidates: string[]) => {
    const { roomId } = room;
    const request = { roomId, userId: BOB as UserId, candidates: candidates as never[], profile: {}, partial: false };
    return joinRoom(joiner.server, request);
  };

  it('with full state whose auth chain lacks an event is refused by name, and the next server is asked', async () => {
    const room = makeRoom();
    const second = room.id('m.room.member', CAROL);
    const first = (room.pdu(second).auth_events as EventId[]).find((id) => room.pdu(id).state_key === CAROL);
    lie(room, {
      send_join: altered((answer) => ({
        ...answer,
        auth_chain: (answer.auth_chain as JsonObject[]).filter((pdu) => pdu !== room.pdu(first as EventId)),
      })),
    });
    await joiner.beside(makeRoom(), () => joinFully(room, 'hs1', 'hs3'));
    expect(failures).toEqual([`send_join: 1 auth events did not come, such as ${first}`]);
    expect(joiner.members(room)).toEqual(room.members());
    expect(joiner.verdict(second)).toBe('accepted');
  });

  it.each<[string, (room: ScriptedRoom) => Act]>([
    [
      'are made up',
      () => altered((make) => ({ ...make, event: { ...(make.event as JsonObject), prev_events: [madeUp()] } })),
    ],
    [
      'are partly made up',
      (room) =>
        altered((make) => ({
          ...make,
          event: { ...(make.event as JsonObject), prev_events: [...room.ends, madeUp()] },
        })),
    ],
  ])('whose prev_events %s is refused by name, and the next server is asked', async (_what, act) => {
    const room = makeRoom();
    lie(room, { make_join: act(room) });
    await joiner.beside(makeRoom(), () => joiner.join(room, 'hs1', 'hs3'));
    expect(failures).toEqual([
      expect.stringMatching(/^hs1: make_join: prev_events names \$\S+, which it does not have$/),
    ]);
    expect(joiner.row(room)?.joinedVia).toBe('hs3');
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('whose prev_events are answered with another event is refused, and leaves no room where nobody is left', async () => {
    const room = makeRoom();
    lie(room, { event: altered(() => ({ pdus: [room.pdu(room.id('m.room.name'))] })) });
    await joiner.beside(makeRoom(), () =>
      expect(joiner.join(room, 'hs1')).rejects.toMatchObject({
        status: 502,
        message: expect.stringMatching(/hs1: make_join: prev_events names \$\S+, for which it gives another event/),
      }),
    );
    expect(loadRoom(joiner.store, room.roomId)).toBeUndefined();
  });

  it('through a server that does not answer for its prev_events in time, or now, stands all the same', async () => {
    const room = makeRoom();
    lie(room, { event: answersJson({ errcode: 'M_LIMIT_EXCEEDED', error: 'slow down' }, 429) });
    await joiner.beside(makeRoom(), () => joiner.join(room, 'hs1'));
    expect([failures, joiner.row(room)?.joinedVia]).toEqual([[], 'hs1']);
  });
});
