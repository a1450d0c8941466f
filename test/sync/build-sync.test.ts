import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EventId, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { sendEvent } from '../../src/room/send-event.js';
import { eventIdOfNid } from '../../src/store/events.js';
import type { StateKeyNid } from '../../src/store/nids.js';
import { NO_EVENT } from '../../src/store/nids.js';
import { loadRoom, putRoom } from '../../src/store/rooms.js';
import { changeStateGroup, stateEvent, stateKeyNidOf } from '../../src/store/state-groups.js';
import type { SyncRequest } from '../../src/sync/build-sync.js';
import { buildSync } from '../../src/sync/build-sync.js';
import { MemberCounter } from '../../src/sync/count-members.js';
import { parseSyncFilter } from '../../src/sync/sync-filter.js';
import { parseSyncToken, syncToken } from '../../src/sync/sync-token.js';
import { BOB, HS3_KEY, NOW, ROOM, ServedRoom } from '../api/federation/served-room.js';
import { Joiner } from '../partial-state/joiner.js';

const CAROL = '@carol:hs3';
const DORA = '@dora:hs2' as UserId;

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

interface Answer {
  readonly body: JsonObject;
  readonly isEmpty: boolean;
}

/** A filter of ten events and members loaded lazily, but for what is given. */
function filterOf({
  timeline = {},
  state = {},
  ...room
}: {
  timeline?: JsonObject;
  state?: JsonObject;
  [name: string]: JsonValue | undefined;
}) {
  return parseSyncFilter({
    room: {
      state: { lazy_load_members: true, ...state },
      timeline: { limit: 10, ...timeline },
      ...(room as JsonObject),
    },
  });
}

async function syncOf(request: Partial<SyncRequest>): Promise<Answer> {
  const whole = {
    userId: BOB,
    since: undefined,
    filter: filterOf({}),
    ...request,
  };
  const { chunks, isEmpty } = await buildSync(joiner.server, new MemberCounter(joiner.store), whole);
  return { body: JSON.parse(Buffer.concat(chunks).toString('utf8')) as JsonObject, isEmpty };
}

function sync(lazyLoadMembers: boolean, since?: number): Promise<Answer> {
  return syncOf({ since, filter: filterOf({ state: { lazy_load_members: lazyLoadMembers } }) });
}

function positionOf({ body }: Answer): number {
  const position = parseSyncToken(String(body.next_batch));
  if (position === undefined) throw new Error(`${body.next_batch} is no token`);
  return position;
}

interface Section {
  readonly timeline: { readonly events: readonly JsonObject[]; readonly limited: boolean };
  readonly state: { readonly events: readonly JsonObject[] };
  readonly summary?: JsonObject;
}

function section({ body }: Answer, list = 'join'): Section | undefined {
  const rooms = body.rooms as unknown as Readonly<Record<string, Readonly<Record<string, Section>>>>;
  return rooms[list]?.[ROOM];
}

function membersIn(found: Section | undefined): unknown[] {
  const events = [...(found?.state.events ?? []), ...(found?.timeline.events ?? [])];
  return events.filter(({ type }) => type === 'm.room.member').map(({ state_key: user }) => user);
}

function say(body: string) {
  const content = { msgtype: 'm.text', body };
  return sendEvent(joiner.server, ROOM, { type: 'm.room.message', sender: BOB, stateKey: undefined, content });
}

/** A membership, or any other state event, of one of hs2's users. */
function sendState(type: string, stateKey: string, content: JsonObject, sender = BOB) {
  return sendEvent(joiner.server, ROOM, { type, sender, stateKey, content });
}

function typesIn(events: readonly JsonObject[] | undefined): unknown[] {
  return (events ?? []).map(({ type }) => type);
}

