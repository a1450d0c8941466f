import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { GAPS_FILLING_MAX } from '../../src/partial-state/fill-gap.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { GAPS_FILLED_MAX, MISSING_ROUNDS_MAX } from '../../src/room/fetch-missing.js';
import { eventStatus, eventVerdict, StatusBit, Verdict } from '../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf } from '../../src/store/events.js';
import type { EventNid } from '../../src/store/nids.js';
import type { Room } from '../../src/store/rooms.js';
import { isPartialStateEvent, loadRoom } from '../../src/store/rooms.js';
import { stateEvent } from '../../src/store/state-groups.js';
import { roomTimeline } from '../../src/store/timeline.js';
import { HS3_KEY, NOW, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner } from './joiner.js';

const CAROL = '@carol:hs3';
const HS1 = 'hs1' as ServerName;
let resident: ServedRoom;
let joiner: Joiner;
beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  await resident.join(HS3_KEY, CAROL);
  await joiner.join();
});
afterEach(async () => {
  await joiner.close();
  await resident.close();
});

async function pduOf(eventId: EventId): Promise<JsonObject> {
  const uri = `/_matrix/federation/v1/event/${encodeURIComponent(eventId)}`;
  const { body } = await resident.call('GET', uri, { as: HS3_KEY });
  return (body.pdus as JsonObject[])[0] as JsonObject;
}

const say = (body: string) => resident.send('m.room.message', undefined, { body });

/** `get_missing_events` answers these and no more. */
async function answerMissing(...eventIds: readonly EventId[]): Promise<void> {
  const events = await Promise.all(eventIds.map(pduOf));
  joiner.intercept = (_server, { path }) => (path.includes('/get_missing_events/') ? { events } : undefined);
}

function verdictOf(eventId: EventId) {
  const nid = eventNidOf(joiner.store, eventId);
  return nid === undefined ? Verdict.none : eventVerdict(joiner.store, nid);
}

/** The ID of an event of the resident's state. */
function stateId(type: string, key: string): EventId {
  const room = loadRoom(resident.store, ROOM) as Room;
  return eventIdOfNid(resident.store, stateEvent(resident.store, room.nid, room.currentGroup, type, key));
}

function messageOfCarol(prevs: readonly EventId[]): SignedEvent {
  const rules = roomVersionRules('11');
  if (rules === undefined) throw new Error('no room version 11');
  return hashAndSignPdu(
    rules,
    {
      type: 'm.room.message',
      room_id: ROOM,
      sender: CAROL,
      content: { body: 'hello' },
      auth_events: [stateId('m.room.create', ''), stateId('m.room.power_levels', ''), stateId('m.room.member', CAROL)],
      prev_events: [...prevs],
      depth: 99,
      origin_server_ts: NOW,
    },
    HS3_KEY,
  );
}

/** More forks than gaps are filled, each with a gap behind it, and an event that brings them together. */
async function forksWithGaps(): Promise<{ events: JsonObject[]; pushed: SignedEvent }> {
  const ids: EventId[] = [];
  for (let n = 0; n < 2 * (GAPS_FILLED_MAX + 1); n++) ids.push(await say(`${n}`));
  // Every other one is withheld, so that each of the others has a gap behind it.
  const returned = ids.filter((_id, n) => n % 2 === 1);
  const events = await Promise.all(returned.map(pduOf));
  const pushed = messageOfCarol(returned);
  return { events, pushed };
}

