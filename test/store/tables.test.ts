/** Timeline, rooms, queues, users: what survives, in which order, and what is never stored in clear. */

import { describe, expect, it } from 'vitest';
import type { EventId, KeyId, RoomId, ServerName, UserId } from '../../src/kernel/matrix/ids.js';
import type { Membership } from '../../src/store/event-record.js';
import type { EventNid, RoomNid, StateGroupNid, StreamPosition } from '../../src/store/nids.js';
import * as rooms from '../../src/store/rooms.js';
import { putServerKey, serverKey } from '../../src/store/server-keys.js';
import type { TableName } from '../../src/store/tables.js';
import { TABLES } from '../../src/store/tables.js';
import * as timeline from '../../src/store/timeline.js';
import * as transactions from '../../src/store/transactions.js';
import * as users from '../../src/store/users.js';
import { temporaryStore } from './temporary-store.js';

const store = temporaryStore();
const room = 1 as RoomNid;
const otherRoom = 2 as RoomNid;
const [a, b, c] = ['a.test', 'b.test', 'c.test'] as [ServerName, ServerName, ServerName];
const alice = '@alice:a.test' as UserId;
const nid = (number: number) => number as EventNid;

describe('the timeline', () => {
  it('gives the newest events of a room within a range, oldest first', () => {
    expect(timeline.streamPosition(store)).toBe(0);
    store.write((writer) => {
      for (let i = 1; i <= 8; i++) timeline.appendToStream(writer, i % 2 === 1 ? room : otherRoom, nid(100 + i));
    });
    const events = (after: number, upTo: number, limit: number) =>
      timeline.roomTimeline(store, room, { after, upTo, limit }).map(({ event }) => event - 100);
    expect(timeline.streamPosition(store)).toBe(8);
    expect(events(0, 8, 10)).toEqual([1, 3, 5, 7]);
    expect(events(1, 7, 10)).toEqual([3, 5, 7]);
    expect(events(0, 6, 2)).toEqual([3, 5]);
    expect(events(7, 8, 10)).toEqual([]);
    expect([...timeline.roomsInStream(store, 7, 8)]).toEqual([otherRoom]);
    expect([...timeline.roomsInStream(store, 8, 8)]).toEqual([]);
  });

  it('keeps the state around an event, its prev_events and the memberships of our users', () => {
    const context = { before: 3 as StateGroupNid, after: 4 as StateGroupNid };
    store.write((writer) => {
      timeline.putEventContext(writer, nid(101), context);
      timeline.putEventPrevs(writer, nid(101), [nid(7), nid(5)]);
      for (const r of [otherRoom, room]) {
        timeline.putLocalMembership(writer, alice, r, { membership: 'join', event: nid(1), position: 1 as never });
      }
      timeline.putLocalMembership(writer, '@alice2:a.test' as UserId, room, {
        membership: 'ban',
        event: nid(2),
        position: 2 as never,
      });
    });
    expect(timeline.eventContext(store, nid(101))).toEqual(context);
    expect(timeline.eventContext(store, nid(102))).toBeUndefined();
    expect(timeline.eventPrevs(store, nid(101))).toEqual([7, 5]);
    expect(timeline.eventPrevs(store, nid(102))).toEqual([]);
    expect([...timeline.localMemberships(store, alice)].map(([r]) => r)).toEqual([room, otherRoom]);
  });
});

describe('the membership of one of our users', () => {
  const user = '@stays:a.test' as UserId;
  const put = (membership: Membership, position: number) =>
    store.write((writer) => {
      const now = { membership, event: nid(position), position: position as StreamPosition };
      timeline.putLocalMembership(writer, user, room, now);
      return timeline.localMembership(writer, user, room);
    });

  it('knows where the last stay began and what ended it', () => {
    expect(put('invite', 1)).toEqual({
      membership: 'invite',
      event: 1,
      position: 1,
      joinedAt: undefined,
      left: undefined,
    });
    expect(put('leave', 2)).toMatchObject({ joinedAt: undefined, left: undefined });
    expect(put('join', 3)).toMatchObject({ joinedAt: 3, left: undefined });
    expect(put('join', 4)).toMatchObject({ membership: 'join', event: 4, position: 4, joinedAt: 3, left: undefined });
    expect(put('leave', 5)).toMatchObject({ joinedAt: 3, left: { event: 5, position: 5 } });
    expect(put('ban', 6)).toMatchObject({ membership: 'ban', joinedAt: 3, left: { event: 5, position: 5 } });
    expect(put('join', 7)).toMatchObject({ joinedAt: 7, left: undefined });
  });
});

