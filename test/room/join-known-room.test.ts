import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { joinKnownRoom } from '../../src/room/join/join-known-room.js';
import { sendEvent } from '../../src/room/send-event.js';
import { loadRoom, partialStateEvents } from '../../src/store/rooms.js';
import { localMembership } from '../../src/store/timeline.js';
import { BOB, HS3_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner, membersOf } from '../partial-state/joiner.js';

const HS1 = 'hs1' as ServerName;
const DORA = '@dora:hs2' as UserId;
const CAROL = '@carol:hs3';

let resident: ServedRoom;
let joiner: Joiner;
/** Queries of `send_join`, as asked. */
let queries: unknown[];

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  await resident.join(HS3_KEY, CAROL);
  await joiner.join();
  joiner.asked.length = 0;
  queries = [];
  joiner.intercept = (_server, request) => {
    if (request.path.includes('/send_join/')) queries.push(request.query);
    return undefined;
  };
});

afterEach(async () => {
  await joiner.close();
  await resident.close();
});

function join(userId = DORA, candidates: readonly ServerName[] = [HS1]): Promise<void> {
  return joinKnownRoom(joiner.server, {
    roomId: ROOM,
    userId,
    candidates,
    profile: { displayname: 'D' },
    partial: true,
  });
}

function standing(userId: UserId) {
  return localMembership(joiner.store, userId, joiner.room().nid)?.membership;
}

function residentMembers(): string[] {
  const room = loadRoom(resident.store, ROOM);
  return room === undefined ? [] : membersOf(resident.server, room);
}

function leave(userId: UserId) {
  const content = { membership: 'leave' };
  return sendEvent(joiner.server, ROOM, { type: 'm.room.member', sender: userId, stateKey: userId, content });
}

describe('another user joining a room with partial state', () => {
  it('joins through the resident without members, and both users are in the room', async () => {
    await join();
    expect(joiner.asked).toEqual(['hs1 make_join', 'hs1 send_join']);
    expect(queries).toEqual([[['omit_members', 'true']]]);
    expect(joiner.members()).toEqual(expect.arrayContaining([`${BOB} join`, `${DORA} join`]));
    expect([joiner.room().residency, standing(DORA)]).toEqual(['partial-state', 'join']);
    expect(residentMembers()).toContain(`${DORA} join`);
    expect(partialStateEvents(joiner.store, joiner.room().nid)).toHaveLength(2);
    expect(await joiner.resync()).toBe(true);
    expect(joiner.members()).toEqual(residentMembers());
    expect(joiner.asked.filter((line) => line === 'hs1 state_ids')).toHaveLength(1);
  });

  it('stands on what we hold and on the answer where the join names an event that we lack', async () => {
    await resident.send('m.room.topic', '', { topic: 'not pushed to us' });
    await join();
    expect(joiner.members()).toEqual(expect.arrayContaining([`${BOB} join`, `${DORA} join`]));
    expect(await joiner.resync()).toBe(true);
    expect(joiner.members()).toEqual(residentMembers());
    // Once for what each join stands on.
    expect(joiner.asked.filter((line) => line === 'hs1 state_ids')).toHaveLength(2);
    expect(partialStateEvents(joiner.store, joiner.room().nid)).toEqual([]);
    await leave(DORA);
  });

  it('may come while the resynchronisation runs, which then asks for what that join stands on', async () => {
    let joined: Promise<void> | undefined;
    joiner.intercept = async (_server, { path }) => {
      if (path.includes('/event/') && joined === undefined) {
        await resident.send('m.room.topic', '', { topic: 'not pushed to us' });
        joined = join();
        await joined;
      }
      return undefined;
    };
    expect(await joiner.resync()).toBe(true);
    expect(joiner.asked.filter((line) => line === 'hs1 state_ids')).toHaveLength(2);
    expect(joiner.members()).toEqual(residentMembers());
    expect(joiner.room().residency).toBe('full-state');
  });

  it('adds the servers of the answer to those that are known', async () => {
    joiner.intercept = async (_server, { path }, real) => {
      if (!path.includes('/send_join/')) return undefined;
      return { ...((await real()) as JsonObject), servers_in_room: ['hs1', 'hs9'] };
    };
    await join();
    expect(joiner.partialRow()?.servers.toSorted()).toEqual(['hs1', 'hs3', 'hs9']);
  });

  it('needs no server to be named: those in the room are asked', async () => {
    await join(DORA, []);
    expect(standing(DORA)).toBe('join');
  });

  it('is refused where the room refuses, and leaves nothing behind', async () => {
    await resident.send('m.room.member', DORA, { membership: 'ban' });
    await expect(join()).rejects.toMatchObject({ status: 403, errcode: 'M_FORBIDDEN' });
    expect(standing(DORA)).toBeUndefined();
    expect(joiner.members()).not.toContain(`${DORA} join`);
  });

  it('is an event of our own where the state became full meanwhile and the answer would be needed', async () => {
    await resident.send('m.room.topic', '', { topic: 'not pushed to us' });
    joiner.intercept = async (_server, { path }, real) => {
      if (!path.includes('/send_join/')) return undefined;
      const answer = await real();
      joiner.intercept = () => undefined;
      expect(await joiner.resync()).toBe(true);
      return answer;
    };
    await join();
    expect([joiner.room().residency, standing(DORA)]).toEqual(['full-state', 'join']);
    expect(partialStateEvents(joiner.store, joiner.room().nid)).toEqual([]);
    expect(joiner.members()).toEqual(expect.arrayContaining([`${BOB} join`, `${CAROL} join`, `${DORA} join`]));
  });
});

describe('another user joining a room with full state', () => {
  beforeEach(async () => {
    await joiner.resync();
    joiner.asked.length = 0;
  });

  it('joins by an event of our own', async () => {
    await join();
    expect([joiner.asked, standing(DORA)]).toEqual([[], 'join']);
  });

  it('asks others for all of its state when all of our users had left', async () => {
    await leave(BOB);
    await resident.send('m.room.topic', '', { topic: 'while away' });
    await join();
    expect(queries).toEqual([[['omit_members', 'false']]]);
    expect([joiner.room().residency, standing(DORA)]).toEqual(['full-state', 'join']);
    expect(joiner.members()).toEqual(expect.arrayContaining([`${CAROL} join`, `${DORA} join`]));
  });
});
