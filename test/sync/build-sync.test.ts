import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { sendEvent } from '../../src/room/send-event.js';
import type { SyncAnswer } from '../../src/sync/build-sync.js';
import { buildSync, parseSyncToken, syncToken } from '../../src/sync/build-sync.js';
import { BOB, HS3_KEY, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner } from '../partial-state/joiner.js';

const CAROL = '@carol:hs3';

let resident: ServedRoom;
let joiner: Joiner;

beforeEach(async () => {
  resident = new ServedRoom();
  joiner = new Joiner(resident);
  await resident.createRoom();
  // A room with a name has no heroes, so that a partial join gets no members.
  await resident.send('m.room.name', '', { name: 'A room' });
  await resident.join(HS3_KEY, CAROL);
  await joiner.join();
});

afterEach(async () => {
  await joiner.close();
  await resident.close();
});

function sync(lazyLoadMembers: boolean, since?: number): SyncAnswer {
  return buildSync(joiner.store, { userId: BOB, since, lazyLoadMembers, timelineLimit: 10 });
}

function positionOf({ body }: SyncAnswer): number {
  const position = parseSyncToken(String(body.next_batch));
  if (position === undefined) throw new Error(`${body.next_batch} is no token`);
  return position;
}

interface Section {
  readonly timeline: { readonly events: readonly JsonObject[]; readonly limited: boolean };
  readonly state: { readonly events: readonly JsonObject[] };
}

function section({ body }: SyncAnswer): Section | undefined {
  const rooms = body.rooms as unknown as { readonly join: Readonly<Record<string, Section>> };
  return rooms.join[ROOM];
}

function membersIn(found: Section | undefined): unknown[] {
  const events = [...(found?.state.events ?? []), ...(found?.timeline.events ?? [])];
  return events.filter(({ type }) => type === 'm.room.member').map(({ state_key: user }) => user);
}

function say(body: string) {
  const content = { msgtype: 'm.text', body };
  return sendEvent(joiner.server, ROOM, { type: 'm.room.message', sender: BOB, stateKey: undefined, content });
}

describe('a room with partial state in /sync', () => {
  it('is there at once with lazy loading, with its state and the members of its timeline', () => {
    const found = section(sync(true));
    const types = found?.state.events.map(({ type }) => type);
    expect(types).toEqual(expect.arrayContaining(['m.room.create', 'm.room.power_levels', 'm.room.name']));
    expect(membersIn(found)).toContain(BOB);
    expect(membersIn(found)).not.toContain(CAROL);
  });

  it('is absent without lazy loading, and arrives as newly joined when its state is full', async () => {
    const before = sync(false);
    expect([section(before), before.isEmpty]).toEqual([undefined, true]);
    await joiner.resync();
    const found = section(sync(false, positionOf(before)));
    expect(new Set(membersIn(found))).toEqual(new Set(['@alice:hs1', BOB, CAROL]));
    expect(found?.state.events.map(({ type }) => type)).toContain('m.room.create');
  });

  it('brings what is sent in it, once', async () => {
    const first = sync(true);
    expect(sync(true, positionOf(first)).isEmpty).toBe(true);
    const eventId = await say('hello');
    const second = sync(true, positionOf(first));
    expect(section(second)?.timeline.events.map(({ event_id: id }) => id)).toEqual([eventId]);
    expect(sync(true, positionOf(second)).isEmpty).toBe(true);
  });
});

describe('a sync token', () => {
  it('is read back as the position it was made of, and nothing else is read', () => {
    expect(parseSyncToken(syncToken(42))).toBe(42);
    expect(['', 's', 's-1', '42', 's1.5', `s${'9'.repeat(16)}`].map(parseSyncToken)).toEqual(Array(6).fill(undefined));
  });
});
