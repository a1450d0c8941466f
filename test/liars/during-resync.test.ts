import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, UserId } from '../../src/kernel/matrix/ids.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { eventIdOfNid } from '../../src/store/events.js';
import type { EventNid } from '../../src/store/nids.js';
import { partialStateEvents } from '../../src/store/rooms.js';
import { stateEvent } from '../../src/store/state-groups.js';
import { localMembership } from '../../src/store/timeline.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import { answers, startScriptedResident } from '../support/scripted-resident.js';
import type { Said } from '../support/scripted-room.js';
import { ScriptedRoom } from '../support/scripted-room.js';
import { BOB, LoopbackJoiner } from './loopback-joiner.js';

const [ALICE, CAROL, DAVE, ERIN, MALLORY] = ['@alice:hs1', '@carol:hs3', '@dave:hs3', '@erin:hs3', '@mallory:hs3'];
const DORA = '@dora:hs2' as UserId;

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
let room: ScriptedRoom;
/** Memberships as they were while these users were in the room. */
let joins: Map<string, EventId>;
let ownJoin: EventId;

beforeEach(async () => {
  resident = await startScriptedResident(['hs1', 'hs3']);
  joiner = await LoopbackJoiner.start(resident);
  room = new ScriptedRoom('during');
  resident.rooms.push(room);
  for (const user of [CAROL, DAVE, ERIN, MALLORY]) room.member(user, 'join');
  room.state('m.room.power_levels', '', { users: { [ALICE]: 100, [MALLORY]: 60 } });
  joins = new Map([ALICE, CAROL, DAVE, ERIN, MALLORY].map((user) => [user, room.id('m.room.member', user)]));
  room.member(ERIN, 'leave');
  room.member(MALLORY, 'ban', ALICE);
  room.say('last');
  await joiner.join(room, 'hs1');
  ownJoin = room.ends[0] as EventId;
});
afterEach(async () => {
  await joiner.close();
  await resident.close();
});

/** An event on `prev` that rests on the memberships that its sender had once. */
function claim(said: Said, prev: EventId, ...about: readonly string[]): SignedEvent {
  const auth = ['m.room.create', 'm.room.power_levels'].map((type) => room.id(type));
  const isJoin = said.content.membership === 'join';
  if (isJoin) auth.push(room.id('m.room.join_rules'));
  const members = [...new Set([said.sender, ...about])].flatMap((user) => joins.get(user) ?? []);
  return room.sign(said, { prevs: [prev], auth: [...auth, ...members] });
}

const message = (sender: string, prev: EventId) =>
  claim({ type: 'm.room.message', sender, content: { body: 'hello' } }, prev);
const state = (sender: string, type: string, prev: EventId) =>
  claim({ type, sender, stateKey: '', content: { topic: sender } }, prev);
const member = (sender: string, target: string, membership: string, prev: EventId) =>
  claim({ type: 'm.room.member', sender, stateKey: target, content: { membership } }, prev, target);

/** Resynchronises; when `endpoint` is asked at hs1 the answer waits for `meanwhile`. */
async function whileAsked(endpoint: string, meanwhile: () => Promise<void>): Promise<boolean> {
  let reached: (act: () => void) => void = () => undefined;
  const asked = new Promise<() => void>((resolve) => {
    reached = resolve;
  });
  let isFirst = true;
  const script = resident.script;
  resident.script = (request) => {
    const other = script(request);
    if (other !== undefined || !isFirst || request.server !== 'hs1' || request.endpoint !== endpoint) return other;
    isFirst = false;
    const held: Act = (response, honest) => reached(() => answers(JSON.stringify(honest))(response, honest));
    return held;
  };
  const resync = joiner.resync(room);
  const release = await asked;
  await meanwhile();
  release();
  return (await resync)[0] === true;
}

describe.each(['state_ids', 'state', 'event'])('what arrives while a resync waits for %s', (endpoint) => {
  it('is accepted exactly where the full state allows it', async () => {
    const valid: SignedEvent[] = [];
    const invalid: SignedEvent[] = [];
    /** Accepted while the state is partial, and wrong in truth. */
    const believed: SignedEvent[] = [];
    const meanwhile = async () => {
      let prev = ownJoin;
      const push = async (list: SignedEvent[], event: SignedEvent) => {
        list.push(event);
        expect((await joiner.receive(room, 'hs3', event.json)).get(event.eventId)).toEqual({});
        if (joiner.verdict(event.eventId) === 'accepted') prev = event.eventId;
      };
      await push(valid, message(CAROL, prev));
      await push(valid, state(ALICE, 'm.room.topic', prev));
      await push(valid, member(ALICE, DAVE, 'leave', prev));
      await push(valid, member('@frank:hs3', '@frank:hs3', 'join', prev));
      // No power: this can be known at once.
      await push(invalid, state(CAROL, 'm.room.name', prev));
      await push(invalid, member(CAROL, ALICE, 'leave', prev));
      await push(invalid, member('@greg:hs3', '@harry:hs3', 'join', prev));
      // Had left, was banned: only the full state tells.
      await push(believed, message(ERIN, prev));
      await push(believed, state(MALLORY, 'm.room.topic', prev));
      await push(believed, member(MALLORY, CAROL, 'leave', prev));
      await push(valid, message(ALICE, prev));
      for (const { eventId } of invalid) expect(joiner.verdict(eventId)).toBe('rejected');
      for (const { eventId } of believed) expect(joiner.verdict(eventId)).toBe('accepted');
    };
    expect(await whileAsked(endpoint, meanwhile)).toBe(true);
    const verdicts = (events: readonly SignedEvent[]) => events.map(({ eventId }) => joiner.verdict(eventId));
    expect(verdicts(valid)).toEqual(valid.map(() => 'accepted'));
    expect(verdicts([...invalid, ...believed])).toEqual([...invalid, ...believed].map(() => 'rejected'));
    expect(joiner.members(room)).toEqual([
      `${ALICE} join`,
      `${BOB} join`,
      `${CAROL} join`,
      `${DAVE} leave`,
      `${ERIN} leave`,
      '@frank:hs3 join',
      `${MALLORY} ban`,
    ]);
    expect(partialStateEvents(joiner.store, joiner.room(room).nid)).toEqual([]);
    const { nid, currentGroup, extremities } = joiner.room(room);
    const idOf = (event: EventNid) => eventIdOfNid(joiner.store, event);
    const topic = stateEvent(joiner.store, nid, currentGroup, 'm.room.topic', '');
    expect(idOf(topic)).toBe(valid[1]?.eventId);
    // The last valid one follows upon what was believed, and that is none.
    expect(extremities.map(idOf)).toEqual([valid.at(-1)?.eventId]);
    const said = await joiner.say(room, 'after all of it');
    expect(joiner.verdict(said)).toBe('accepted');
  });
});

