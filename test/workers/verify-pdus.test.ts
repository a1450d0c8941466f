/** The verifyPdus job, on the caller's thread and on real ones: the same answers, and each outcome by its cause. */

import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { benchKey, signedRoom } from '../../bench/signed-room.js';
import { storeKeys } from '../../bench/stored-room.js';
import { eventKeyOf } from '../../src/kernel/matrix/event-key.js';
import type { EventId, KeyId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { RecordFlag, readRecord } from '../../src/store/event-record.js';
import { putServerKey } from '../../src/store/server-keys.js';
import { EventIndexBuilder } from '../../src/workers/event-index.js';
import { inlinePool } from '../../src/workers/inline-pool.js';
import type { VerifyPdusOutput } from '../../src/workers/jobs/verified-batch.js';
import { Outcome } from '../../src/workers/jobs/verified-batch.js';
import type { VerifyPdusInput } from '../../src/workers/jobs/verify-pdus.js';
import { batchOf } from '../../src/workers/pdu-batch.js';
import { openWorkerPool } from '../../src/workers/pool.js';
import { temporaryStore } from '../store/temporary-store.js';

const room = signedRoom(8, 3);
const stranger = benchKey('stranger.test');
const store = temporaryStore();
storeKeys(store, room.keys);
const threads = await openWorkerPool({
  threads: 1,
  storePath: store.path,
  threadFile: fileURLToPath(new URL('../../dist/src/workers/thread.js', import.meta.url)),
});
afterAll(() => threads.close());
const inline = inlinePool(store);

const key = room.keys[0]!;
const member = room.events[5]!.json;
const base: JsonObject = {
  ...room.events[1]!.json,
  signatures: undefined,
  hashes: undefined,
  type: 'test',
  state_key: 'x',
};
const make = (change: JsonObject) => hashAndSignPdu(room.rules, { ...base, ...change }, key);
const bytesOf = (json: JsonObject) => Buffer.from(JSON.stringify(json), 'utf8');

function inputOf(pdus: readonly Uint8Array[], change: Partial<VerifyPdusInput> = {}): VerifyPdusInput {
  const batch = batchOf(pdus);
  return {
    roomVersion: '11',
    roomId: room.roomId,
    batch,
    stateOnly: true,
    pushed: true,
    fetched: undefined,
    index: undefined,
    ...change,
  };
}

const verifyInline = (pdus: readonly Uint8Array[], change: Partial<VerifyPdusInput> = {}) =>
  inline.run('verifyPdus', inputOf(pdus, change), 'bulk');
const recordOf = (output: VerifyPdusOutput, i: number) =>
  readRecord(Buffer.from(output.records.slice(output.recordOffsets[i], output.recordOffsets[i + 1])));
const storedText = (output: VerifyPdusOutput, i: number) =>
  Buffer.from(
    output.bytes.slice(output.offsets[i], (output.offsets[i] as number) + (output.lengths[i] as number)),
  ).toString();

/** One PDU of each kind of trouble, among good ones. */
const mixed: readonly Uint8Array[] = [
  ...room.bodies,
  Buffer.from([0x7b, 0xff, 0x7d]),
  Buffer.from('{}'),
  bytesOf({ ...member, depth: 99 }),
  bytesOf({ ...member, content: { membership: 'join', displayname: 'forged' } }),
  bytesOf(make({ state_key: undefined }).json),
  bytesOf(make({ room_id: '!other:s0.test' }).json),
  bytesOf(hashAndSignPdu(room.rules, { ...base, sender: '@x:stranger.test' }, stranger).json),
  bytesOf({ ...member, unsigned: { age: 5, '"}': ['unsigned'] } }),
];

describe('verifying a batch of PDUs', () => {
  it('gives the same on threads as inline', async () => {
    for (const fetched of [undefined, []]) {
      const onThread = await threads.run('verifyPdus', inputOf(mixed, { fetched }), 'bulk');
      const onCaller = await verifyInline(mixed, { fetched });
      expect({ ...onThread }).toEqual({ ...onCaller });
    }
  });

  it('gives the same on threads as inline with an event index in shared memory', async () => {
    const builder = new EventIndexBuilder(7);
    for (const { eventId } of room.events) builder.add(eventKeyOf(eventId));
    const index = builder.finish();
    for (let i = 0; i < room.events.length; i++) index.nids[i] = 1000 + i;
    const onThread = await threads.run('verifyPdus', inputOf(mixed, { index }), 'bulk');
    const onCaller = await verifyInline(mixed, { index });
    expect({ ...onThread }).toEqual({ ...onCaller });
    expect([...onThread.positions.slice(0, room.events.length)]).toEqual(room.events.map((_, i) => i));
    expect(recordOf(onThread, 5).authNids).toEqual([1000, 1002, 1003]);
    expect(onThread.authKeys.length).toBe(0);
  });

  it('moves the bytes to the worker rather than copying them', async () => {
    const input = inputOf(room.bodies);
    const output = await threads.run('verifyPdus', input, 'bulk');
    expect([input.batch.bytes.length, input.batch.offsets.length]).toEqual([0, 0]);
    expect(output.bytes.length).toBeGreaterThan(0);
  });

  it('names what is wrong with each PDU and verifies the others', async () => {
    const output = await verifyInline(mixed);
    const good = room.bodies.length;
    const codes = new Map(output.refusals.map(({ number, code }) => [number - good, code]));
    expect([...codes]).toEqual([
      [0, 'not-utf-8'],
      [1, 'bad-field'],
      [2, 'bad-signature'],
      [4, 'not-a-state-event'],
      [5, 'wrong-room'],
    ]);
    expect(output.redacted.map(({ number, code }) => [number - good, code])).toEqual([[3, 'content-hash-mismatch']]);
    expect(output.needs).toEqual([
      { server: 'stranger.test', keyId: stranger.keyId, minimumValidUntilTs: base.origin_server_ts },
    ]);
    const { verified, dropped, missingKeys } = Outcome;
    expect([...output.outcomes.slice(0, good)].every((outcome) => outcome === verified)).toBe(true);
    expect([...output.outcomes.slice(good)]).toEqual([
      dropped,
      dropped,
      dropped,
      verified,
      dropped,
      dropped,
      missingKeys,
      verified,
    ]);
    expect(output.signaturesVerified).toBe(good + 2);
    expect(output.recordOffsets.slice(good, good + 3)).toEqual(
      new Uint32Array(3).fill(output.recordOffsets[good] as number),
    );
  });

  it('drops what needs a key that will not come', async () => {
    const { refusals, needs } = await verifyInline(mixed, { fetched: [] });
    expect(refusals.at(-1)).toMatchObject({ code: 'no-key' });
    expect(needs).toEqual([]);
  });

  it('cuts unsigned out of the stored bytes and touches nothing else of them', async () => {
    const output = await verifyInline(mixed);
    for (const [i, body] of room.bodies.entries()) expect(storedText(output, i)).toBe(body.toString());
    expect(storedText(output, mixed.length - 1)).toBe(JSON.stringify(member));
    expect(recordOf(output, mixed.length - 1).bodyBytes).toBe(Buffer.byteLength(JSON.stringify(member)));
  });

  it('writes records and the keys of auth events', async () => {
    const output = await verifyInline(mixed);
    const record = recordOf(output, 5);
    expect(record).toMatchObject({
      type: 'm.room.member',
      stateKey: member.state_key,
      sender: member.sender,
      membership: 'join',
      depth: 6,
    });
    expect([recordOf(output, 0).flags, record.flags]).toEqual([
      RecordFlag.state | RecordFlag.richContent,
      RecordFlag.state,
    ]);
    expect(recordOf(output, room.bodies.length + 3).flags).toBe(RecordFlag.state | RecordFlag.redacted);
    const [from, to] = [output.authOffsets[5] as number, output.authOffsets[6] as number];
    const keys = (member.auth_events as EventId[]).map((id) => eventKeyOf(id).toString('hex'));
    expect(Buffer.from(output.authKeys.slice(from * 32, to * 32)).toString('hex')).toBe(keys.join(''));
    expect(Buffer.from(output.eventKeys.slice(5 * 32, 6 * 32))).toEqual(eventKeyOf(room.events[5]!.eventId));
  });

  it('sees on the same thread a key that was written after an earlier job', async () => {
    const late = benchKey('late.test', 'ed25519:late');
    const pdu = bytesOf(hashAndSignPdu(room.rules, { ...base, sender: '@x:late.test' }, late).json);
    const first = await threads.run('verifyPdus', inputOf([pdu]), 'interactive');
    expect([...first.outcomes]).toEqual([Outcome.missingKeys]);
    const row = { publicKey: late.publicKey, validUntilTs: Number.MAX_SAFE_INTEGER, expired: false };
    store.write((writer) => putServerKey(writer, late.serverName, 'ed25519:late' as KeyId, row));
    const second = await threads.run('verifyPdus', inputOf([pdu]), 'interactive');
    expect([...second.outcomes]).toEqual([Outcome.verified]);
  });
});
