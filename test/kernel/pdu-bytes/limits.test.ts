/** The limits of an event on both sides, by the path over bytes and by parsing: what is just within is good on both. */

import { describe, expect, it } from 'vitest';
import { benchKey, lookupOf } from '../../../bench/signed-room.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import {
  AUTH_EVENTS_MAX,
  PDU_BYTES_MAX,
  PDU_FIELD_BYTES_MAX,
  PREV_EVENTS_MAX,
} from '../../../src/kernel/matrix/limits.js';
import { parsePdu } from '../../../src/kernel/matrix/parse-pdu.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { CONTENT_MEMBERS_MAX } from '../../../src/kernel/pdu-bytes/scan-pdu.js';
import { hasBytesPath, PduBytesVerifier } from '../../../src/kernel/pdu-bytes/verify-pdu-bytes.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { verifyPdu } from '../../../src/kernel/signatures/verify-pdu.js';

const key = benchKey('a.test');
const lookup = lookupOf([key]);
const keyOf = () => lookup(key.serverName, key.keyId);
const signers = Object.assign(keyOf, { signerKey: keyOf });
const VERSIONS = ['4', '5', '6', '10', '11', '12'];
const ids = (count: number) => Array.from({ length: count }, () => `$${'A'.repeat(43)}`);

/** Whether the event is good by its bytes, and what parsing says of it: `good` or a code. */
function answers(version: string, change: JsonObject, pushed = true, edit = (text: string) => text): [boolean, string] {
  const rules = roomVersionRules(version)!;
  const roomId = '!r:a.test';
  const event = {
    auth_events: [],
    content: { body: 'x' },
    depth: 1,
    origin_server_ts: 1_700_000_000_000,
    prev_events: [],
    room_id: roomId,
    sender: '@a:a.test',
    type: 'm.room.message',
    ...change,
  };
  const bytes = Buffer.from(edit(JSON.stringify(hashAndSignPdu(rules, event, key).json)));
  const options = { roomId: Buffer.from(event.room_id), pushed };
  const verifier = new PduBytesVerifier(rules);
  const quick = verifier.verify(bytes, 0, bytes.length, options, signers);
  const parsed = parsePdu(rules, bytes.toString('utf8'), { pushed });
  if (!parsed.ok) return [quick, parsed.code];
  const verdict = verifyPdu(rules, parsed.pdu, lookup);
  return [quick, verdict.outcome === 'verified' && !verdict.redacted ? 'good' : verdict.outcome];
}

describe.each(VERSIONS)('the limits in version %s', (version) => {
  it('hold for the number of auth_events and prev_events of what is pushed', () => {
    expect(answers(version, { auth_events: ids(AUTH_EVENTS_MAX) })).toEqual([true, 'good']);
    expect(answers(version, { auth_events: ids(AUTH_EVENTS_MAX + 1) })).toEqual([false, 'too-many-auth-events']);
    expect(answers(version, { auth_events: ids(AUTH_EVENTS_MAX + 1) }, false)).toEqual([true, 'good']);
    expect(answers(version, { prev_events: ids(PREV_EVENTS_MAX) })).toEqual([true, 'good']);
    expect(answers(version, { prev_events: ids(PREV_EVENTS_MAX + 1) })).toEqual([false, 'too-many-prev-events']);
    expect(answers(version, { prev_events: ids(PREV_EVENTS_MAX + 1) }, false)).toEqual([true, 'good']);
  });

  it('hold for each field', () => {
    const fill = (before: string, length: number, after = '') =>
      `${before}${'b'.repeat(length - before.length - after.length)}${after}`;
    for (const [name, before, after] of [
      ['type', '', ''],
      ['state_key', '', ''],
      ['room_id', '!', ':a.test'],
      ['sender', '@', ':a.test'],
    ] as const) {
      expect(answers(version, { [name]: fill(before, PDU_FIELD_BYTES_MAX, after) }), name).toEqual([true, 'good']);
      expect(answers(version, { [name]: fill(before, PDU_FIELD_BYTES_MAX + 1, after) }), name).toEqual([
        false,
        'field-too-large',
      ]);
    }
    // Code points count up to version 10; the path over bytes leaves such events to parsing.
    const letters = { state_key: 'é'.repeat(128) };
    expect(answers(version, letters)).toEqual([false, Number(version) <= 10 ? 'good' : 'field-too-large']);
  });

  it('hold for the whole event, unsigned not counted', () => {
    const body = (length: number) => ({ content: { body: 'x'.repeat(length) } });
    const rules = roomVersionRules(version)!;
    const empty = hashAndSignPdu(
      rules,
      {
        ...{ auth_events: [], depth: 1, origin_server_ts: 1_700_000_000_000, prev_events: [], room_id: '!r:a.test' },
        ...{ sender: '@a:a.test', type: 'm.room.message', ...body(0) },
      },
      key,
    );
    const room = PDU_BYTES_MAX - JSON.stringify(empty.json).length;
    expect(answers(version, body(room))).toEqual([true, 'good']);
    expect(answers(version, body(room + 1))).toEqual([false, 'too-large']);
    expect(answers(version, { ...body(room), unsigned: { age: 1 } })).toEqual([false, 'good']);
  });

  it('hold for integers', () => {
    for (const depth of [0, 999_999_999_999_999]) expect(answers(version, { depth })).toEqual([true, 'good']);
    expect(answers(version, { depth: Number.MAX_SAFE_INTEGER })).toEqual([false, 'good']);
    expect(answers(version, { depth: -1 })).toEqual([false, 'bad-field']);
    const minusZero = (text: string) => text.replace('"depth":0', '"depth":-0');
    // Up to version 5 minus zero is zero, and the hash is over that.
    const old = Number(version) <= 5;
    expect(answers(version, { depth: 0 }, true, minusZero)).toEqual([false, old ? 'good' : 'not-an-integer']);
  });

  it('leave content with many members to parsing', () => {
    const members = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`m${String(i).padStart(3, '0')}`, i]));
    expect(answers(version, { content: members(CONTENT_MEMBERS_MAX) })).toEqual([true, 'good']);
    expect(answers(version, { content: members(CONTENT_MEMBERS_MAX + 1) })).toEqual([false, 'good']);
  });
});

describe('the path over bytes', () => {
  it('is for room versions whose event IDs are url-safe hashes', () => {
    const versions = Array.from({ length: 12 }, (_, i) => String(i + 1));
    expect(versions.filter((version) => hasBytesPath(roomVersionRules(version)!))).toEqual(versions.slice(3));
  });
});
