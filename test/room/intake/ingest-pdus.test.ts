import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { ingestPdus } from '../../../src/room/intake/ingest-pdus.js';
import { eventVerdict, Verdict } from '../../../src/store/event-status.js';
import { eventIdOfNid } from '../../../src/store/events.js';
import type { Room } from '../../../src/store/rooms.js';
import { loadRoom } from '../../../src/store/rooms.js';
import { ALICE, NOW, OWN_KEY, ROOM, ServedRoom } from '../../api/federation/served-room.js';

let served: ServedRoom;
beforeEach(async () => {
  served = new ServedRoom();
  await served.createRoom();
});
afterEach(() => served.close());

const room = () => loadRoom(served.store, ROOM) as Room;

function message(changes: JsonObject = {}) {
  const rules = roomVersionRules('11');
  if (rules === undefined) throw new Error('no room version 11');
  const [prev] = room().extremities.map((nid) => eventIdOfNid(served.store, nid));
  const event = {
    type: 'm.room.message',
    room_id: ROOM,
    sender: ALICE,
    content: { body: 'hello' },
    auth_events: [],
    prev_events: [prev ?? ''],
    depth: 9,
    origin_server_ts: NOW,
  };
  return hashAndSignPdu(rules, { ...event, ...changes }, OWN_KEY);
}

const bytesOf = (json: JsonObject) => Buffer.from(JSON.stringify(json));

describe('ingestPdus', () => {
  it('stores what verifies as unjudged and says why the rest was dropped', async () => {
    const good = message();
    const forged = message({ depth: 10 });
    const signatures = { hs1: { 'ed25519:k': 'A'.repeat(86) } };
    const { nids, dropped } = await ingestPdus(served.server, room(), [
      bytesOf(good.json),
      bytesOf({ ...forged.json, signatures }),
    ]);
    expect(nids.map((nid) => eventIdOfNid(served.store, nid))).toEqual([good.eventId]);
    expect(nids.map((nid) => eventVerdict(served.store, nid))).toEqual([Verdict.unjudged]);
    expect(dropped.map(({ eventId }) => eventId)).toEqual([forged.eventId]);
  });

  it('drops events that are no state where only state is wanted', async () => {
    const { nids, dropped } = await ingestPdus(served.server, room(), [bytesOf(message().json)], { stateOnly: true });
    expect(nids).toEqual([]);
    expect(dropped.map(({ code }) => code)).toEqual(['not-a-state-event']);
  });

  it('holds pushed events to the limit on auth_events, and others not', async () => {
    const crowded = message({ auth_events: Array.from({ length: 11 }, (_, n) => `$${n}`) });
    const pushed = await ingestPdus(served.server, room(), [bytesOf(crowded.json)]);
    expect(pushed.dropped.map(({ code }) => code)).toEqual(['too-many-auth-events']);
    const asked = await ingestPdus(served.server, room(), [bytesOf(crowded.json)], { pushed: false });
    expect(asked.nids).toHaveLength(1);
  });
});