describe('a gap behind an event that get_missing_events returned', () => {
  it('is filled by the state at the missing event, which itself stays out of the timeline', async () => {
    const topic = await resident.send('m.room.topic', '', { topic: 'behind the gap' });
    const returned = await say('returned');
    const pushed = await say('pushed');
    await answerMissing(returned);
    joiner.asked.length = 0;
    const answers = await joiner.receive(HS1, await pduOf(pushed));
    expect([...answers]).toEqual([[pushed, {}]]);
    expect(joiner.asked.filter((line) => line.includes('state_ids'))).toEqual(['hs1 state_ids']);
    const { nid, currentGroup } = joiner.room();
    const timeline = roomTimeline(joiner.store, nid, { after: 0, upTo: 100, limit: 10 });
    const shown = timeline.map(({ event }) => eventIdOfNid(joiner.store, event));
    expect(shown.slice(-2)).toEqual([returned, pushed]);
    expect(shown).not.toContain(topic);
    const topicNid = stateEvent(joiner.store, nid, currentGroup, 'm.room.topic', '');
    expect(eventIdOfNid(joiner.store, topicNid)).toBe(topic);
    expect(eventStatus(joiner.store, topicNid) & StatusBit.outlier).toBe(StatusBit.outlier);
    // When it is pushed after all, it joins the timeline and ends nothing: what follows on it is here.
    await joiner.receive(HS1, await pduOf(topic));
    expect(eventStatus(joiner.store, topicNid)).toBe(Verdict.accepted);
    expect(joiner.room().extremities.map((end) => eventIdOfNid(joiner.store, end))).toEqual([pushed]);
    expect(stateEvent(joiner.store, nid, joiner.room().currentGroup, 'm.room.topic', '')).toBe(topicNid);
    // Its state is whole, although the room's is not yet.
    const pushedNid = eventNidOf(joiner.store, pushed);
    expect(pushedNid && isPartialStateEvent(joiner.store, nid, pushedNid)).toBe(false);
    expect(joiner.room().residency).toBe('partial-state');
    expect(await joiner.resync()).toBe(true);
  });

  it('is filled by what we have where it is the create event: nothing was before that', async () => {
    const carol = stateId('m.room.member', CAROL);
    const pushed = messageOfCarol([carol]);
    // All that there was before it: the oldest of these follows upon the create event.
    const keys = [
      ['m.room.member', '@alice:hs1'],
      ['m.room.power_levels', ''],
      ['m.room.join_rules', ''],
      ['m.room.name', ''],
    ] as const;
    await answerMissing(...keys.map(([type, key]) => stateId(type, key)), carol);
    joiner.asked.length = 0;
    expect([...(await joiner.receive(HS1, pushed.json))]).toEqual([[pushed.eventId, {}]]);
    expect(joiner.asked.filter((line) => line.includes('state_ids'))).toEqual([]);
    expect(verdictOf(pushed.eventId)).toBe(Verdict.accepted);
    expect(await joiner.resync()).toBe(true);
  });

  it('is filled once where several pushed events need it at a time', async () => {
    const ids: EventId[] = [];
    for (let n = 0; n < 3; n++) ids.push(await say(`${n}`));
    const [, returned, pushed] = ids as [EventId, EventId, EventId];
    await answerMissing(returned);
    joiner.asked.length = 0;
    const pdu = await pduOf(pushed);
    const answers = await Promise.all(Array.from({ length: GAPS_FILLING_MAX + 2 }, () => joiner.receive(HS1, pdu)));
    for (const answer of answers) expect(answer.get(pushed)).toEqual({});
    expect(joiner.asked.filter((line) => line.includes('state_ids'))).toHaveLength(1);
  });

  it('leaves the pushed event dropped with an error where that state cannot be had', async () => {
    await say('behind the gap');
    const returned = await say('returned');
    const pushed = await say('pushed');
    const events = [await pduOf(returned)];
    joiner.intercept = (_server, { path }) => {
      if (path.includes('/get_missing_events/')) return { events };
      return path.includes('/state_ids/') ? '<html>' : undefined;
    };
    const answers = await joiner.receive(HS1, await pduOf(pushed));
    expect(answers.get(pushed)?.error).toMatch(/prev_events/);
    expect(verdictOf(returned)).toBe(Verdict.unjudged);
    joiner.intercept = () => undefined;
    await answerMissing(returned);
    expect((await joiner.receive(HS1, await pduOf(pushed))).get(pushed)).toEqual({});
  });

  it('is asked about by get_missing_events once more where the server has no state there: it may have rejected that event', async () => {
    const behind = await say('behind the gap');
    const returned = await say('returned');
    const pushed = await say('pushed');
    const events = [await pduOf(returned)];
    let rounds = 0;
    joiner.intercept = (server, { path }) => {
      if (path.includes('/state_ids/')) throw new RemoteError('refused', server, 'not here', { status: 404 });
      if (!path.includes('/get_missing_events/')) return undefined;
      rounds += 1;
      return rounds === 1 ? { events } : undefined;
    };
    expect((await joiner.receive(HS1, await pduOf(pushed))).get(pushed)).toEqual({});
    expect([behind, returned, pushed].map(verdictOf)).toEqual([1, 2, 3].map(() => Verdict.accepted));
    expect(rounds).toBe(2);
  });

  it('is asked about in a limited number of rounds', async () => {
    const ids: EventId[] = [];
    for (let n = 0; n < 2 * MISSING_ROUNDS_MAX + 2; n++) ids.push(await say(`${n}`));
    const all = await Promise.all(ids.map(pduOf));
    let rounds = 0;
    joiner.intercept = (server, { path }) => {
      if (path.includes('/state_ids/')) throw new RemoteError('refused', server, 'not here', { status: 404 });
      if (!path.includes('/get_missing_events/')) return undefined;
      rounds += 1;
      // The one before the last that was asked about.
      return { events: [all[all.length - 1 - rounds]] };
    };
    const pushed = ids.at(-1) as EventId;
    expect((await joiner.receive(HS1, await pduOf(pushed))).get(pushed)?.error).toMatch(/prev_events/);
    expect(rounds).toBe(MISSING_ROUNDS_MAX);
  });

  it('is none where it lies behind what we have: history that comes along is left alone', async () => {
    // What our join follows upon, and our join.
    const { nid, currentGroup } = loadRoom(resident.store, ROOM) as Room;
    const old = eventIdOfNid(resident.store, stateEvent(resident.store, nid, currentGroup, 'm.room.member', CAROL));
    const returned = await say('returned');
    const pushed = await say('pushed');
    const ownJoin = eventIdOfNid(joiner.store, joiner.partialRow()?.joinNid as EventNid);
    await answerMissing(old, ownJoin, returned);
    joiner.asked.length = 0;
    const answers = await joiner.receive(HS1, await pduOf(pushed));
    expect([...answers]).toEqual([[pushed, {}]]);
    expect(joiner.asked).toEqual(['hs1 get_missing_events']);
    expect([returned, pushed].map(verdictOf)).toEqual([Verdict.accepted, Verdict.accepted]);
  });

  it('is filled a limited number of times for one pushed event', async () => {
    const { events, pushed } = await forksWithGaps();
    joiner.intercept = (_server, { path }) => (path.includes('/get_missing_events/') ? { events } : undefined);
    joiner.asked.length = 0;
    const answers = await joiner.receive(HS1, pushed.json);
    expect(answers.get(pushed.eventId)?.error).toMatch(/prev_events/);
    expect(joiner.asked.filter((line) => line.includes('state_ids'))).toHaveLength(GAPS_FILLED_MAX);
  });

  it('costs a limited number of questions where no state is to be had at any of them', async () => {
    const { events, pushed } = await forksWithGaps();
    joiner.asked.length = 0;
    joiner.intercept = (server, { path }) => {
      if (path.includes('/state_ids/')) throw new RemoteError('refused', server, 'not here', { status: 404 });
      if (!path.includes('/get_missing_events/')) return undefined;
      return { events: joiner.asked.length === 1 ? events : [] };
    };
    expect((await joiner.receive(HS1, pushed.json)).get(pushed.eventId)?.error).toMatch(/prev_events/);
    const count = (endpoint: string) => joiner.asked.filter((line) => line === `hs1 ${endpoint}`).length;
    expect(count('get_missing_events')).toBe(MISSING_ROUNDS_MAX);
    expect(count('state_ids')).toBeLessThanOrEqual(GAPS_FILLED_MAX);
  });
});

describe('a gap right before a pushed event', () => {
  it('is not filled: the event is dropped with an error, and accepted when it comes with what it lacked', async () => {
    const missing = await say('missing');
    const pushed = await say('pushed');
    await answerMissing();
    joiner.asked.length = 0;
    expect((await joiner.receive(HS1, await pduOf(pushed))).get(pushed)?.error).toMatch(/prev_events/);
    expect(joiner.asked).toEqual(['hs1 get_missing_events']);
    const answers = await joiner.receive(HS1, await pduOf(pushed), await pduOf(missing));
    expect([answers.get(missing), answers.get(pushed)]).toEqual([{}, {}]);
  });

  it('is not filled by events that do not lead up to it', async () => {
    await say('behind the gap');
    const stranger = await say('stranger');
    await say('missing');
    const pushed = await say('pushed');
    await answerMissing(stranger);
    joiner.asked.length = 0;
    expect((await joiner.receive(HS1, await pduOf(pushed))).get(pushed)?.error).toMatch(/prev_events/);
    expect(joiner.asked).toEqual(['hs1 get_missing_events']);
  });
});