describe('rooms', () => {
  const row: rooms.RoomRow = {
    roomId: '!r:a.test' as RoomId,
    version: '11',
    residency: 'partial-state',
    createNid: nid(1),
    currentGroup: 2 as StateGroupNid,
    extremities: [nid(5), nid(6)],
  };

  it('come back as they were put, with their rules', () => {
    const made = store.write((writer) => {
      const fresh = rooms.internRoom(writer, row.roomId);
      expect(rooms.internRoom(writer, row.roomId)).toBe(fresh);
      expect(rooms.loadRoom(writer, row.roomId)).toBeUndefined();
      rooms.putRoom(writer, fresh, row);
      return fresh;
    });
    expect(rooms.loadRoom(store, row.roomId)).toMatchObject({ ...row, nid: made, rules: { version: '11' } });
    expect([...rooms.allRooms(store)].map(({ roomId }) => roomId)).toEqual([row.roomId]);
    expect(rooms.loadRoom(store, '!other:a.test' as RoomId)).toBeUndefined();
  });

  it('keep what has to survive a restart while their state is partial', () => {
    const partial: rooms.PartialStateRow = {
      joinNid: nid(9),
      joinedVia: b,
      servers: [b, c],
      deviceListPosition: 4,
      attempts: 1,
      nextTryTs: 5,
      lastFailure: undefined,
    };
    store.write((writer) => {
      rooms.putPartialState(writer, room, partial);
      for (const event of [300, 9, 70_000]) rooms.markPartialStateEvent(writer, room, nid(event));
      rooms.markPartialStateEvent(writer, otherRoom, nid(10));
      rooms.clearPartialStateEvent(writer, room, nid(300));
    });
    expect(rooms.loadPartialState(store, room)).toEqual(partial);
    expect(rooms.partialStateEvents(store, room)).toEqual([9, 70_000]);
    expect([300, 9].map((event) => rooms.isPartialStateEvent(store, room, nid(event)))).toEqual([false, true]);
    store.write((writer) => rooms.removePartialState(writer, room));
    expect(rooms.loadPartialState(store, room)).toBeUndefined();
  });

  it('count the joined members of each server and forget a server at none', () => {
    const add = (...changes: [ServerName, number][]) =>
      store.write((writer) => rooms.addJoinedCounts(writer, room, new Map(changes)));
    add([a, 2], [b, 1], [c, 0]);
    add([a, -1], [b, -1]);
    expect([...rooms.joinedServers(store, room)]).toEqual([[a, 1]]);
    expect([a, b, c].map((server) => rooms.isServerJoined(store, room, server))).toEqual([true, false, false]);
    expect([...rooms.joinedServers(store, otherRoom)]).toEqual([]);
  });

  it('keep why an event was refused', () => {
    const refusal = { verdict: 'dropped', code: 'bad-signature', reason: 'x' } as const;
    store.write((writer) => {
      rooms.putRefusal(writer, room, '$x', refusal);
      rooms.putRefusal(writer, room, '$y', refusal);
      rooms.removeRefusal(writer, room, '$y');
    });
    expect([...rooms.refusals(store, room)]).toEqual([['$x', refusal]]);
  });
});

