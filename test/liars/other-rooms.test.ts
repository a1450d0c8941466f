/** A liar who is in two rooms must not make what stands in one of them count in the other. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { NO_EVENT } from '../../src/store/nids.js';
import { stateEvent } from '../../src/store/state-groups.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import { altered, answers, answersJson, startScriptedResident } from '../support/scripted-resident.js';
import { ScriptedRoom } from '../support/scripted-room.js';
import { LoopbackJoiner } from './loopback-joiner.js';

const CAROL = '@carol:hs3';

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
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
  resident.script = () => undefined;
});

let rooms = 0;
function makeRoom(version?: string): ScriptedRoom {
  const room = new ScriptedRoom(`smuggled${rooms++}`, version);
  for (const user of [CAROL, '@dave:hs3']) room.member(user, 'join');
  room.say('last');
  resident.rooms.push(room);
  return room;
}

/** A room in which Dave of hs3 is not any more, and which we are in. */
async function joinOther(): Promise<ScriptedRoom> {
  const other = makeRoom();
  other.member('@dave:hs3', 'leave');
  await joiner.join(other, 'hs1');
  expect(await joiner.resync(other)).toEqual([true]);
  return other;
}

/** What Carol says in a room, after these events. */
const said = (room: ScriptedRoom, prevs: readonly EventId[]): SignedEvent =>
  room.sign({ type: 'm.room.message', sender: CAROL, content: { body: 'smuggled' } }, { prevs });

describe.each(['partial', 'full'])('prev_events of another room, in a room with %s state', (state) => {
  it.each([
    ['alone', () => []],
    ['beside one of the room', (room: ScriptedRoom) => room.ends],
  ])('%s: the event is dropped with an error, and the state of the room stays as it is', async (_what, besides) => {
    const other = await joinOther();
    const room = makeRoom();
    await joiner.join(room, 'hs1');
    if (state === 'full') expect(await joiner.resync(room)).toEqual([true]);
    const before = joiner.room(room);
    const smuggled = said(room, [...besides(room), ...other.ends]);
    const answer = await joiner.beside(makeRoom(), () => joiner.receive(room, 'hs3', smuggled.json));
    expect(answer.get(smuggled.eventId)?.error).toMatch(/prev_events are not to be had in this room/);
    expect(joiner.verdict(smuggled.eventId)).not.toBe('accepted');
    expect(joiner.room(room)).toEqual(before);
    if (state === 'partial') expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
    expect(joiner.members(other)).toEqual(other.members());
  });
});

it.each<[string, (other: ScriptedRoom) => EventId]>([
  ['prev_events', (other) => other.ends[0] as EventId],
  ['auth_events', (other) => other.id('m.room.power_levels')],
])('a join whose %s are of another room is refused by name, and the next server is asked', async (field, named) => {
  const other = await joinOther();
  const room = makeRoom();
  const make = altered((answer) => ({
    ...answer,
    event: {
      ...(answer.event as JsonObject),
      [field]: [room.id('m.room.create'), room.id('m.room.join_rules'), named(other)],
    },
  }));
  resident.script = ({ server, endpoint, uri }) =>
    server === 'hs1' && endpoint === 'make_join' && decodeURIComponent(uri).includes(room.roomId) ? make : undefined;
  await joiner.beside(makeRoom(), () => joiner.join(room, 'hs1', 'hs3'));
  expect(failures).toEqual([`hs1: make_join: ${field} names ${named(other)}, an event of another room`]);
  expect(joiner.row(room)?.joinedVia).toBe('hs3');
  expect(await joiner.resync(room)).toEqual([true]);
  expect(joiner.members(room)).toEqual(room.members());
});

describe('a join whose prev_events are of another room and have not come there yet', () => {
  /** The other room's next event is named by a template of this one; hs1 does so when it is asked for that event. */
  function smuggle(other: ScriptedRoom, act: Act | undefined): readonly [room: ScriptedRoom, last: SignedEvent] {
    const room = makeRoom();
    const last = other.sign({ type: 'm.room.message', sender: CAROL, content: { body: 'not here yet' } });
    const make = altered((answer) => ({
      ...answer,
      event: { ...(answer.event as JsonObject), prev_events: [last.eventId] },
    }));
    resident.script = ({ server, endpoint, uri }) => {
      const about = decodeURIComponent(uri);
      if (server !== 'hs1') return undefined;
      if (endpoint === 'make_join' && about.includes(room.roomId)) return make;
      return about.endsWith(last.eventId) ? (act ?? answersJson({ pdus: [last.json] })) : undefined;
    };
    return [room, last];
  }

  it('is refused by name, and the next server is asked', async () => {
    const [room, { eventId }] = smuggle(await joinOther(), undefined);
    await joiner.beside(makeRoom(), () => joiner.join(room, 'hs1', 'hs3'));
    expect(failures).toEqual([
      `hs1: make_join: prev_events names ${eventId}, for which it gives an event of another room`,
    ]);
    expect(joiner.row(room)?.joinedVia).toBe('hs3');
  });

  it('and whose server did not answer for them is not completed with the state of that room', async () => {
    const other = await joinOther();
    const [room, last] = smuggle(other, answers('busy', 500));
    await joiner.join(room, 'hs1');
    expect((await joiner.receive(other, 'hs3', last.json)).get(last.eventId)).toEqual({});
    const before = joiner.room(room);
    expect(await joiner.resync(room)).toEqual([false]);
    expect(joiner.row(room)?.lastFailure).toMatch(/^hs1: .*; hs3: /);
    expect(joiner.room(room)).toEqual(before);
    await joiner.say(room, 'still here');
  });
});

it.each(['1', '2'])(
  'an event with the ID of one of another room does not stand for it (room version %s)',
  async (version) => {
    const other = makeRoom(version);
    other.state('m.room.power_levels', '', { users: { '@alice:hs1': 100, [CAROL]: 100 } });
    const same = (room: ScriptedRoom, type: string) =>
      room.sign(
        { type, sender: CAROL, stateKey: '', content: { topic: room.roomId } },
        { more: { event_id: `$same${version}:hs3` } },
      );
    const { eventId } = same(other, 'm.room.topic');
    other.add(same(other, 'm.room.topic'));
    other.say('last');
    await joiner.join(other, 'hs1');
    expect(joiner.verdict(eventId)).toBe('accepted');
    const room = makeRoom(version);
    const forged = same(room, 'org.example.fact').json;
    const join = altered((answer) => ({ ...answer, state: [...(answer.state as JsonObject[]), forged] }));
    resident.script = ({ server, endpoint, uri }) =>
      server === 'hs1' && endpoint === 'send_join' && decodeURIComponent(uri).includes(room.roomId) ? join : undefined;
    await joiner.beside(makeRoom(), () => joiner.join(room, 'hs1', 'hs3'));
    const { nid, currentGroup } = joiner.room(room);
    expect(stateEvent(joiner.store, nid, currentGroup, 'm.room.topic', '')).toBe(NO_EVENT);
    expect(joiner.refusal(room, eventId)).toMatchObject({ verdict: 'dropped', code: 'id-taken' });
    const pushed = await joiner.receive(room, 'hs3', forged);
    expect(pushed.get(eventId)).toEqual({ error: 'an event of another room has this ID' });
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
  },
);
