import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { joinKnownRoom } from '../../src/room/join/join-known-room.js';
import { receivePdus } from '../../src/room/receive-pdus.js';
import { eventStatus, eventVerdict, StatusBit, setEventStatus, Verdict } from '../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf } from '../../src/store/events.js';
import type { Room } from '../../src/store/rooms.js';
import { hasFlipped, loadRoom, markFlipped, partialStateEvents, refusals } from '../../src/store/rooms.js';
import { stateEvent } from '../../src/store/state-groups.js';
import { localMembership, roomTimeline } from '../../src/store/timeline.js';
import { ALICE, BOB, HS3_KEY, NOW, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner } from './joiner.js';

const HS1 = 'hs1' as ServerName;
const HS3 = 'hs3' as ServerName;
const CAROL = '@carol:hs3';
const MALLORY = '@mallory:hs3';

let resident: ServedRoom;
let joiner: Joiner;
/** Memberships as they were before Mallory was banned. */
let joins: Map<string, EventId>;
let depth: number;
/** Events that a server has when it is asked for them. */
let elsewhere: Map<EventId, JsonObject>;

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  depth = 50;
  elsewhere = new Map();
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  for (const user of [CAROL, MALLORY]) await resident.join(HS3_KEY, user);
  await resident.send('m.room.power_levels', '', { users: { [ALICE]: 100, [MALLORY]: 60 } });
  await resident.send('m.room.join_rules', '', { join_rule: 'invite' });
  await resident.send('m.room.member', BOB, { membership: 'invite' });
  joins = new Map([CAROL, MALLORY].map((user) => [user, stateId('m.room.member', user)]));
  await resident.send('m.room.member', MALLORY, { membership: 'ban' });
  await joiner.join();
  joiner.intercept = (_server, { path }) => {
    const found = [...elsewhere].find(([id]) => path.endsWith(`/event/${encodeURIComponent(id)}`));
    return found === undefined ? undefined : { pdus: [found[1]] };
  };
});
afterEach(async () => {
  await joiner.close();
  await resident.close();
});

function stateId(type: string, stateKey: string): EventId {
  const room = loadRoom(resident.store, ROOM) as Room;
  return eventIdOfNid(resident.store, stateEvent(resident.store, room.nid, room.currentGroup, type, stateKey));
}

function eventOf(sender: string, event: JsonObject, prevs: readonly EventId[], auth: readonly EventId[]): SignedEvent {
  const rules = roomVersionRules('11');
  if (rules === undefined) throw new Error('no room version 11');
  depth += 1;
  const common = [stateId('m.room.create', ''), stateId('m.room.power_levels', '')];
  const place = { room_id: ROOM, sender, prev_events: prevs, auth_events: [...common, ...auth], depth };
  return hashAndSignPdu(rules, { ...place, ...event, origin_server_ts: NOW + depth }, HS3_KEY);
}

/** A change of profile that rests on the user's membership `by`. */
function profile(user: string, name: string, prev: EventId, by: EventId): SignedEvent {
  const content = { membership: 'join', displayname: name };
  const auth = [stateId('m.room.join_rules', ''), by];
  return eventOf(user, { type: 'm.room.member', state_key: user, content }, [prev], auth);
}

const message = (user: string, prev: EventId, by: EventId) =>
  eventOf(user, { type: 'm.room.message', content: { body: 'hello' } }, [prev], [by]);

async function pduOf(eventId: EventId): Promise<JsonObject> {
  const uri = `/_matrix/federation/v1/event/${encodeURIComponent(eventId)}`;
  const { body } = await resident.call('GET', uri, { as: HS3_KEY });
  return (body.pdus as JsonObject[])[0] as JsonObject;
}

const joinId = (user: string) => joins.get(user) as EventId;

function ownJoin(): EventId {
  const row = joiner.partialRow();
  if (row === undefined) throw new Error('the room has full state');
  return eventIdOfNid(joiner.store, row.joinNid);
}

function nidOf({ eventId }: SignedEvent) {
  const nid = eventNidOf(joiner.store, eventId);
  if (nid === undefined) throw new Error(`${eventId} is not known`);
  return nid;
}

const verdicts = (...events: readonly SignedEvent[]) => events.map((event) => eventVerdict(joiner.store, nidOf(event)));

const timeline = () =>
  roomTimeline(joiner.store, joiner.room().nid, { after: 0, upTo: 1000, limit: 50 }).map(({ event }) =>
    eventIdOfNid(joiner.store, event),
  );

async function toResident(...events: readonly SignedEvent[]): Promise<void> {
  const pdus = events.map(({ json }) => Buffer.from(JSON.stringify(json)));
  await receivePdus(resident.server, HS3, ROOM, pdus, () => Promise.reject(new Error('a test filled a gap')));
}

