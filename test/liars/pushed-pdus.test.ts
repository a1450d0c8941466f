/** Events that no room takes in, pushed in transactions: whoever pushed, and our operator, hear which, from whom and why. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { refusalsReport } from '../../src/api/admin/refusals-report.js';
import type { EventId, RoomId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import type { SignedEvent } from '../../src/kernel/signatures/sign-pdu.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import { PUSHED_REFUSALS_MAX, receivePdus } from '../../src/room/receive-pdus.js';
import { eventIdOfNid } from '../../src/store/events.js';
import type { Room } from '../../src/store/rooms.js';
import { loadRoom, putRefusal, removeRefusal } from '../../src/store/rooms.js';
import { stateEvent } from '../../src/store/state-groups.js';
import { BOB, HS2_KEY, NOW, ROOM, ServedRoom } from '../api/federation/served-room.js';

const OTHER = '!other:hs1' as RoomId;
const HS2 = HS2_KEY.serverName;

let served: ServedRoom;
let warnings: JsonObject[];
let transactions = 0;

beforeAll(async () => {
  served = new ServedRoom();
  for (const roomId of [ROOM, OTHER]) {
    await served.createRoom(undefined, '11', roomId);
    await served.join(HS2_KEY, BOB, '', HS2_KEY, roomId);
  }
  const requestStream = () => Promise.reject(new RemoteError('refused', HS2, 'no', { status: 404 }));
  const server = { ...served.server, client: { ...served.server.client, requestStream } };
  const noGap = () => Promise.reject(new Error('a test filled a gap'));
  served.receivePdus = (origin, roomId, pdus) => receivePdus(server, origin, roomId, pdus, noGap);
});
afterAll(() => served.close());
beforeEach(() => {
  warnings = [];
  served.server.log.warn = (warning: JsonObject) => warnings.push(warning);
});

const room = (roomId = ROOM) => loadRoom(served.store, roomId) as Room;
const ends = (roomId = ROOM) => room(roomId).extremities.map((nid) => eventIdOfNid(served.store, nid));
const madeUp = (n: number) => `$${'a'.repeat(40)}${100 + n}`;

function stateId(type: string, stateKey = '', roomId = ROOM): EventId {
  const { nid, currentGroup } = room(roomId);
  return eventIdOfNid(served.store, stateEvent(served.store, nid, currentGroup, type, stateKey));
}

/** A message of Bob's at the end of the room; `changes` are signed, `spoilt` are made afterwards. */
function message(changes: JsonObject = {}, spoilt: JsonObject = {}): SignedEvent {
  const rules = roomVersionRules('11');
  if (rules === undefined) throw new Error('no room version 11');
  const event = {
    type: 'm.room.message',
    room_id: ROOM,
    sender: BOB,
    content: { n: transactions },
    auth_events: [stateId('m.room.create'), stateId('m.room.power_levels'), stateId('m.room.member', BOB)],
    prev_events: ends(),
    depth: 9,
    origin_server_ts: NOW,
  };
  const { eventId, json } = hashAndSignPdu(rules, { ...event, ...changes }, HS2_KEY);
  return { eventId, json: { ...json, ...spoilt } };
}

async function push(...pdus: readonly JsonObject[]): Promise<Record<string, JsonObject>> {
  const uri = `/_matrix/federation/v1/send/${transactions++}`;
  const { status, body } = await served.call('PUT', uri, { as: HS2_KEY, content: { pdus } });
  expect(status).toBe(200);
  return body.pdus as Record<string, JsonObject>;
}

const refusalOf = (eventId: EventId) =>
  (refusalsReport(served.server, ROOM).refusals as JsonObject[]).find((refusal) => refusal.event_id === eventId);

