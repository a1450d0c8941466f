/** Answers that name thousands of auth events which nobody has: each costs a few requests and ends in a reason to read. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { refusalsReport } from '../../src/api/admin/refusals-report.js';
import { resyncReport } from '../../src/api/admin/resync-report.js';
import type { EventId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { AUTH_EVENTS_MAX } from '../../src/kernel/matrix/limits.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { EVENTS_SAMPLED } from '../../src/partial-state/ask-others.js';
import { joinRoom } from '../../src/room/join/join-room.js';
import { loadRoom } from '../../src/store/rooms.js';
import type { Act, ScriptedResident } from '../support/scripted-resident.js';
import { altered, startScriptedResident } from '../support/scripted-resident.js';
import { ScriptedRoom } from '../support/scripted-room.js';
import { BOB, bounded, LoopbackJoiner } from './loopback-joiner.js';

const CAROL = '@carol:hs3';
/** Events that rest on made-up ones, as many each as an event may name: 3,000 in all. */
const FACTS = 300;
const LACKING = FACTS * AUTH_EVENTS_MAX;

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
function makeRoom(): ScriptedRoom {
  const room = new ScriptedRoom(`lacking${rooms++}`);
  for (const user of [CAROL, '@dave:hs3']) room.member(user, 'join');
  // The state that is asked for is that before the last event.
  room.say('last');
  resident.rooms.push(room);
  return room;
}

/** These servers do so at these endpoints when they are asked about this room. */
function lie(room: ScriptedRoom, servers: readonly string[], acts: Readonly<Record<string, Act>>): void {
  resident.script = ({ server, endpoint, uri }) =>
    servers.includes(server) && decodeURIComponent(uri).includes(room.roomId) ? acts[endpoint] : undefined;
}

const list = (value: unknown) => value as JsonObject[];
const madeUp = (count: number) =>
  Array.from({ length: count }, () => `$${randomBytes(32).toString('base64url')}` as EventId);

/** State of Carol's whose auth events nobody has. */
const facts = (room: ScriptedRoom): SignedEvent[] =>
  Array.from({ length: FACTS }, (_, n) =>
    room.sign(
      { type: 'org.example.fact', sender: CAROL, stateKey: `${n}`, content: {} },
      { auth: madeUp(AUTH_EVENTS_MAX) },
    ),
  );

/** The answer has more in these lists. */
const withMore = (more: Readonly<Record<string, readonly unknown[]>>): Act =>
  altered((answer) => {
    const lists = Object.entries(more).map(([field, added]) => [field, [...list(answer[field]), ...added]]);
    return { ...answer, ...Object.fromEntries(lists) } as JsonObject;
  });

