/** The clientEvents job: what is sliced from stored bytes says the same as what is parsed and written anew. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { signedRoom } from '../../bench/signed-room.js';
import { storeRoom } from '../../bench/stored-room.js';
import { eventIdOfHash } from '../../src/kernel/matrix/event-key.js';
import type { RoomId, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { isJsonObject } from '../../src/kernel/matrix/json.js';
import type { Membership } from '../../src/store/event-record.js';
import { membershipBits, RecordFlag } from '../../src/store/event-record.js';
import { StatusBit, setEventStatus, Verdict } from '../../src/store/event-status.js';
import type { LoadedEvent } from '../../src/store/events.js';
import { loadEvent } from '../../src/store/events.js';
import type { EventNid, RoomNid } from '../../src/store/nids.js';
import { clientEventOf, clientEvents } from '../../src/workers/jobs/client-events.js';
import { ClientEventWriter } from '../../src/workers/jobs/slice-client-event.js';
import { WorkerContext } from '../../src/workers/worker-context.js';
import { temporaryStore } from '../store/temporary-store.js';

const ROOM = '!room "of" änyone:hs1' as RoomId;
const NAMES = ['type', 'sender', 'state_key', 'content', 'origin_server_ts', 'redacts', 'origin', 'hashes', 'depth'];

function parsed(bytes: Uint8Array): JsonObject[] {
  return JSON.parse(`[${Buffer.from(bytes).toString('utf8')}]`) as JsonObject[];
}

/** The way of parsing, for a PDU of which the record knows what `clientEventOf` takes from it. */
function slow(json: JsonObject, eventKey: Buffer): JsonObject {
  const event: LoadedEvent = {
    nid: 1 as EventNid,
    eventId: eventIdOfHash(eventKey),
    status: Verdict.accepted,
    json,
    record: {
      roomNid: 1 as RoomNid,
      bodyBytes: 0,
      depth: 1,
      originServerTs: json.origin_server_ts as number,
      flags: 0,
      membership: '',
      type: json.type as string,
      stateKey: json.state_key as string | undefined,
      sender: json.sender as UserId,
      eventKey,
      authNids: [],
    },
  };
  return JSON.parse(JSON.stringify(clientEventOf(event, ROOM))) as JsonObject;
}

const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string(), fc.constantFrom('"', '\\', '\n', '\ud800', '}', ','));
/** Such as IDs and types are: mostly without anything that JSON escapes. */
const identifier = fc.oneof(
  { weight: 12, arbitrary: fc.stringMatching(/^[@$!a-zé日:.0-9]*$/) },
  { weight: 1, arbitrary: text },
);
/** A PDU whose members stand in any order, with any others among them. */
const pdu = fc
  .record(
    {
      type: identifier,
      sender: identifier,
      content: fc.dictionary(text, fc.jsonValue({ stringUnit: 'binary' })),
      origin_server_ts: fc.maxSafeInteger(),
      state_key: identifier,
      redacts: fc.oneof({ weight: 5, arbitrary: identifier }, { weight: 1, arbitrary: fc.jsonValue() }),
      others: fc.dictionary(
        fc.oneof(text, fc.constantFrom('origin', 'hashes', 'depth', 'auth_events')),
        fc.jsonValue(),
      ),
    },
    { requiredKeys: ['type', 'sender', 'content', 'origin_server_ts', 'others'] },
  )
  .chain(({ others, ...members }) => {
    const entries = Object.entries({ ...others, ...members });
    return fc.shuffledSubarray(entries, { minLength: entries.length }).map((shuffled) => Object.fromEntries(shuffled));
  });
const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));

