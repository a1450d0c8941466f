import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { EventId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { Resyncs } from '../../src/partial-state/resyncs.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { joinKnownRoom } from '../../src/room/join/join-known-room.js';
import { receivePdus } from '../../src/room/receive-pdus.js';
import { sendEvent } from '../../src/room/send-event.js';
import { eventIdOfNid, loadEvent } from '../../src/store/events.js';
import { loadRoom, partialStateEvents } from '../../src/store/rooms.js';
import { stateEvent } from '../../src/store/state-groups.js';
import { localMembership } from '../../src/store/timeline.js';
import { ALICE, BOB, HS3_KEY, NOW, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner, membersOf } from './joiner.js';

const HS2 = 'hs2' as ServerName;
const HS1 = 'hs1' as ServerName;
const HS3 = 'hs3' as ServerName;
const DAN = '@dan:hs2' as UserId;
const CAROL = '@carol:hs3' as UserId;

let resident: ServedRoom;
let joiner: Joiner;
beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  for (const user of ['@carol:hs3', '@dave:hs3']) await resident.join(HS3_KEY, user);
  await joiner.join();
  joiner.asked.length = 0;
});
afterEach(async () => {
  await joiner.close();
  await resident.close();
});

function leave(userId: UserId): Promise<EventId> {
  const content = { membership: 'leave' };
  return sendEvent(joiner.server, ROOM, { type: 'm.room.member', sender: userId, stateKey: userId, content });
}

function rejoin(userId: UserId): Promise<void> {
  return joinKnownRoom(joiner.server, { roomId: ROOM, userId, candidates: [], profile: {}, partial: true });
}

/** Sends our user's membership to the resident, as the outbound queue does. */
async function tellResident(userId: UserId): Promise<void> {
  const event = localMembership(joiner.store, userId, joiner.room().nid)?.event;
  const pdu = event === undefined ? undefined : loadEvent(joiner.store, joiner.room().rules, event);
  if (pdu === undefined) throw new Error(`${userId} has no membership`);
  const answers = await receivePdus(resident.server, HS2, ROOM, [Buffer.from(JSON.stringify(pdu.json))], () =>
    Promise.resolve(),
  );
  expect([...answers.values()]).toEqual([{}]);
}

function residentMembers(): string[] {
  const room = loadRoom(resident.store, ROOM);
  return room === undefined ? [] : membersOf(resident.server, room);
}

async function pduOf(eventId: EventId): Promise<JsonObject> {
  const uri = `/_matrix/federation/v1/event/${encodeURIComponent(eventId)}`;
  const { body } = await resident.call('GET', uri, { as: HS3_KEY });
  return (body.pdus as JsonObject[])[0] as JsonObject;
}

/** Carol kicks our user, as of the resident's state; the resident does not hear of it. */
function kickByCarol(): JsonObject {
  const { store } = resident;
  const room = loadRoom(store, ROOM);
  if (room === undefined) throw new Error('the resident has no room');
  const idOf = (type: string, key = '') =>
    eventIdOfNid(store, stateEvent(store, room.nid, room.currentGroup, type, key));
  const members = [CAROL, BOB].map((user) => idOf('m.room.member', user));
  const draft = {
    type: 'm.room.member',
    room_id: ROOM,
    sender: CAROL,
    state_key: BOB,
    content: { membership: 'leave' },
    auth_events: [idOf('m.room.create'), idOf('m.room.power_levels'), ...members],
    prev_events: room.extremities.map((nid) => eventIdOfNid(store, nid)),
    depth: 30,
    origin_server_ts: NOW,
  };
  return hashAndSignPdu(room.rules, draft, HS3_KEY).json;
}

/** Runs a resync that is at `/event` (the whole state is stored by then) when `then` is called. */
async function resyncUntilStored(then: () => Promise<unknown>): Promise<Resyncs> {
  const resyncs = new Resyncs(joiner.server, () => undefined);
  joiner.onTimelineEvent = (room) => resyncs.followRoom(room);
  await new Promise<void>((resolve) => {
    joiner.intercept = async (_server, { path }) => {
      if (!path.includes('/event/')) return undefined;
      joiner.intercept = () => undefined;
      await then();
      resolve();
      return undefined;
    };
    resyncs.start(ROOM);
  });
  return resyncs;
}