describe('a room with partial state in /sync', () => {
  it('is there at once with lazy loading, with its state and the members of its timeline, and without a summary', async () => {
    const found = section(await sync(true));
    expect(typesIn(found?.state.events)).toEqual(
      expect.arrayContaining(['m.room.create', 'm.room.power_levels', 'm.room.name']),
    );
    expect(membersIn(found)).toContain(BOB);
    expect(membersIn(found)).not.toContain(CAROL);
    expect(found?.summary).toEqual({});
  });

  it('is absent without lazy loading, and arrives as newly joined when its state is full', async () => {
    const before = await sync(false);
    expect([section(before), before.isEmpty]).toEqual([undefined, true]);
    await joiner.resync();
    const found = section(await sync(false, positionOf(before)));
    expect(new Set(membersIn(found))).toEqual(new Set(['@alice:hs1', BOB, CAROL]));
    expect(typesIn(found?.state.events)).toContain('m.room.create');
    expect(found?.summary).toEqual({ 'm.joined_member_count': 3, 'm.invited_member_count': 0 });
  });

  it('brings what is sent in it, once', async () => {
    const first = await sync(true);
    expect((await sync(true, positionOf(first))).isEmpty).toBe(true);
    const eventId = await say('hello');
    const second = await sync(true, positionOf(first));
    expect(section(second)?.timeline.events.map(({ event_id: id }) => id)).toEqual([eventId]);
    expect((await sync(true, positionOf(second))).isEmpty).toBe(true);
  });

  it('brings a membership that was believed as it is in truth when its state is full, and the summary', async () => {
    // The resident bans Carol; her message on a join from before the ban is believed while the ban is not known.
    const other = new Joiner(resident);
    const membership = memberEvent(CAROL);
    await resident.send('m.room.member', CAROL, { membership: 'ban' });
    await joiner.close();
    joiner = other;
    await joiner.join();
    await joiner.receive(HS3_KEY.serverName, messageOfCarol(membership));
    const before = await sync(true);
    const told = (found: Section | undefined) =>
      found?.state.events.filter(({ state_key: user }) => user === CAROL).map(({ content }) => content);
    expect(told(section(before))).toEqual([{ membership: 'join' }]);
    expect(section(before)?.summary).toEqual({});
    await joiner.resync();
    const after = await sync(true, positionOf(before));
    expect(after.isEmpty).toBe(false);
    expect(section(after)?.timeline.events).toEqual([]);
    expect(section(after)?.summary).toEqual({ 'm.joined_member_count': 2, 'm.invited_member_count': 0 });
    expect(told(section(after))).toEqual([{ membership: 'ban' }]);
    expect((await sync(true, positionOf(after))).isEmpty).toBe(true);
  });
});

