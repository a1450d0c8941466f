import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { loadRoom } from '../../src/store/rooms.js';
import { HS3_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner, membersOf } from './joiner.js';

const HS1 = 'hs1' as ServerName;

let resident: ServedRoom;
let joiner: Joiner;

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  await resident.send('m.room.name', '', { name: 'A room' });
  for (const user of ['@carol:hs3', '@dave:hs3']) await resident.join(HS3_KEY, user);
});

afterEach(async () => {
  await joiner.close();
  await resident.close();
});

describe('a join or a resynchronisation that has to be made again', () => {
  it('tries again later where the disk is full, also for the schedule itself', async () => {
    await joiner.join();
    const { store } = joiner.server;
    const full = (): never => {
      throw new Error('no space left on device');
    };
    Object.assign(joiner.server, { store: { ...store, write: full, writeInBackground: async () => full() } });
    expect(await joiner.resync()).toBe(false);
    Object.assign(joiner.server, { store });
    expect(joiner.room().residency).toBe('partial-state');
    expect(await joiner.resync()).toBe(true);
    const room = loadRoom(resident.store, ROOM);
    expect(joiner.members()).toEqual(room === undefined ? [] : membersOf(resident.server, room));
  });

  it('verifies and stores nothing again that it had, in the join or in an attempt before', async () => {
    await joiner.join();
    const progress = joiner.server.progressOf(ROOM);
    let fetched = 0;
    joiner.intercept = (_, { path }) => {
      if (!path.includes('/event/')) return undefined;
      fetched += 1;
      throw new RemoteError('timeout', HS1, 'gone after the state had come');
    };
    expect(await joiner.resync()).toBe(false);
    expect(fetched).toBeGreaterThan(0);
    expect(progress.repeatedEvents).toBeGreaterThan(0);
    expect(progress.verifiedSignatures).toBe(progress.storedEvents);
    const before = { ...progress };
    joiner.intercept = () => undefined;
    expect(await joiner.resync()).toBe(true);
    expect(progress.verifiedSignatures - before.verifiedSignatures).toBe(progress.storedEvents - before.storedEvents);
    expect(progress.storedEvents).toBe(before.storedEvents);
  });

  it('verifies nothing again that an answer to send_join brought which was lost in a crash', async () => {
    joiner.intercept = async (_, { path }, real) => {
      if (!path.includes('/send_join/')) return undefined;
      return { ...((await real()) as JsonObject), servers_in_room: [] };
    };
    await expect(joiner.join()).rejects.toThrow(/servers_in_room/);
    const { verifiedSignatures, storedEvents } = joiner.server.progressOf(ROOM);
    expect(storedEvents).toBeGreaterThan(3);
    joiner.intercept = () => undefined;
    await joiner.join();
    const progress = joiner.server.progressOf(ROOM);
    // The first join of ours is part of the room by now.
    expect(progress.storedEvents - storedEvents).toBeLessThanOrEqual(1);
    expect(progress.verifiedSignatures - verifiedSignatures).toBe(progress.storedEvents - storedEvents);
    expect(joiner.room().residency).toBe('partial-state');
  });
});