describe('a verdict that the full state turns round', () => {
  it('takes what rests on it along: a sender that had left', async () => {
    const first = profile(MALLORY, 'one', ownJoin(), joinId(MALLORY));
    // Two that only come as auth events, so that they are outside the events with partial state.
    const second = profile(MALLORY, 'two', first.eventId, first.eventId);
    const third = profile(MALLORY, 'three', second.eventId, second.eventId);
    for (const event of [second, third]) elsewhere.set(event.eventId, event.json);
    const last = message(MALLORY, first.eventId, third.eventId);
    await joiner.receive(HS3, first.json, last.json);
    const { accepted, rejected } = Verdict;
    expect(verdicts(first, second, third, last)).toEqual([accepted, accepted, accepted, accepted]);
    expect(await joiner.resync()).toBe(true);
    expect(verdicts(first, second, third, last)).toEqual([rejected, rejected, rejected, rejected]);
    expect(eventStatus(joiner.store, nidOf(third)) & StatusBit.outlier).toBe(StatusBit.outlier);
    const refused = new Map(refusals(joiner.store, joiner.room().nid));
    expect(refused.get(third.eventId)?.code).toBe('auth-event-rejected');
    expect(partialStateEvents(joiner.store, joiner.room().nid)).toEqual([]);
    expect(joiner.members()).toContain(`${MALLORY} ban`);
  });

  it('brings what rests on it back: a false kick that was believed', async () => {
    const leave = { type: 'm.room.member', state_key: CAROL, content: { membership: 'leave' } };
    const kick = eventOf(MALLORY, leave, [ownJoin()], [joinId(MALLORY), joinId(CAROL)]);
    const first = profile(CAROL, 'one', kick.eventId, joinId(CAROL));
    const second = profile(CAROL, 'two', first.eventId, first.eventId);
    elsewhere.set(second.eventId, second.json);
    const last = message(CAROL, first.eventId, second.eventId);
    await joiner.receive(HS3, kick.json, first.json, last.json);
    const { accepted, rejected } = Verdict;
    expect(verdicts(kick, first, second, last)).toEqual([accepted, rejected, rejected, rejected]);
    expect(timeline()).not.toContain(last.eventId);
    expect(await joiner.resync()).toBe(true);
    expect(verdicts(kick, first, second, last)).toEqual([rejected, accepted, accepted, accepted]);
    expect(timeline()).toEqual(expect.arrayContaining([first.eventId, last.eventId]));
    expect(timeline()).not.toContain(second.eventId);
    expect(joiner.room().extremities).toEqual([nidOf(last)]);
    expect(joiner.members()).toContain(`${CAROL} join`);
    const refused = new Map(refusals(joiner.store, joiner.room().nid));
    expect([refused.has(kick.eventId), refused.has(second.eventId)]).toEqual([true, false]);
  });

  it('is not counted in the state at a gap that was filled meanwhile: what a false kick had us reject is in it', async () => {
    const leave = { type: 'm.room.member', state_key: CAROL, content: { membership: 'leave' } };
    const kick = eventOf(MALLORY, leave, [ownJoin()], [joinId(MALLORY), joinId(CAROL)]);
    const first = profile(CAROL, 'one', kick.eventId, joinId(CAROL));
    const second = profile(CAROL, 'two', first.eventId, first.eventId);
    // The resident knows that Mallory was banned.
    await toResident(kick, first, second);
    await joiner.receive(HS3, kick.json, first.json, second.json);
    const { accepted, rejected } = Verdict;
    expect(verdicts(kick, first, second)).toEqual([accepted, rejected, rejected]);
    const behind = await resident.send('m.room.message', undefined, { body: 'behind the gap' });
    const returned = await resident.send('m.room.message', undefined, { body: 'returned' });
    const events = [await pduOf(returned)];
    joiner.intercept = (_server, { path }) => (path.includes('/get_missing_events/') ? { events } : undefined);
    const said = message(CAROL, returned, second.eventId);
    await joiner.receive(HS3, said.json);
    expect(joiner.asked).toContain('hs3 state_ids');
    // What follows upon a message that we had to reject is the end of the room, also when that one is accepted after all.
    await toResident(said);
    const follows = await resident.send('m.room.message', undefined, { body: 'follows' });
    const last = await resident.send('m.room.message', undefined, { body: 'last' });
    await joiner.receive(HS1, await pduOf(follows), await pduOf(last));
    expect(verdicts(said)).toEqual([rejected]);
    expect(eventNidOf(joiner.store, behind)).toBeDefined();
    expect(await joiner.resync()).toBe(true);
    expect(verdicts(kick, first, second, said)).toEqual([rejected, accepted, accepted, accepted]);
    expect(joiner.members()).toContain(`${CAROL} join`);
    expect(timeline()).toContain(said.eventId);
    // The resident's next event behind the gap follows upon Carol's change of profile; it is not in our timeline.
    expect(joiner.room().extremities.map((nid) => eventIdOfNid(joiner.store, nid))).toEqual([second.eventId, last]);
  });

  it('leaves no end where somebody who was banned in truth followed upon history', async () => {
    const { nid } = loadRoom(resident.store, ROOM) as Room;
    const history = roomTimeline(resident.store, nid, { after: 0, upTo: 1000, limit: 50 });
    const ids = history.map(({ event }) => eventIdOfNid(resident.store, event)).filter((id) => id !== ownJoin());
    await joiner.receive(HS1, ...(await Promise.all(ids.map(pduOf))));
    const end = ownJoin();
    // Upon the room's name, which others have long followed.
    const prevs = [end, stateId('m.room.name', '')];
    const said = eventOf(MALLORY, { type: 'm.room.message', content: { body: 'hello' } }, prevs, [joinId(MALLORY)]);
    await joiner.receive(HS3, said.json);
    expect(verdicts(said)).toEqual([Verdict.accepted]);
    expect(await joiner.resync()).toBe(true);
    expect(verdicts(said)).toEqual([Verdict.rejected]);
    expect(joiner.room().extremities.map((end) => eventIdOfNid(joiner.store, end))).toEqual([end]);
  });

  it('gives one of our users back a membership that a false kick took away', async () => {
    const dan = '@dan:hs2' as UserId;
    const leave = { type: 'm.room.member', state_key: BOB, content: { membership: 'leave' } };
    const kick = eventOf(MALLORY, leave, [ownJoin()], [joinId(MALLORY), ownJoin()]);
    // A second user of ours, or the room would be paused by the kick.
    const invite = await resident.send('m.room.member', dan, { membership: 'invite' });
    await joiner.receive(HS1, await pduOf(invite));
    const request = { roomId: ROOM, userId: dan, candidates: [], profile: {}, partial: true };
    await joinKnownRoom(joiner.server, request);
    await joiner.receive(HS3, kick.json);
    const standing = () => localMembership(joiner.store, BOB, joiner.room().nid);
    const kicked = standing();
    expect(kicked?.membership).toBe('leave');
    expect(await joiner.resync()).toBe(true);
    expect(verdicts(kick)).toEqual([Verdict.rejected]);
    expect(standing()).toMatchObject({ membership: 'join', left: undefined });
    // Newer than what Bob's client saw, so that it is told.
    expect(standing()?.position).toBeGreaterThan(kicked?.position ?? 0);
  });

  it('undoes the redaction of a sender that had left', async () => {
    const target = message(CAROL, ownJoin(), joinId(CAROL));
    const redacts = { type: 'm.room.redaction', content: { redacts: target.eventId } };
    const redaction = eventOf(MALLORY, redacts, [target.eventId], [joinId(MALLORY)]);
    await joiner.receive(HS3, target.json, redaction.json);
    expect(eventStatus(joiner.store, nidOf(target)) & StatusBit.redacted).toBe(StatusBit.redacted);
    expect(await joiner.resync()).toBe(true);
    expect(verdicts(target, redaction)).toEqual([Verdict.accepted, Verdict.rejected]);
    expect(eventStatus(joiner.store, nidOf(target)) & StatusBit.redacted).toBe(0);
  });

  it('is handed on after a crash in between: the flip is marked until what rests on it is judged', async () => {
    const first = profile(MALLORY, 'one', ownJoin(), joinId(MALLORY));
    const second = profile(MALLORY, 'two', first.eventId, first.eventId);
    elsewhere.set(second.eventId, second.json);
    const last = message(MALLORY, first.eventId, second.eventId);
    await joiner.receive(HS3, first.json, last.json);
    // As it is when the process ended right after the flip was written.
    const { nid } = joiner.room();
    const { store } = joiner;
    store.write((writer) => {
      setEventStatus(writer, nidOf(first), Verdict.rejected);
      markFlipped(writer, nid, nidOf(first));
    });
    expect(verdicts(first, second)).toEqual([Verdict.rejected, Verdict.accepted]);
    expect(await joiner.resync()).toBe(true);
    expect(verdicts(first, second, last)).toEqual([Verdict.rejected, Verdict.rejected, Verdict.rejected]);
    expect(hasFlipped(store, nid, nidOf(first))).toBe(false);
  });
});

describe('many events that came while the state was partial', () => {
  it('are worked through in their order, each once', async () => {
    const events: SignedEvent[] = [];
    let prev = ownJoin();
    for (let n = 0; n < 60; n++) {
      const event = message(CAROL, prev, joinId(CAROL));
      events.push(event);
      prev = event.eventId;
    }
    await joiner.receive(HS3, ...events.map(({ json }) => json));
    expect(partialStateEvents(joiner.store, joiner.room().nid)).toHaveLength(61);
    expect(await joiner.resync()).toBe(true);
    expect(new Set(verdicts(...events))).toEqual(new Set([Verdict.accepted]));
    expect(joiner.room().extremities).toEqual([nidOf(events.at(-1) as SignedEvent)]);
  });
});