describe('a room with full state in /sync', () => {
  beforeEach(() => joiner.resync());

  it('is not sent whole again when the user changes their profile', async () => {
    const first = await sync(true);
    await sendState('m.room.member', BOB, { membership: 'join', displayname: 'Bob' });
    for (const lazy of [true, false]) {
      const found = section(await sync(lazy, positionOf(first)));
      expect(typesIn(found?.state.events)).toEqual(lazy ? ['m.room.member'] : []);
      expect(new Set(membersIn(found))).toEqual(new Set([BOB]));
      expect(found?.summary).toMatchObject({ 'm.joined_member_count': 3 });
    }
  });

  it('brings the memberships of a gap, though members are loaded lazily', async () => {
    const first = await sync(true);
    await sendState('m.room.member', DORA, { membership: 'join' }, DORA);
    for (const body of ['one', 'two']) await say(body);
    const answer = await syncOf({ since: positionOf(first), filter: filterOf({ timeline: { limit: 1 } }) });
    const found = section(answer);
    expect([found?.timeline.limited, found?.timeline.events.length]).toEqual([true, 1]);
    expect(new Set(membersIn(found))).toEqual(new Set([BOB, DORA]));
    expect(found?.summary).toEqual({ 'm.joined_member_count': 4, 'm.invited_member_count': 0 });
  });

  it('has heroes where it has no name, and their memberships', async () => {
    await resident.send('m.room.member', '@erin:hs3', { membership: 'invite' });
    await sendState('m.room.member', DORA, { membership: 'join' }, DORA);
    const since = positionOf(await sync(true));
    await sendState('m.room.member', DORA, { membership: 'leave' }, DORA);
    expect(section(await sync(true, since))?.summary).not.toHaveProperty('m.heroes');
    const row = joiner.room();
    const place = stateKeyNidOf(joiner.store, row.nid, 'm.room.name', '') as StateKeyNid;
    joiner.store.write((writer) =>
      putRoom(writer, row.nid, {
        ...row,
        currentGroup: changeStateGroup(writer, row.currentGroup, [[place, NO_EVENT]]),
      }),
    );
    const found = section(await sync(true));
    expect(new Set(found?.summary?.['m.heroes'] as string[])).toEqual(new Set(['@alice:hs1', CAROL]));
    expect(membersIn(found)).toEqual(expect.arrayContaining(['@alice:hs1', CAROL, BOB]));
  });

  it('is among rooms.leave once when the user has left, and in a first sync only when that is asked for', async () => {
    const first = await sync(true);
    await say('before');
    await sendState('m.room.member', BOB, { membership: 'leave' });
    await resident.send('m.room.topic', '', { topic: 'after' });
    const second = await sync(true, positionOf(first));
    expect(section(second)).toBeUndefined();
    expect(typesIn(section(second, 'leave')?.timeline.events)).toEqual(['m.room.message', 'm.room.member']);
    expect(section(second, 'leave')?.state.events.map(({ state_key: key }) => key)).toEqual([BOB]);
    expect((await sync(true, positionOf(second))).isEmpty).toBe(true);
    expect((await sync(true)).isEmpty).toBe(true);
    const withLeft = await syncOf({ filter: filterOf({ include_leave: true }) });
    expect(typesIn(section(withLeft, 'leave')?.timeline.events).slice(-1)).toEqual(['m.room.member']);
  });

  it('is among rooms.invite with stripped state, and after a refusal among rooms.leave with nothing but that', async () => {
    const nothing = await syncOf({ userId: DORA });
    await sendState('m.room.member', DORA, { membership: 'invite' });
    const invited = await syncOf({ userId: DORA, since: positionOf(nothing) });
    const { invite_state: state } = section(invited, 'invite') as unknown as { invite_state: { events: JsonObject[] } };
    expect(typesIn(state.events)).toEqual([
      'm.room.create',
      'm.room.name',
      'm.room.join_rules',
      'm.room.member',
      'm.room.member',
    ]);
    expect(Object.keys(state.events[0] ?? {}).sort()).toEqual(['content', 'sender', 'state_key', 'type']);
    expect((await syncOf({ userId: DORA, since: positionOf(invited) })).isEmpty).toBe(true);
    await sendState('m.room.member', DORA, { membership: 'leave' }, DORA);
    const left = section(await syncOf({ userId: DORA, since: positionOf(invited) }), 'leave');
    expect([left?.timeline.events.map(({ content }) => content), left?.state.events]).toEqual([
      [{ membership: 'leave' }],
      [],
    ]);
  });

  it('has its large state written by the workers, the same as a small one', async () => {
    for (let n = 0; n < 140; n++) await resident.send('org.example.fact', `${n}`, { n });
    const other = new Joiner(resident);
    try {
      await other.join();
      await other.resync();
      const before = other.server.pool.stats().completed;
      const request = { userId: BOB, since: undefined, filter: filterOf({ state: { lazy_load_members: false } }) };
      const { chunks } = await buildSync(other.server, new MemberCounter(other.store), request);
      expect(other.server.pool.stats().completed).toBe(before + 1);
      const found = section({ body: JSON.parse(Buffer.concat(chunks).toString('utf8')) as JsonObject, isEmpty: false });
      expect(typesIn(found?.state.events).filter((type) => type === 'org.example.fact')).toHaveLength(140);
    } finally {
      await other.close();
    }
  });
});

describe('a sync token', () => {
  it('is read back as the position it was made of, and nothing else is read', () => {
    expect(parseSyncToken(syncToken(42))).toBe(42);
    expect(['', 's', 's-1', '42', 's1.5', `s${'9'.repeat(16)}`].map(parseSyncToken)).toEqual(Array(6).fill(undefined));
  });
});

function stateEventId(type: string, stateKey: string): EventId {
  const room = loadRoom(resident.store, ROOM);
  if (room === undefined) throw new Error(`no room ${ROOM}`);
  return eventIdOfNid(resident.store, stateEvent(resident.store, room.nid, room.currentGroup, type, stateKey));
}

function memberEvent(userId: string): EventId {
  return stateEventId('m.room.member', userId);
}

/** A message of Carol's on our join, with a membership among its auth events. */
function messageOfCarol(membership: EventId): JsonObject {
  const row = joiner.partialRow();
  const rules = roomVersionRules('11');
  if (row === undefined || rules === undefined) throw new Error('no partial room of version 11');
  const message = {
    type: 'm.room.message',
    room_id: ROOM,
    sender: CAROL,
    content: { body: 'believed' },
    auth_events: [stateEventId('m.room.create', ''), stateEventId('m.room.power_levels', ''), membership],
    prev_events: [eventIdOfNid(joiner.store, row.joinNid)],
    depth: 50,
    origin_server_ts: NOW,
  };
  return hashAndSignPdu(rules, message, HS3_KEY).json;
}