describe('transactions', () => {
  it('wait for each destination in the order of sending, until they are taken off', () => {
    store.write((writer) => {
      for (const event of [9, 3, 7]) transactions.queueEvent(writer, [a, b], nid(event));
      transactions.queueEvent(writer, [b], nid(1));
    });
    const waiting = (server: ServerName, limit = 50) => transactions.queuedEvents(store, server, limit);
    expect(waiting(b).map(({ event }) => event)).toEqual([9, 3, 7, 1]);
    expect(waiting(b, 2).map(({ event }) => event)).toEqual([9, 3]);
    store.write((writer) => transactions.removeQueuedEvents(writer, b, waiting(b, 3)));
    expect(waiting(b).map(({ event }) => event)).toEqual([1]);
    expect(waiting(a).length).toBe(3);
    expect([...transactions.queuedDestinations(store)]).toEqual([a, b]);
  });

  it('are answered the same when they are repeated', () => {
    store.write((writer) => transactions.putInboundTransaction(writer, a, 'txn', { $x: {} }));
    expect(transactions.inboundTransaction(store, a, 'txn')).toEqual({ $x: {} });
    expect(transactions.inboundTransaction(store, b, 'txn')).toBeUndefined();
  });

  it('remember which destination is down', () => {
    store.write((writer) => transactions.putDestination(writer, a, { failures: 3, nextTryTs: 9 }));
    expect(transactions.loadDestination(store, a)).toEqual({ failures: 3, nextTryTs: 9 });
    store.write((writer) => transactions.removeDestination(writer, a));
    expect(transactions.loadDestination(store, a)).toBeUndefined();
  });
});

describe('users', () => {
  const TOKEN = 'joinery_secret_token_0123456789';
  const row: users.TokenRow = { userId: alice, deviceId: 'DEVICE' };

  it('are known by their token, which is stored only as its hash', () => {
    store.write((writer) => {
      users.putUser(writer, alice, { passwordHash: '$argon2id$x', createdTs: 1 });
      users.putAccessToken(writer, TOKEN, row);
      users.putClientTransaction(writer, row, 'txn', '$x' as EventId);
    });
    expect(users.loadAccessToken(store, TOKEN)).toEqual(row);
    expect(users.loadAccessToken(store, `${TOKEN}x`)).toBeUndefined();
    const everything: string[] = [];
    for (const name of Object.keys(TABLES) as TableName[]) {
      for (const { key, value } of store.tables[name].getRange({})) {
        for (const part of [key, value]) {
          everything.push(Buffer.isBuffer(part) ? part.toString('latin1') : JSON.stringify(part));
        }
      }
    }
    const text = everything.join('\n');
    expect(text).toContain('DEVICE');
    expect(text).not.toContain(TOKEN);
    expect(text).not.toContain(Buffer.from(TOKEN).toString('base64').slice(0, 20));
    expect(store.write((writer) => users.removeAccessToken(writer, TOKEN))).toBe(true);
    expect(users.loadAccessToken(store, TOKEN)).toBeUndefined();
  });

  it('have filters and repeated sends of their own', () => {
    const ids = store.write((writer) => [
      users.putFilter(writer, alice, { room: {} }),
      users.putFilter(writer, alice, {}),
    ]);
    expect(ids).toEqual(['1', '2']);
    expect(users.loadFilter(store, alice, '1')).toEqual({ room: {} });
    expect(users.loadFilter(store, '@bob:a.test' as UserId, '1')).toBeUndefined();
    expect(users.clientTransaction(store, row, 'txn')).toBe('$x');
    expect(users.clientTransaction(store, { ...row, deviceId: 'OTHER' }, 'txn')).toBeUndefined();
    expect(users.loadUser(store, alice)).toEqual({ passwordHash: '$argon2id$x', createdTs: 1 });
  });

  it('see no key of another server but those put', () => {
    const key = { publicKey: Buffer.alloc(32, 1), validUntilTs: 5, expired: false };
    store.write((writer) => putServerKey(writer, a, 'ed25519:1' as KeyId, key));
    expect(serverKey(store, a, 'ed25519:1' as KeyId)).toEqual(key);
    expect(serverKey(store, b, 'ed25519:1' as KeyId)).toBeUndefined();
  });
});
