import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, ServerName } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { RemoteError } from '../../../src/remote/remote-error.js';
import { AUTH_ROUNDS_MAX } from '../../../src/room/intake/fetch-missing-auth.js';
import { receivePdus } from '../../../src/room/receive-pdus.js';
import { eventVerdict, Verdict } from '../../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf } from '../../../src/store/events.js';
import type { Room } from '../../../src/store/rooms.js';
import { loadRoom } from '../../../src/store/rooms.js';
import { stateEvent } from '../../../src/store/state-groups.js';
import { HS3_KEY, NOW, ROOM, ServedRoom } from '../../api/federation/served-room.js';
import { Joiner } from '../../partial-state/joiner.js';

const HS3 = HS3_KEY.serverName;
const CAROL = '@carol:hs3';
/** How often Carol has changed her name before the joiner comes: each change rests on the one before it. */
const CHANGES = 3 * AUTH_ROUNDS_MAX;

let resident: ServedRoom;
let joiner: Joiner;
/** Carol's memberships, the first one first. */
let memberships: EventId[];
let said: SignedEvent;

function stateId(type: string, stateKey: string): EventId {
  const room = loadRoom(resident.store, ROOM) as Room;
  return eventIdOfNid(resident.store, stateEvent(resident.store, room.nid, room.currentGroup, type, stateKey));
}

function eventOf(event: JsonObject, auth: readonly EventId[], n: number): SignedEvent {
  const rules = roomVersionRules('11');
  if (rules === undefined) throw new Error('no room version 11');
  const room = loadRoom(resident.store, ROOM) as Room;
  const place = {
    room_id: ROOM,
    sender: CAROL,
    prev_events: room.extremities.map((nid) => eventIdOfNid(resident.store, nid)),
    auth_events: [stateId('m.room.create', ''), stateId('m.room.power_levels', ''), ...auth],
    depth: 20 + n,
    origin_server_ts: NOW + n,
  };
  return hashAndSignPdu(rules, { ...place, ...event }, HS3_KEY);
}

const noGap = () => Promise.reject(new Error('a test filled a gap'));
const toResident = ({ json }: SignedEvent) =>
  receivePdus(resident.server, HS3, ROOM, [Buffer.from(JSON.stringify(json))], noGap);

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  await resident.join(HS3_KEY, CAROL);
  memberships = [stateId('m.room.member', CAROL)];
  for (let n = 0; n < CHANGES; n++) {
    const content = { membership: 'join', displayname: `${n}` };
    const auth = [stateId('m.room.join_rules', ''), memberships.at(-1) as EventId];
    const change = eventOf({ type: 'm.room.member', state_key: CAROL, content }, auth, n);
    await toResident(change);
    memberships.push(change.eventId);
  }
  await joiner.join();
  said = eventOf({ type: 'm.room.message', content: { body: 'hello' } }, memberships.slice(-1), CHANGES);
  await toResident(said);
  joiner.asked.length = 0;
});
afterEach(async () => {
  await joiner.close();
  await resident.close();
});

function verdictOf(eventId: EventId): Verdict {
  const nid = eventNidOf(joiner.store, eventId);
  return nid === undefined ? Verdict.none : eventVerdict(joiner.store, nid);
}

const timesAsked = (endpoint: string) => joiner.asked.filter((line) => line === `hs3 ${endpoint}`).length;

describe('a message of somebody with a long chain of memberships, while the state is partial', () => {
  it('is taken in: after a few single events its whole auth chain is asked for, and judged', async () => {
    expect((await joiner.receive(HS3, said.json)).get(said.eventId)).toEqual({});
    expect(verdictOf(said.eventId)).toBe(Verdict.accepted);
    expect(memberships.map(verdictOf)).toEqual(memberships.map(() => Verdict.accepted));
    expect([timesAsked('event'), timesAsked('event_auth')]).toEqual([AUTH_ROUNDS_MAX, 1]);
  });

  it('has the chain asked for once where several of his come at a time', async () => {
    const more = eventOf({ type: 'm.room.message', content: { body: 'more' } }, memberships.slice(-1), CHANGES + 1);
    await toResident(more);
    await Promise.all([said, more].map(({ json }) => joiner.receive(HS3, json)));
    expect([said, more].map(({ eventId }) => verdictOf(eventId))).toEqual([Verdict.accepted, Verdict.accepted]);
    expect(timesAsked('event_auth')).toBe(1);
  });

  it.each([
    ['no answer', () => Promise.reject(new RemoteError('refused', HS3 as ServerName, 'no', { status: 404 }))],
    ['an answer that is none', () => '{"auth_chain":[{]}'],
    ['an empty answer', () => ({ auth_chain: [] })],
  ])('is dropped with an error where %s comes', async (_what, answer) => {
    joiner.intercept = (_server, { path }) => (path.includes('/event_auth/') ? answer() : undefined);
    expect((await joiner.receive(HS3, said.json)).get(said.eventId)?.error).toMatch(/auth event/);
    joiner.intercept = () => undefined;
    expect((await joiner.receive(HS3, said.json)).get(said.eventId)).toEqual({});
  });
});