describe('an event sliced from its stored bytes', () => {
  it('says what the parsed event says, one after another, in whatever order its members stand', () => {
    const list = fc.array(fc.tuple(pdu, key, fc.nat(9)), { minLength: 1, maxLength: 5 });
    let sliced = 0;
    fc.assert(
      fc.property(list, (events) => {
        const writer = new ClientEventWriter(ROOM, 0);
        const expected: JsonObject[] = [];
        for (const [json, eventKey, spaced] of events) {
          // What the store holds is UTF-8: a lone surrogate that is not escaped does not survive in it.
          const body = Buffer.from(JSON.stringify(json, null, spaced === 0 ? 1 : undefined), 'utf8');
          const stored = JSON.parse(body.toString('utf8')) as JsonObject;
          if (!writer.append(body, eventKey)) continue;
          sliced += 1;
          expected.push(slow(stored, eventKey));
        }
        expect(parsed(writer.finish())).toEqual(expected);
      }),
      { numRuns: 1000 },
    );
    expect(sliced).toBeGreaterThan(500);
  });

  it.each<[string, string]>([
    ['white space between members', '{"type":"t", "sender":"s","content":{},"origin_server_ts":1}'],
    ['an escape in a key', '{"\\u0074ype":"t","sender":"s","content":{},"origin_server_ts":1}'],
    ['an escape in an identifier', '{"type":"t","sender":"s\\n","content":{},"origin_server_ts":1}'],
    ['a member that stands twice', '{"type":"t","type":"u","sender":"s","content":{},"origin_server_ts":1}'],
    ['a member that is missing', '{"type":"t","sender":"s","content":{}}'],
    ['content that is no object', '{"type":"t","sender":"s","content":[],"origin_server_ts":1}'],
    ['a state key that is no string', '{"type":"t","sender":"s","content":{},"origin_server_ts":1,"state_key":null}'],
    ['an empty object', '{}'],
    ['an end in the middle', '{"type":"t","sender":"s","content":{"a":"'],
  ])('is left to parsing where there is %s', (_what, body) => {
    const writer = new ClientEventWriter(ROOM, 1);
    expect(writer.append(Buffer.from(body), Buffer.alloc(32))).toBe(false);
    expect(writer.finish()).toHaveLength(0);
  });

  it('is sliced whatever else the PDU has, in keys that resemble those of an event', () => {
    const others = NAMES.map((name) => `"${name}x":{"${name}":"}"},"${name.slice(1)}":[1,-2,null,"]"]`).join(',');
    const body = `{${others},"type":"t","sender":"s","content":{"a":"\\""},"origin_server_ts":1}`;
    const writer = new ClientEventWriter(ROOM, 1);
    expect(writer.append(Buffer.from(body), Buffer.alloc(32))).toBe(true);
    expect(parsed(writer.finish())).toEqual([slow(JSON.parse(body) as JsonObject, Buffer.alloc(32))]);
  });
});

describe('the clientEvents job', () => {
  const room = signedRoom(40, 3);
  const store = temporaryStore();
  const { nids } = storeRoom(store, room);
  const redacted = nids.at(-1) as EventNid;
  const hashFailed = nids.at(-2) as EventNid;
  store.write((writer) => {
    for (const nid of nids) setEventStatus(writer, nid, Verdict.accepted);
    setEventStatus(writer, redacted, Verdict.accepted | StatusBit.redacted);
    const record = Buffer.from(store.tables.event_record_by_nid.get(hashFailed) as Buffer);
    record[24] = (record[24] as number) | RecordFlag.redacted;
    writer.tables.event_record_by_nid.put(hashFailed, record);
  });
  store.refresh();
  const run = (list: readonly number[], memberships?: number) => {
    const input = { roomVersion: '11', roomId: room.roomId, nids: Uint32Array.from(list), memberships };
    return parsed(clientEvents(input, new WorkerContext(store)).bytes);
  };
  const bits = (...wanted: Membership[]) => membershipBits((membership) => wanted.includes(membership));

  it('answers every event as parsing it would, redacted ones without what redaction takes away', () => {
    const expected = nids.map((nid) => {
      const event = loadEvent(store, room.rules, nid);
      return event && JSON.parse(JSON.stringify(clientEventOf(event, room.roomId)));
    });
    const events = run(nids);
    expect(events).toEqual(expected);
    expect(events.slice(-2).map(({ content }) => content)).toEqual([{ membership: 'join' }, { membership: 'join' }]);
    expect(events.filter(({ content }) => isJsonObject(content) && 'displayname' in content)).toHaveLength(38);
  });

  it('answers only the memberships that are wanted', () => {
    expect(run(nids, bits('join'))).toHaveLength(40);
    expect(run(nids, bits('leave', 'ban'))).toEqual([]);
    expect(run(nids)).toHaveLength(43);
  });

  it('reads events of which no status was ever set', () => {
    const empty = temporaryStore();
    const stored = storeRoom(empty, room);
    const input = { roomVersion: '11', roomId: room.roomId, memberships: undefined };
    const bytes = clientEvents({ ...input, nids: Uint32Array.from(stored.nids) }, new WorkerContext(empty)).bytes;
    expect(parsed(bytes)).toHaveLength(43);
  });

  it('leaves out what has no body', () => {
    expect(run([nids[0] as number, 1_000_000])).toHaveLength(1);
    expect(run([])).toEqual([]);
  });
});
