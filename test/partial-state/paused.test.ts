import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { Resyncs } from '../../src/partial-state/resyncs.js';
import { joinKnownRoom } from '../../src/room/join/join-known-room.js';
import { receivePdus } from '../../src/room/receive-pdus.js';
import { sendEvent } from '../../src/room/send-event.js';
import { loadEvent } from '../../src/store/events.js';
import { loadRoom, partialStateEvents } from '../../src/store/rooms.js';
import { localMembership } from '../../src/store/timeline.js';
import { BOB, HS3_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner, membersOf } from './joiner.js';

const HS2 = 'hs2' as ServerName;
const HS1 = 'hs1' as ServerName;
const DAN = '@dan:hs2' as UserId;

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

/** Runs a resync that is at `/event` (the whole state is stored by then) when `then` is called. */
async function resyncUntilStored(then: () => Promise<unknown>): Promise<Resyncs> {
  const resyncs = new Resyncs(joiner.server, () => undefined);
  joiner.onTimelineEvent = (room) => resyncs.pauseWhereLeft(room);
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
    joiner.onTimelineEvent = (room) => resyncs.pauseWhereLeft(room);
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
      const uri = `/_matrix/federation/v1/event/${encodeURIComponent(eventId)}`;
      const { body } = await resident.call('GET', uri, { as: HS3_KEY });
      await joiner.receive(HS1, (body.pdus as JsonObject[])[0] as JsonObject);
    };
    await kick(BOB);
    expect(joiner.room().residency).toBe('partial-state');
    await leave(DAN);
    expect(joiner.room().residency).toBe('paused');
  });
});
