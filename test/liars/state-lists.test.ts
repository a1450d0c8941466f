import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import { altered, answers, neverEnds, startScriptedResident, written } from '../support/scripted-resident.js';
import { ScriptedRoom } from '../support/scripted-room.js';
import { bounded, LoopbackJoiner, RSS_GROWTH_MAX } from './loopback-joiner.js';

const MB = 1024 * 1024;
const CAROL = '@carol:hs3';

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
/** Why servers failed, in their order. */
let failures: string[];
beforeAll(async () => {
  resident = await startScriptedResident(['hs1', 'hs3']);
  joiner = await LoopbackJoiner.start(resident);
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
  const room = new ScriptedRoom(`list${rooms++}`);
  for (const user of [CAROL, '@dave:hs3', '@erin:hs1']) room.member(user, 'join');
  room.state('m.room.member', CAROL, { membership: 'join', displayname: 'C' }, CAROL);
  // The state that is asked for is that before the last event.
  room.say('last');
  resident.rooms.push(room);
  return room;
}

/** hs1 does so at these endpoints when it is asked about this room. */
function lie(room: ScriptedRoom, acts: Readonly<Record<string, Act>>): void {
  resident.script = ({ server, endpoint, uri }) => {
    const about = decodeURIComponent(uri);
    const isOurs = about.includes(room.roomId) || [...room.events.keys()].some((id) => about.endsWith(id));
    return server === 'hs1' && isOurs ? acts[endpoint] : undefined;
  };
}

const ids = (list: unknown) => list as EventId[];
const pdus = (list: unknown) => list as JsonObject[];
const madeUp = () => `$${randomBytes(32).toString('base64url')}` as EventId;

/** Joins both rooms, lets hs1 lie about the first, resynchronises both with bounded memory. */
async function resyncBeside(
  room: ScriptedRoom,
  acts: Readonly<Record<string, Act>>,
  growthMax = RSS_GROWTH_MAX,
): Promise<void> {
  const honest = makeRoom();
  await joiner.join(room, 'hs1');
  await joiner.join(honest, 'hs3');
  resident.asked.length = 0;
  lie(room, acts);
  await bounded(async () => expect(await joiner.resync(room, honest)).toEqual([true, true]), growthMax);
  expect(joiner.members(honest)).toEqual(honest.members());
}

describe('a list of state that is none', () => {
  const create = (room: ScriptedRoom) => room.id('m.room.create');
  it.each<[string, (room: ScriptedRoom) => Act, RegExp]>([
    ['is empty', () => altered((list) => ({ ...list, pdu_ids: [] })), /list of state events is empty/],
    ['has no pdu_ids at all', () => altered(({ auth_chain_ids }) => ({ auth_chain_ids }) as JsonObject), /is empty/],
    [
      'omits the create event',
      (room) => altered((list) => ({ ...list, pdu_ids: ids(list.pdu_ids).filter((id) => id !== create(room)) })),
      /create event is not in the state/,
    ],
    [
      'lists events that nobody has',
      () => altered((list) => ({ ...list, pdu_ids: [...ids(list.pdu_ids), ...Array.from({ length: 200 }, madeUp)] })),
      /200 listed events did not come/,
    ],
    [
      'holds what is no event ID',
      () => altered((list) => ({ ...list, auth_chain_ids: ['!room:hs1'] })),
      /auth_chain_ids holds something that is not an event ID/,
    ],
    [
      'holds objects',
      () => altered((list) => ({ ...list, pdu_ids: [{}] })),
      /pdu_ids holds something that is not an event ID/,
    ],
    ['stands twice', () => answers('{"pdu_ids":[],"pdu_ids":[]}'), /pdu_ids stands twice/],
    [
      'holds a string that is no JSON',
      () => answers('{"pdu_ids":["$abc\\q"],"auth_chain_ids":[]}'),
      /pdu_ids holds something that is not an event ID/,
    ],
  ])('because it %s: the next server is asked', async (_what, act, refusal) => {
    const room = makeRoom();
    await resyncBeside(room, { state_ids: act(room) });
    expect(failures).toEqual([expect.stringMatching(refusal)]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('may repeat itself: each event counts once', async () => {
    const room = makeRoom();
    const twice = altered((list) => ({
      pdu_ids: [...ids(list.pdu_ids), ...ids(list.pdu_ids)],
      auth_chain_ids: [...ids(list.auth_chain_ids), ...ids(list.pdu_ids), ...ids(list.auth_chain_ids)],
    }));
    await resyncBeside(room, { state_ids: twice });
    // No failure: nobody else was asked.
    expect([failures, joiner.members(room)]).toEqual([[], room.members()]);
  });

  it('because it leaves out what its events rest on: they are taken from the next server, and none is lost', async () => {
    const room = makeRoom();
    const first = ids(room.pdu(room.id('m.room.member', CAROL)).auth_events);
    const carolsFirst = first.find((id) => room.pdu(id).state_key === CAROL);
    const without = altered((list) => ({
      ...list,
      auth_chain_ids: ids(list.auth_chain_ids).filter((id) => id !== carolsFirst),
    }));
    await resyncBeside(room, { state_ids: without });
    expect(failures).toEqual([expect.stringMatching(/1 events rest on auth events that it does not list/)]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('because it leaves out what its events rest on, though another list had named that: none is lost', async () => {
    const room = makeRoom();
    const first = ids(room.pdu(room.id('m.room.member', CAROL)).auth_events);
    const carolsFirst = first.find((id) => room.pdu(id).state_key === CAROL) as EventId;
    await joiner.join(room, 'hs1');
    // hs1 lists it, so that it has a number here, and does not give it; hs3 does not even list it.
    const withheld = altered((answer) => ({
      ...answer,
      auth_chain: pdus(answer.auth_chain).filter((pdu) => pdu !== room.pdu(carolsFirst)),
    }));
    const unlisted = altered((list) => ({
      ...list,
      auth_chain_ids: ids(list.auth_chain_ids).filter((id) => id !== carolsFirst),
    }));
    resident.script = ({ server, endpoint, uri }) => {
      if (endpoint === 'event' && decodeURIComponent(uri).endsWith(carolsFirst)) return answers('no', 404);
      if (server === 'hs1') return endpoint === 'state' ? withheld : undefined;
      return endpoint === 'state_ids' ? unlisted : undefined;
    };
    expect(await joiner.resync(room)).toEqual([false]);
    expect(failures.slice(0, 2)).toEqual([
      expect.stringMatching(/1 listed events did not come/),
      expect.stringMatching(/1 events rest on auth events that it does not list/),
    ]);
    resident.script = () => undefined;
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('and was stored from a server that broke off leaves nothing behind that harms the next one', async () => {
    const room = makeRoom();
    const first = ids(room.pdu(room.id('m.room.member', CAROL)).auth_events);
    const carolsFirst = first.find((id) => room.pdu(id).state_key === CAROL);
    await resyncBeside(room, {
      state_ids: altered((list) => ({
        ...list,
        pdu_ids: [...ids(list.pdu_ids), madeUp()],
        auth_chain_ids: ids(list.auth_chain_ids).filter((id) => id !== carolsFirst),
      })),
    });
    // hs1 brought Carol's membership without what it rests on; hs3 completes the room in the same round.
    expect(failures).toEqual([expect.stringMatching(/1 listed events did not come/)]);
    expect(joiner.members(room)).toEqual(room.members());
  });
});

describe('a list of state without end', () => {
  /** Bytes of one ID of the list, quotes and comma included, and IDs in one piece. */
  const ID_BYTES = 47;
  const IDS = 4000;
  it.each<[string, boolean, RegExp]>([
    ['of ever new events', true, /more than 2097152 events in one state/],
    ['of the same events again and again', false, /repeats events more than 10000 times/],
  ])(
    '%s is refused at a limit, with bounded memory',
    async (_what, isNew, refusal) => {
      const room = makeRoom();
      const piece = Buffer.from(Array.from({ length: IDS }, () => `"${madeUp()}",`).join(''));
      let n = 0;
      const next = () => {
        const number = (n++).toString(36).padStart(4, '0');
        if (isNew) for (let at = 2; at < piece.length; at += ID_BYTES) piece.write(number, at, 'latin1');
        return Buffer.from(piece);
      };
      const sentBefore = written.bytes;
      await resyncBeside(room, { state_ids: neverEnds('{"pdu_ids":[', next) }, 600 * MB);
      expect(failures).toEqual([expect.stringMatching(refusal)]);
      expect(written.bytes - sentBefore).toBeLessThan(300 * MB);
      expect(joiner.members(room)).toEqual(room.members());
    },
    90_000,
  );
});

describe('a /state that differs from its state_ids', () => {
  const withoutCarol = altered((state) => ({
    ...state,
    pdus: pdus(state.pdus).filter(({ state_key: user }) => user !== CAROL),
  }));

  it('by lacking an event fails, and the next server is asked', async () => {
    const room = makeRoom();
    await resyncBeside(room, { state: withoutCarol, event: answers('{"errcode":"M_NOT_FOUND"}', 404) });
    expect(failures).toEqual([expect.stringMatching(/1 listed events did not come/)]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('by events that are not listed has these ignored', async () => {
    const room = makeRoom();
    const stranger = room.sign({
      type: 'm.room.member',
      sender: '@stranger:hs1',
      stateKey: '@stranger:hs1',
      content: { membership: 'join' },
    });
    const more = altered((state) => ({ ...state, pdus: [...pdus(state.pdus), stranger.json] }));
    await resyncBeside(room, { state: more });
    expect([failures, joiner.verdict(stranger.eventId)]).toEqual([[], 'none']);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it.each<[string, (room: ScriptedRoom) => string]>([
    ['listed events again and again', (room) => JSON.stringify(room.pdu(room.id('m.room.name')))],
    ['things that are no events', () => '{}'],
  ])('by %s without end is refused, with bounded memory', async (_what, piece) => {
    const room = makeRoom();
    const sentBefore = written.bytes;
    const block = `${piece(room)},`.repeat(100);
    await resyncBeside(room, { state: neverEnds('{"pdus":[', () => block) });
    expect(failures).toEqual([expect.stringMatching(/more than \d+ events/)]);
    expect(written.bytes - sentBefore).toBeLessThan(100 * MB);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('by another event than the one that is asked for fails, and the next server is asked', async () => {
    const room = makeRoom();
    const other = altered(() => ({ pdus: [room.pdu(room.id('m.room.name'))] }));
    await resyncBeside(room, { event: other });
    expect(failures).toEqual([expect.stringMatching(/event: \$.* is not to be had: another event came/)]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('by other events than those that are asked for one by one fails, and the next server is asked', async () => {
    const room = makeRoom();
    for (let n = 0; n < 40; n++) room.state('org.example.fact', `${n}`, { n });
    const other = altered(() => ({ pdus: [room.pdu(room.id('m.room.name'))] }));
    await resyncBeside(room, { event: other });
    expect(failures).toEqual([expect.stringMatching(/listed events did not come/)]);
    expect(resident.asked).not.toContain('hs1 state');
    expect(joiner.members(room)).toEqual(room.members());
  });
});
