import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { GAPS_FILLED_MAX, MISSING_ROUNDS_MAX } from '../../src/room/fetch-missing.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import { altered, answers, startScriptedResident, staysSilent } from '../support/scripted-resident.js';
import { ScriptedRoom } from '../support/scripted-room.js';
import { bounded, LoopbackJoiner } from './loopback-joiner.js';

const CAROL = '@carol:hs3';

let resident: ScriptedResident;
let joiner: LoopbackJoiner;
let failures: string[];
beforeAll(async () => {
  resident = await startScriptedResident(['hs1', 'hs3', '*.test']);
  joiner = await LoopbackJoiner.start(resident, { keyDeadlineMs: 300 });
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
function makeRoom(version?: string): ScriptedRoom {
  const room = new ScriptedRoom(`forged${rooms++}`, version);
  for (const user of [CAROL, '@dave:hs3']) room.member(user, 'join');
  room.state('m.room.member', CAROL, { membership: 'join', displayname: 'C' }, CAROL);
  // The state that is asked for is that before the last event.
  room.say('last');
  resident.rooms.push(room);
  return room;
}

/** Every server does so at these endpoints when it is asked about this room. */
function lie(room: ScriptedRoom, acts: Readonly<Record<string, Act>>, also: (uri: string) => Act | undefined): void {
  resident.script = ({ endpoint, uri, server }) => {
    if (endpoint === 'key') return server.endsWith('dead.test') ? staysSilent : undefined;
    const about = decodeURIComponent(uri);
    return (about.includes(room.roomId) ? acts[endpoint] : undefined) ?? also(about);
  };
}

const pdus = (list: unknown) => list as JsonObject[];
const ids = (list: unknown) => list as EventId[];

/** The state that is listed and answered has these events too. */
function withForged(...forged: readonly SignedEvent[]): Record<string, Act> {
  return {
    state_ids: altered((list) => ({
      ...list,
      pdu_ids: [...ids(list.pdu_ids), ...forged.map(({ eventId }) => eventId)],
    })),
    state: altered((state) => ({ ...state, pdus: [...pdus(state.pdus), ...forged.map(({ json }) => json)] })),
  };
}

/** Resynchronises the room, about which everybody lies, beside one about which nobody does. */
async function resyncBeside(
  room: ScriptedRoom,
  acts: Record<string, Act>,
  also = (_uri: string): Act | undefined => undefined,
) {
  const honest = makeRoom();
  await joiner.join(room, 'hs1');
  await joiner.join(honest, 'hs3');
  lie(room, acts, also);
  await bounded(async () => expect(await joiner.resync(room, honest)).toEqual([true, true]));
  expect(joiner.members(honest)).toEqual(honest.members());
}

const membership = (room: ScriptedRoom, user: string, more: Parameters<ScriptedRoom['sign']>[1] = {}) =>
  room.sign({ type: 'm.room.member', sender: user, stateKey: user, content: { membership: 'join' } }, more);

/** Changes an event in the answer to `/state`. */
function changed(which: (pdu: JsonObject) => boolean, change: (pdu: JsonObject) => JsonObject): Act {
  const each = (list: unknown) => pdus(list).map((pdu) => (which(pdu) ? change(pdu) : pdu));
  return altered(({ pdus: state, auth_chain: chain }) => ({ pdus: each(state), auth_chain: each(chain) }));
}

describe('in a state that is answered', () => {
  it('an event with a bad signature is dropped, and so is what rests on it, and nothing else', async () => {
    const room = makeRoom();
    const second = room.id('m.room.member', CAROL);
    const first = ids(room.pdu(second).auth_events).find((id) => room.pdu(id).state_key === CAROL) as EventId;
    const firstPdu = JSON.stringify(room.pdu(first));
    const signatures = { hs3: { 'ed25519:a': 'A'.repeat(86) } };
    const spoilt = answers(JSON.stringify({ pdus: [{ ...room.pdu(first), signatures }] }));
    await resyncBeside(
      room,
      {
        state: changed(
          (pdu) => JSON.stringify(pdu) === firstPdu,
          (pdu) => ({ ...pdu, signatures }),
        ),
      },
      (uri) => (uri.endsWith(first) ? spoilt : undefined),
    );
    expect(joiner.refusal(room, first)).toMatchObject({ verdict: 'dropped', code: 'bad-signature' });
    expect(joiner.refusal(room, second)).toMatchObject({ verdict: 'dropped', code: 'auth-event-missing' });
    expect([joiner.verdict(first), joiner.verdict(second)]).toEqual(['none', 'none']);
    expect(joiner.members(room)).toEqual(room.members().filter((member) => !member.startsWith(CAROL)));
  });

  it('an event with a bad hash counts in its redacted form only', async () => {
    const room = makeRoom();
    const name = room.state('m.room.topic', '', { topic: 'true' });
    room.say('on top');
    await joiner.join(room, 'hs1');
    const honest = makeRoom();
    await joiner.join(honest, 'hs3');
    // The topic came with the join; the member of hs3 comes with the resync.
    const carol = room.id('m.room.member', CAROL);
    const forged = (pdu: JsonObject) => ({ ...pdu, content: { membership: 'join', displayname: 'forged' } });
    const every = answers(JSON.stringify({ pdus: [forged(room.pdu(carol))] }));
    lie(room, { state: changed(({ state_key: key }) => key === CAROL, forged) }, (uri) =>
      uri.endsWith(carol) ? every : undefined,
    );
    await bounded(async () => expect(await joiner.resync(room, honest)).toEqual([true, true]));
    expect(joiner.refusal(room, carol)).toMatchObject({ verdict: 'redacted', code: 'content-hash-mismatch' });
    expect(joiner.verdict(carol)).toBe('accepted');
    expect(joiner.refusal(room, name)).toBeUndefined();
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('an event whose key cannot be had is dropped by name and does not hold the others up', async () => {
    const room = makeRoom();
    const gone = membership(room, '@gone:dead.test');
    joiner.slow.add('dead.test');
    await resyncBeside(room, withForged(gone));
    expect(joiner.refusal(room, gone.eventId)).toMatchObject({ verdict: 'dropped', code: 'no-key' });
    expect(joiner.refusal(room, gone.eventId)?.reason).toMatch(/no key: ed25519:a of dead\.test/);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('forged events and everything that rests on them are dropped or rejected by name', async () => {
    const room = makeRoom();
    const mallory = '@mallory:hs3';
    // hs1 signs what only hs3 could have said.
    const forged = membership(room, mallory, { signer: 'hs1' });
    const resting = membership(room, mallory, {
      auth: [room.id('m.room.create'), room.id('m.room.power_levels'), room.id('m.room.join_rules'), forged.eventId],
    });
    const usurped = room.sign({
      type: 'm.room.power_levels',
      sender: CAROL,
      stateKey: '',
      content: { users: { [CAROL]: 100 } },
    });
    const byUsurper = room.sign(
      { type: 'm.room.member', sender: CAROL, stateKey: '@dave:hs3', content: { membership: 'ban' } },
      {
        auth: [
          room.id('m.room.create'),
          usurped.eventId,
          room.id('m.room.member', CAROL),
          room.id('m.room.member', '@dave:hs3'),
        ],
      },
    );
    await resyncBeside(room, withForged(forged, resting, usurped, byUsurper));
    expect(joiner.refusal(room, forged.eventId)).toMatchObject({ verdict: 'dropped', code: 'no-signature' });
    expect(joiner.refusal(room, resting.eventId)).toMatchObject({ verdict: 'dropped', code: 'auth-event-missing' });
    expect([usurped, byUsurper].map(({ eventId }) => joiner.verdict(eventId))).toEqual(['rejected', 'rejected']);
    expect(joiner.refusal(room, byUsurper.eventId)).toMatchObject({ code: 'auth-event-rejected' });
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('oversized and malformed events are left out', async () => {
    const room = makeRoom();
    const fact = (content: JsonObject, more: JsonObject = {}) =>
      room.sign({ type: 'org.example.fact', sender: '@alice:hs1', stateKey: `${Math.random()}`, content }, { more });
    const large = fact({ text: 'x'.repeat(70_000) });
    const huge = fact({ text: 'x'.repeat(300_000) });
    const deep = fact({ text: JSON.parse(`${'['.repeat(2000)}${']'.repeat(2000)}`) });
    const noSender = fact({}, { sender: 7 });
    const noState = room.sign({ type: 'm.room.message', sender: '@alice:hs1', content: {} });
    const longType = fact({}, { type: 'x'.repeat(300) });
    await resyncBeside(room, withForged(large, huge, deep, noSender, noState, longType));
    for (const { eventId } of [large, huge, deep, noSender, noState, longType])
      expect(joiner.verdict(eventId)).toBe('none');
    expect(joiner.server.progressOf(room.roomId).droppedEvents).toBeGreaterThanOrEqual(6);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it.each(['1', '2'])('events that rest on one another in a circle are dropped (room version %s)', async (version) => {
    const room = makeRoom(version);
    const auth = (other: string, user: string) => [
      room.id('m.room.create'),
      room.id('m.room.power_levels'),
      room.id('m.room.join_rules'),
      room.id('m.room.member', user),
      other as EventId,
    ];
    const kick = (sender: string, target: string, named: string, other: string) =>
      room.sign(
        { type: 'm.room.member', sender, stateKey: target, content: { membership: 'leave' } },
        { auth: auth(other, sender).filter((_, n) => n !== 2), more: { event_id: named } },
      );
    const one = kick('@alice:hs1', CAROL, '$circle1:hs1', '$circle2:hs1');
    const two = kick('@alice:hs1', CAROL, '$circle2:hs1', '$circle1:hs1');
    await resyncBeside(room, withForged(one, two));
    for (const { eventId } of [one, two]) {
      expect(joiner.refusal(room, eventId)).toMatchObject({ verdict: 'dropped', code: 'auth-cycle' });
    }
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('an event that names an auth event of another room is refused', async () => {
    const [room, other] = [makeRoom(), makeRoom()];
    await joiner.join(other, 'hs1');
    const smuggled = membership(room, '@mallory:hs3', {
      auth: [room.id('m.room.create'), other.id('m.room.power_levels'), room.id('m.room.join_rules')],
    });
    await joiner.join(room, 'hs1');
    const answer = await joiner.beside(makeRoom(), () => joiner.receive(room, 'hs3', smuggled.json));
    expect([...answer.keys()]).toEqual([smuggled.eventId]);
    expect(joiner.verdict(smuggled.eventId)).not.toBe('accepted');
    // In a list it cannot stand without its auth event, and that one is of another room.
    lie(
      room,
      {
        ...withForged(smuggled),
        state_ids: altered((list) => ({
          pdu_ids: [...ids(list.pdu_ids), smuggled.eventId],
          auth_chain_ids: [...ids(list.auth_chain_ids), other.id('m.room.power_levels')],
        })),
      },
      () => undefined,
    );
    expect(await joiner.resync(room)).toEqual([false]);
    expect(joiner.row(room)?.lastFailure).toMatch(/lists an event of another room/);
    lie(room, {}, () => undefined);
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
  });
});

describe('an event that is pushed', () => {
  /** Changes of profile that rest on one another; nobody has them but who is asked for each. */
  function chain(room: ScriptedRoom, length: number): SignedEvent[] {
    const events: SignedEvent[] = [];
    const common = [room.id('m.room.create'), room.id('m.room.power_levels'), room.id('m.room.join_rules')];
    let last = room.id('m.room.member', CAROL);
    for (let n = 0; n < length; n++) {
      const content = { membership: 'join', displayname: `${n}` };
      const event = room.sign(
        { type: 'm.room.member', sender: CAROL, stateKey: CAROL, content },
        { auth: [...common, last] },
      );
      events.push(event);
      last = event.eventId;
    }
    return events;
  }

  it('and lacks thousands of auth events costs a bounded number of requests and is dropped with an error', async () => {
    const room = makeRoom();
    await joiner.join(room, 'hs1');
    const events = new Map(chain(room, 2000).map((event) => [event.eventId, event.json]));
    const last = [...events].at(-1) as [EventId, JsonObject];
    const before = resident.asked.length;
    lie(room, {}, (uri) => {
      const found = events.get(uri.split('/').at(-1) as EventId);
      return found && answers(JSON.stringify({ pdus: [found] }));
    });
    const answer = await joiner.beside(makeRoom(), () => joiner.receive(room, 'hs1', last[1]));
    expect(answer.get(last[0])?.error).toMatch(/auth event/);
    expect(resident.asked.length - before).toBeLessThanOrEqual(100);
    expect(joiner.verdict(last[0])).toBe('none');
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('and whose auth event is answered with another one is dropped with an error', async () => {
    const room = makeRoom();
    await joiner.join(room, 'hs1');
    const [missing, pushed] = chain(room, 2) as [SignedEvent, SignedEvent];
    lie(room, {}, (uri) =>
      uri.endsWith(missing.eventId) ? answers(JSON.stringify({ pdus: [room.pdu(room.id('m.room.name'))] })) : undefined,
    );
    const answer = await joiner.beside(makeRoom(), () => joiner.receive(room, 'hs1', pushed.json));
    expect(answer.get(pushed.eventId)?.error).toMatch(/auth event/);
    expect(joiner.verdict(pushed.eventId)).toBe('none');
    // As if it had never come: when it comes again with what it rests on, it is taken in.
    expect((await joiner.receive(room, 'hs1', missing.json)).get(missing.eventId)).toEqual({});
    expect((await joiner.receive(room, 'hs1', pushed.json)).get(pushed.eventId)).toEqual({});
    expect(joiner.verdict(pushed.eventId)).toBe('accepted');
  });

  it('and lacks prev_events takes no more of a flood of answers than it asked for', async () => {
    const room = makeRoom();
    await joiner.join(room, 'hs1');
    room.say('missing');
    const pushed = room.sign({ type: 'm.room.message', sender: CAROL, content: { body: 'pushed' } });
    const flood = `{"events":[${'{},'.repeat(3_000_000)}{}]}`;
    lie(room, { get_missing_events: answers(flood) }, () => undefined);
    const answer = await joiner.beside(makeRoom(), () => joiner.receive(room, 'hs1', pushed.json));
    expect(answer.get(pushed.eventId)?.error).toMatch(/prev_events/);
  });

  it.each(['1', '2'])(
    'in a circle of prev_events does not keep the room from its full state (version %s)',
    async (v) => {
      const room = makeRoom(v);
      await joiner.join(room, 'hs1');
      const ownJoin = room.ends[0] as EventId;
      const say = (named: string, ...prevs: string[]) =>
        room.sign(
          { type: 'm.room.message', sender: '@alice:hs1', content: { body: named } },
          { prevs: prevs as EventId[], more: { event_id: named } },
        );
      const one = say(`$one${v}:hs1`, ownJoin, `$two${v}:hs1`);
      const two = say(`$two${v}:hs1`, `$one${v}:hs1`);
      const pushed = say(`$pushed${v}:hs1`, `$one${v}:hs1`);
      const stateAtJoin = (form: string) =>
        room.answer(`/_matrix/federation/v1/${form}/x?event_id=${encodeURIComponent(ownJoin)}`, '') ?? {};
      const [listed, whole] = [stateAtJoin('state_ids'), stateAtJoin('state')];
      lie(
        room,
        {
          get_missing_events: answers(JSON.stringify({ events: [one.json] })),
          state_ids: altered((list) => ('pdu_ids' in list ? list : listed)),
          state: altered((state) => ('pdus' in state ? state : whole)),
        },
        (uri) => (uri.endsWith(`$two${v}:hs1`) ? answers(JSON.stringify({ pdus: [two.json] })) : undefined),
      );
      const answer = await joiner.beside(makeRoom(), () => joiner.receive(room, 'hs1', pushed.json));
      expect([...answer.values()]).toEqual([{}]);
      await joiner.receive(room, 'hs1', two.json);
      expect(await joiner.resync(room)).toEqual([true]);
      expect(joiner.members(room)).toEqual(room.members());
      expect(joiner.verdict(one.eventId)).toBe('accepted');
    },
  );

  it.each<[string, (end: EventId, a: EventId, b: EventId, c: EventId) => EventId[][]]>([
    ['are itself', (_end, a) => [[a]]],
    ['are itself and the end of the room', (end, a) => [[end, a]]],
    ['lead back to it through another', (_end, a, b) => [[b], [a]]],
    ['lead back to it through two others', (_end, a, b, c) => [[b], [c], [a]]],
    ['lead back to it in two ways', (end, a, b, c) => [[b, c], [end, a], [a]]],
  ])('and whose prev_events %s ends, and what is said next is accepted (room version 1)', async (_what, shape) => {
    const room = makeRoom('1');
    await joiner.join(room, 'hs1');
    const idOf = (n: number) => `$circle${rooms}-${n}:hs1` as EventId;
    const circle = shape(room.ends[0] as EventId, idOf(0), idOf(1), idOf(2)).map((prevs, n) =>
      room.sign(
        { type: 'm.room.message', sender: '@alice:hs1', content: { n } },
        { prevs, more: { event_id: idOf(n) } },
      ),
    );
    const events = answers(JSON.stringify({ events: circle.map(({ json }) => json) }));
    lie(room, { get_missing_events: events }, () => undefined);
    const push = async () => {
      resident.asked.length = 0;
      for (const { eventId, json } of circle)
        expect((await joiner.receive(room, 'hs1', json)).get(eventId)?.error).toMatch(/prev_events/);
      const asked = resident.asked.filter((line) => line.startsWith('hs1'));
      expect(asked.length).toBeLessThanOrEqual(circle.length * (MISSING_ROUNDS_MAX + GAPS_FILLED_MAX));
    };
    await joiner.beside(makeRoom(), push);
    expect(await joiner.resync(room)).toEqual([true]);
    await push();
    const next = room.sign({ type: 'm.room.message', sender: CAROL, content: { body: 'next' } });
    expect((await joiner.receive(room, 'hs3', next.json)).get(next.eventId)).toEqual({});
    expect(joiner.verdict(next.eventId)).toBe('accepted');
    expect(joiner.members(room)).toEqual(room.members());
  });
});