describe('a second user who joins while a resync runs', () => {
  it('is in the room at once, through the next server where the first one lies, and the room completes', async () => {
    const meanwhile = async () => {
      room.state('m.room.topic', '', { topic: 'not pushed to us' });
      resident.script = ({ server, endpoint }) =>
        server === 'hs1' && endpoint === 'send_join' ? answers('{"state":[{}],"auth_chain":[]}') : undefined;
      await joiner.joinAnother(room, DORA);
      expect(localMembership(joiner.store, DORA, joiner.room(room).nid)?.membership).toBe('join');
      expect(joiner.room(room).residency).toBe('partial-state');
      resident.script = () => undefined;
    };
    expect(await whileAsked('state', meanwhile)).toBe(true);
    expect(resident.asked.filter((line) => line.endsWith('send_join'))).toEqual([
      'hs1 send_join',
      'hs1 send_join',
      'hs3 send_join',
    ]);
    expect(joiner.members(room)).toEqual(room.members());
    expect(joiner.members(room)).toEqual(expect.arrayContaining([`${BOB} join`, `${DORA} join`]));
  });

  it('is refused by a ban that arrived during it, and the first user stays', async () => {
    const meanwhile = async () => {
      const ban = room.sign({ type: 'm.room.member', sender: ALICE, stateKey: DORA, content: { membership: 'ban' } });
      room.add(ban);
      await joiner.receive(room, 'hs1', ban.json);
      await expect(joiner.joinAnother(room, DORA)).rejects.toMatchObject({ status: 403 });
    };
    expect(await whileAsked('state', meanwhile)).toBe(true);
    expect(joiner.members(room)).toEqual(expect.arrayContaining([`${BOB} join`, `${DORA} ban`]));
  });
});

describe('our last user who is removed by others while the state is partial', () => {
  const remove = async (sender: string, prev: EventId, membership = 'leave') => {
    joins.set(BOB, ownJoin);
    const removal = member(sender, BOB, membership, prev);
    expect((await joiner.receive(room, 'hs3', removal.json)).get(removal.eventId)).toEqual({});
    expect(joiner.verdict(removal.eventId)).toBe('accepted');
    expect(localMembership(joiner.store, BOB, joiner.room(room).nid)?.membership).toBe(membership);
    expect(joiner.room(room).residency).toBe('partial-state');
    return removal;
  };

  it.each(['leave', 'ban'])(
    'falsely (%s) is back when the resync is complete, with what was said since',
    async (how) => {
      const removal = await remove(MALLORY, ownJoin, how);
      const said = message(CAROL, removal.eventId);
      await joiner.receive(room, 'hs3', said.json);
      expect(joiner.room(room).residency).toBe('partial-state');
      expect(await joiner.resync(room)).toEqual([true]);
      expect([removal, said].map(({ eventId }) => joiner.verdict(eventId))).toEqual(['rejected', 'accepted']);
      expect(localMembership(joiner.store, BOB, joiner.room(room).nid)?.membership).toBe('join');
      expect(joiner.members(room)).toContain(`${BOB} join`);
    },
  );

  it('truly is out when the resync is complete', async () => {
    const removal = await remove(ALICE, ownJoin);
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.verdict(removal.eventId)).toBe('accepted');
    expect(joiner.room(room).residency).toBe('full-state');
    expect(joiner.members(room)).toContain(`${BOB} leave`);
  });

  it('truly, and whom most servers call out of the room: the resync is paused, and nothing is asked any more', async () => {
    await remove(ALICE, ownJoin);
    resident.script = ({ endpoint }) =>
      endpoint === 'state_ids' ? answers('{"errcode":"M_FORBIDDEN"}', 403) : undefined;
    expect(await joiner.resync(room)).toEqual([false]);
    await joiner.server.queues.run(room.roomId, async () => undefined);
    expect(joiner.room(room).residency).toBe('paused');
    expect(joiner.row(room)?.lastFailure).toMatch(/hs1: answered 403 M_FORBIDDEN/);
  });

  it('is not given up because servers are down', async () => {
    await remove(MALLORY, ownJoin);
    resident.script = ({ endpoint }) => (endpoint === 'state_ids' ? answers('down', 503) : undefined);
    expect(await joiner.resync(room)).toEqual([false]);
    await joiner.server.queues.run(room.roomId, async () => undefined);
    expect(joiner.room(room).residency).toBe('partial-state');
    resident.script = () => undefined;
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toContain(`${BOB} join`);
  });
});