describe('a state list that names thousands of auth events which nobody has', () => {
  /** Joins, then resynchronises beside an honest room while both servers lie so. Requests that this cost. */
  async function resync(room: ScriptedRoom, acts: Readonly<Record<string, Act>>, complete: boolean): Promise<number> {
    const honest = makeRoom();
    await joiner.join(room, 'hs1');
    await joiner.join(honest, 'hs3');
    lie(room, ['hs1', 'hs3'], acts);
    resident.asked.length = 0;
    await bounded(async () => expect(await joiner.resync(room, honest)).toEqual([complete, true]));
    expect(joiner.members(honest)).toEqual(honest.members());
    // The honest room took three.
    return resident.asked.length - 3;
  }

  /** The room is as it was, its report says why, and an honest server completes it. */
  async function expectFailure(room: ScriptedRoom, why: string): Promise<void> {
    const report = resyncReport(joiner.server, room.roomId);
    expect(report).toMatchObject({ residency: 'partial-state', stage_status: 'failed', attempts: 1 });
    expect(report.last_failure).toMatch(new RegExp(`^hs1: ${why}.*; hs3: ${why}`));
    await joiner.say(room, 'still here');
    lie(room, [], {});
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
  }

  it('fails at every server that lists them and gives none, with that reason', async () => {
    const room = makeRoom();
    const lacking = madeUp(LACKING);
    expect(await resync(room, { state_ids: withMore({ auth_chain_ids: lacking }) }, false)).toBeLessThanOrEqual(4);
    await expectFailure(room, `state: ${LACKING} listed events did not come, such as \\$`);
  });

  it('fails at every server that does not list them although its events rest on them, with that reason', async () => {
    const room = makeRoom();
    const resting = facts(room);
    const acts = {
      state_ids: withMore({ pdu_ids: resting.map(({ eventId }) => eventId) }),
      state: withMore({ pdus: resting.map(({ json }) => json) }),
    };
    expect(await resync(room, acts, false)).toBeLessThanOrEqual(4);
    await expectFailure(room, `state_ids: ${FACTS} events rest on auth events that it does not list`);
  });

  it('and gives something else in their place costs a few questions to another, and leaves out what rests on them', async () => {
    const room = makeRoom();
    const resting = facts(room);
    const lacking = resting.flatMap(({ json }) => json.auth_events as EventId[]);
    const acts = {
      state_ids: withMore({ pdu_ids: resting.map(({ eventId }) => eventId), auth_chain_ids: lacking }),
      state: withMore({ pdus: resting.map(({ json }) => json), auth_chain: lacking.map(() => ({})) }),
    };
    expect(await resync(room, acts, true)).toBeLessThanOrEqual(3 + EVENTS_SAMPLED);
    expect(joiner.members(room)).toEqual(room.members());
    const reasons = list(refusalsReport(joiner.server, room.roomId).refusals).map(({ code }) => code);
    expect(reasons).toEqual(resting.map(() => 'auth-event-missing'));
  });
});

describe('a send_join answer whose state rests on thousands of auth events which nobody has', () => {
  it('lets the join stand without that state, says why event by event, and an honest server completes it', async () => {
    const room = makeRoom();
    const resting = facts(room);
    lie(room, ['hs1'], { send_join: withMore({ state: resting.map(({ json }) => json) }) });
    resident.asked.length = 0;
    await joiner.beside(makeRoom(), () => joiner.join(room, 'hs1'));
    // Three each: make_join, send_join, and whether it has the prev_event.
    expect(resident.asked.length).toBeLessThanOrEqual(6);
    const refused = list(refusalsReport(joiner.server, room.roomId).refusals);
    expect(refused.map(({ event_id: id }) => id).toSorted()).toEqual(resting.map(({ eventId }) => eventId).toSorted());
    for (const refusal of refused)
      expect(refusal).toMatchObject({
        verdict: 'dropped',
        code: 'auth-event-missing',
        reason: expect.stringMatching(/not to be had/),
      });
    expect(await joiner.resync(room)).toEqual([true]);
    expect(joiner.members(room)).toEqual(room.members());
  });

  it('to a join with full state is refused by name: the next server is asked, and none leaves no room', async () => {
    const room = makeRoom();
    const { roomId } = room;
    lie(room, ['hs1'], { send_join: withMore({ state: facts(room).map(({ json }) => json) }) });
    const joinFully = (...candidates: string[]) =>
      joinRoom(joiner.server, { roomId, userId: BOB, candidates: candidates as never[], profile: {}, partial: false });
    const why = expect.stringMatching(`send_join: ${LACKING} auth events did not come, such as \\$`);
    resident.asked.length = 0;
    await joiner.beside(makeRoom(), () =>
      expect(joinFully('hs1')).rejects.toMatchObject({ status: 502, message: why }),
    );
    expect(resident.asked.length).toBeLessThanOrEqual(5);
    expect(loadRoom(joiner.store, roomId)).toBeUndefined();
    await joinFully('hs1', 'hs3');
    expect(failures).toEqual([why, why]);
    expect(joiner.members(room)).toEqual(room.members());
  });
});