describe('an event that is pushed', () => {
  const signed = (signatures: JsonObject) => () => message({}, { signatures });
  it.each<[string, () => SignedEvent, string, RegExp]>([
    ['with a bad signature', signed({ hs2: { 'ed25519:k': 'A'.repeat(86) } }), 'bad-signature', /signature of hs2/],
    ['without a signature', signed({}), 'no-signature', /no signature of hs2/],
    [
      'by a key that its server has not',
      signed({ hs2: { 'ed25519:z': 'A'.repeat(86) } }),
      'no-key',
      /ed25519:z of hs2/,
    ],
    ['in the name of another server', () => message({ sender: '@carol:hs3' }), 'no-signature', /no signature of hs3/],
    ['and is too large', () => message({ content: { x: 'x'.repeat(70_000) } }), 'too-large', /bytes, more than 65536/],
    ['without a type', () => message({ type: 7 }), 'bad-field', /type is not a string/],
    [
      'with 21 prev_events',
      () => message({ prev_events: Array.from({ length: 21 }, (_, n) => madeUp(n)) }),
      'too-many-prev-events',
      /21 prev_events/,
    ],
    [
      'with 11 auth_events',
      () => message({ auth_events: Array.from({ length: 11 }, (_, n) => madeUp(n)) }),
      'too-many-auth-events',
      /11 auth_events/,
    ],
    [
      'with auth_events that nobody has',
      () => message({ auth_events: [madeUp(0)] }),
      'auth-event-missing',
      /auth event is not to be had/,
    ],
    [
      'with prev_events that nobody has',
      () => message({ prev_events: [madeUp(0)] }),
      'prev-event-missing',
      /prev_events are not to be had/,
    ],
    [
      'with prev_events of another room',
      () => message({ prev_events: ends(OTHER) }),
      'prev-event-missing',
      /not to be had in this room/,
    ],
  ])('%s is dropped: the answer, the log and the refusals say so', async (_what, make, code, reason) => {
    const { eventId, json } = make();
    const good = message({ content: { good: transactions } });
    expect(await push(json, good.json)).toEqual({
      [eventId]: { error: expect.stringMatching(reason) },
      [good.eventId]: {},
    });
    expect(warnings.at(-1)).toEqual({
      room: ROOM,
      origin: 'hs2',
      events: 1,
      event: eventId,
      error: expect.stringMatching(reason),
    });
    expect(refusalOf(eventId)).toEqual({
      event_id: eventId,
      verdict: 'dropped',
      code,
      reason: expect.stringMatching(reason),
    });
    expect(refusalOf(eventId)?.reason).toMatch(/^pushed by hs2: /);
  });

  it.each<[string, () => SignedEvent, string, RegExp]>([
    [
      'that rests on another room',
      () =>
        message({
          auth_events: [stateId('m.room.create'), stateId('m.room.power_levels'), stateId('m.room.member', BOB, OTHER)],
        }),
      'auth-event-other-room',
      /belongs to another room/,
    ],
    [
      'without the power for it',
      () => message({ type: 'm.room.name', state_key: '', content: { name: 'mine' } }),
      'insufficient-power',
      /power/,
    ],
  ])('%s is rejected, which is no error, and the refusals say why', async (_what, make, code, reason) => {
    const { eventId, json } = make();
    expect(await push(json)).toEqual({ [eventId]: {} });
    expect(refusalOf(eventId)).toEqual({
      event_id: eventId,
      verdict: 'rejected',
      code,
      reason: expect.stringMatching(reason),
    });
  });

  it('and whose ID cannot be told, for nothing can be hashed, is named in the log by who pushed it and why', async () => {
    const { json } = message();
    // Not in a transaction: its body would have no canonical form to sign.
    const bytes = Buffer.from(JSON.stringify({ ...json, content: { x: '\ud800' } }));
    expect([...(await served.receivePdus(HS2, ROOM, [bytes]))]).toEqual([]);
    expect(warnings).toEqual([
      { room: ROOM, origin: 'hs2', events: 1, event: undefined, error: expect.stringMatching(/surrogate/) },
    ]);
  });

  it.each<[string, () => SignedEvent, RegExp]>([
    ['larger than any event', () => message({ content: { x: 'x'.repeat(2_000_000) } }), /larger than any event/],
    ['without a room ID', () => message({ room_id: 7 }), /room_id is not a room ID/],
  ])('%s is answered under every ID that it may have, and named in the log', async (_what, make, reason) => {
    const { eventId, json } = make();
    const answer = await push(json);
    expect(answer[eventId]).toEqual({ error: expect.stringMatching(reason) });
    expect(warnings).toEqual([
      { origin: 'hs2', events: 1, event: expect.any(String), error: expect.stringMatching(reason) },
    ]);
    expect(Object.keys(answer)).toContain(warnings[0]?.event);
  });

  it('as something that is no object spoils its transaction, which is refused by name', async () => {
    const content = { pdus: [message().json, 7] };
    const answer = await served.call('PUT', '/_matrix/federation/v1/send/no-object', { as: HS2_KEY, content });
    expect(answer).toMatchObject({
      status: 400,
      body: { errcode: 'M_BAD_JSON', error: 'pdus holds something that is not an object' },
    });
  });

  it('with fifty bad ones costs one line of the log', async () => {
    const spoilt = Array.from({ length: 50 }, (_, n) => message({ content: { n } }, { signatures: {} }));
    expect(Object.keys(await push(...spoilt.map(({ json }) => json)))).toHaveLength(50);
    expect(warnings).toEqual([expect.objectContaining({ origin: 'hs2', events: 50, error: 'no signature of hs2' })]);
  });

  it('is told by the log alone where the room has many refusals already', async () => {
    const { nid } = room(OTHER);
    const refusal = { verdict: 'dropped', code: 'made-up', reason: 'made up' } as const;
    const rows = Array.from({ length: PUSHED_REFUSALS_MAX }, (_, n) => `$made-up-${n}`);
    served.store.write((writer) => {
      for (const row of rows) putRefusal(writer, nid, row, refusal);
    });
    const { json, eventId } = message({ room_id: OTHER }, { signatures: {} });
    await push(json);
    expect(warnings).toEqual([expect.objectContaining({ event: eventId })]);
    const kept = refusalsReport(served.server, OTHER).refusals as readonly JsonObject[];
    expect(kept.filter(({ event_id: id }) => id === eventId)).toEqual([]);
    served.store.write((writer) => {
      for (const row of rows) removeRefusal(writer, nid, row);
    });
  });

  it('and comes again in a good form is no refused one any more', async () => {
    const { eventId, json } = message();
    await push({ ...json, signatures: {} });
    expect(refusalOf(eventId)).toMatchObject({ code: 'no-signature' });
    expect(await push(json)).toEqual({ [eventId]: {} });
    expect(refusalOf(eventId)).toBeUndefined();
    // And a bad copy of what stands here is none either.
    await push({ ...json, signatures: {} });
    expect(refusalOf(eventId)).toBeUndefined();
  });
});