describe('a room with partial state that our last user leaves', () => {
  it('is paused: its resync ends, and what it needs to go on is kept', async () => {
    const resyncs = await resyncUntilStored(() => leave(BOB));
    await resyncs.close();
    const { residency, nid } = joiner.room();
    expect(residency).toBe('paused');
    expect(joiner.partialRow()?.servers.toSorted()).toEqual(['hs1', 'hs3']);
    expect(joiner.partialRow()?.attempts).toBe(0);
    expect(partialStateEvents(joiner.store, nid)).toHaveLength(2);
  });

  it('stays paused after a restart: nothing is asked', async () => {
    await leave(BOB);
    const resyncs = new Resyncs(joiner.server, () => undefined);
    resyncs.resumeAll();
    resyncs.start(ROOM);
    await resyncs.close();
    expect(joiner.asked).toEqual([]);
    expect(joiner.room().residency).toBe('paused');
  });

  it('goes on where it was when another of our users joins', async () => {
    const first = await resyncUntilStored(() => leave(BOB));
    await first.close();
    await tellResident(BOB);
    await rejoin(DAN);
    expect(joiner.room().residency).toBe('partial-state');
    joiner.asked.length = 0;
    expect(await joiner.resync()).toBe(true);
    expect(joiner.asked).toEqual(['hs1 state_ids', 'hs1 event']);
    expect(joiner.room().residency).toBe('full-state');
    expect(joiner.members()).toEqual(residentMembers());
    expect(joiner.members()).toEqual(expect.arrayContaining([`${BOB} leave`, `${DAN} join`]));
  });

  it('goes on where a user is back before the resync has noticed', async () => {
    let completed: () => void = () => undefined;
    const complete = new Promise<void>((resolve) => {
      completed = resolve;
    });
    const resyncs = new Resyncs(joiner.server, () => completed());
    joiner.onTimelineEvent = (room) => resyncs.followRoom(room);
    let away: Promise<void> | undefined;
    joiner.intercept = async (_server, { path }) => {
      if (!path.includes('/event/') || away !== undefined) return undefined;
      away = leave(BOB).then(() => rejoin(BOB));
      await away;
      resyncs.start(ROOM);
      return undefined;
    };
    resyncs.start(ROOM);
    await complete;
    await resyncs.close();
    expect(joiner.room().residency).toBe('full-state');
    expect(joiner.members()).toContain(`${BOB} join`);
  });

  it('is paused where another server removes our last user, and not while one of ours is left', async () => {
    await rejoin(DAN);
    const kick = async (userId: UserId) => {
      const eventId = await resident.send('m.room.member', userId, { membership: 'leave' });
      await joiner.receive(HS1, await pduOf(eventId));
    };
    await kick(BOB);
    expect(joiner.room().residency).toBe('partial-state');
    await leave(DAN);
    expect(joiner.room().residency).toBe('paused');
  });

  it('is paused where most servers say that we are out, and goes on where what comes later has our user in again', async () => {
    const demoted = (level: number) =>
      resident.send('m.room.power_levels', '', { users: { [ALICE]: 100, [CAROL]: level } });
    await joiner.receive(HS1, await pduOf(await demoted(50)));
    const resyncs = new Resyncs(joiner.server, () => undefined);
    joiner.onTimelineEvent = (room) => resyncs.followRoom(room);
    await joiner.receive(HS3, kickByCarol());
    expect(joiner.room().residency).toBe('partial-state');
    joiner.intercept = async (server, { path }) => {
      if (path.includes('/state_ids/')) throw new RemoteError('refused', server, 'answered 403', { status: 403 });
      return undefined;
    };
    resyncs.start(ROOM);
    await vi.waitUntil(() => joiner.room().residency === 'paused');
    expect(joiner.partialRow()?.lastFailure).toContain('hs1: answered 403');
    joiner.intercept = () => undefined;
    // Beside the kick, and before it in the order of power: Carol could not kick any more.
    await joiner.receive(HS1, await pduOf(await demoted(0)));
    expect(localMembership(joiner.store, BOB, joiner.room().nid)?.membership).toBe('join');
    expect(joiner.room().residency).toBe('partial-state');
    // Its next time is set; an operator need not wait for it.
    resyncs.tryNow(ROOM);
    await vi.waitUntil(() => joiner.room().residency === 'full-state');
    await resyncs.close();
  });

  it('is not asked about before its time where another event comes', async () => {
    const resyncs = new Resyncs(joiner.server, () => undefined);
    joiner.onTimelineEvent = (room) => resyncs.followRoom(room);
    joiner.intercept = (_server, { path }) => (path.includes('/state_ids/') ? {} : undefined);
    resyncs.start(ROOM);
    await vi.waitUntil(() => joiner.partialRow()?.attempts === 1);
    joiner.asked.length = 0;
    await joiner.receive(HS1, await pduOf(await resident.send('m.room.topic', '', { topic: 'later' })));
    await resyncs.close();
    expect(joiner.room().residency).toBe('partial-state');
    expect(joiner.asked).toEqual([]);
  });
});
