/** The checkAuthBatch job on a stored room. */

import { describe, expect, it } from 'vitest';
import { type SignedRoom, signedRoom } from '../../bench/signed-room.js';
import { storeRoom } from '../../bench/stored-room.js';
import type { EventId, RoomId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { fillRecordNids } from '../../src/store/event-record.js';
import type { EventNid, RoomNid } from '../../src/store/nids.js';
import { NO_EVENT } from '../../src/store/nids.js';
import { AuthOutcome, checkAuthBatch } from '../../src/workers/jobs/check-auth-batch.js';
import { WorkerContext } from '../../src/workers/worker-context.js';
import { temporaryStore } from '../store/temporary-store.js';

const good = signedRoom(5, 2);
const [create, , power, rule] = good.events.map(({ eventId }) => eventId) as [EventId, EventId, EventId, EventId];
const template = good.events.at(-1)!.json;

/** An event of user 1 (on server s1.test). */
function send(change: JsonObject) {
  const unsigned = { ...template, hashes: undefined, signatures: undefined, sender: '@u1:s1.test', ...change };
  return hashAndSignPdu(good.rules, unsigned, good.keys[1]!);
}
const joined = good.events[4]!.eventId;
const added = [
  send({ type: 'm.room.topic', state_key: '', content: { topic: 'x' }, auth_events: [create, power, joined] }),
  send({
    type: 'm.room.member',
    state_key: '@u9:s1.test',
    content: { membership: 'ban' },
    auth_events: [create, power, joined],
  }),
  send({
    type: 'm.room.member',
    state_key: '@u1:s1.test',
    content: { membership: 'leave' },
    auth_events: [create, power, joined],
  }),
  send({
    type: 'm.room.member',
    state_key: '@u1:s1.test',
    content: { membership: 'leave' },
    auth_events: [create, power, joined, `$${'A'.repeat(43)}`],
  }),
  send({
    type: 'm.room.member',
    state_key: '@u1:s1.test',
    content: { membership: 'leave' },
    auth_events: [create, power, joined, rule, rule],
  }),
];
const room: SignedRoom = {
  ...good,
  events: [...good.events, ...added],
  bodies: [...good.bodies, ...added.map(({ json }) => Buffer.from(JSON.stringify(json)))],
};
const store = temporaryStore();
const { roomNid, nids } = storeRoom(store, room);
const input = { roomVersion: '11', roomId: room.roomId, roomNid, createNid: nids[0] as EventNid };
const check = (list: readonly number[], change: object = {}) =>
  checkAuthBatch({ ...input, nids: Uint32Array.from(list), ...change }, new WorkerContext(store));
const [topic, ban, leave, dangling, doubled] = nids.slice(good.events.length) as [
  EventNid,
  EventNid,
  EventNid,
  EventNid,
  EventNid,
];

describe('checking a batch against auth events', () => {
  it('allows what the events own auth events allow, in any order', () => {
    const list = [...nids.slice(0, good.events.length), leave].reverse();
    const output = check(list);
    expect([...output.outcomes]).toEqual(list.map(() => AuthOutcome.allowed));
    expect(output.refusals).toEqual([]);
  });

  it('refuses what they do not allow, with the reason', () => {
    const output = check([topic, leave, ban, doubled]);
    expect([...output.outcomes]).toEqual([
      AuthOutcome.refused,
      AuthOutcome.allowed,
      AuthOutcome.refused,
      AuthOutcome.refused,
    ]);
    expect(output.refusals.map(({ number }) => number)).toEqual([0, 2, 3]);
    expect(output.refusals.every(({ code, reason }) => code !== '' && reason !== '')).toBe(true);
  });

  it('leaves undecided what has an auth event that is not stored, or is not stored itself', () => {
    expect([...check([dangling, 4_000_000, leave]).outcomes]).toEqual([
      AuthOutcome.authEventMissing,
      AuthOutcome.noRecord,
      AuthOutcome.allowed,
    ]);
  });

  it('gives the auth events of each event, of those it could not decide too', () => {
    const { authNids, authOffsets } = check([nids[0]!, 4_000_000, nids[4]!]);
    expect([...authOffsets]).toEqual([0, 0, 0, 3]);
    expect([...authNids]).toEqual([nids[0], nids[2], nids[3]]);
  });

  it('allows the create event alone, and events that name it, before the create event is known', () => {
    expect([...check(nids.slice(0, 2), { createNid: NO_EVENT }).outcomes]).toEqual([
      AuthOutcome.allowed,
      AuthOutcome.allowed,
    ]);
  });

  it('judges events of a room alike after another room has cited its auth events', () => {
    const context = new WorkerContext(store);
    const elsewhere = { ...input, roomId: '!elsewhere:a.test' as RoomId, roomNid: (roomNid + 1) as RoomNid };
    const list = Uint32Array.from([nids[4]!]);
    checkAuthBatch({ ...elsewhere, nids: list }, context);
    expect([...checkAuthBatch({ ...input, nids: list }, context).outcomes]).toEqual([AuthOutcome.allowed]);
  });

  it('refuses an event whose auth event was stored for another room', () => {
    store.write((writer) => {
      const powerLevels = writer.tables.event_record_by_nid.get(nids[2]!) as Buffer;
      fillRecordNids(powerLevels, 0, (roomNid + 1) as RoomNid, []);
      writer.tables.event_record_by_nid.put(nids[2]!, powerLevels);
    });
    store.refresh();
    const output = check([nids[4]!]);
    expect([...output.outcomes]).toEqual([AuthOutcome.refused]);
    expect(output.refusals).toMatchObject([{ number: 0, code: 'auth-event-other-room' }]);
  });
});
