/** The quick and the thorough way to verify a PDU give the same answer to everything, and the quick one is taken. */

import { hash } from 'node:crypto';
import * as fc from 'fast-check';
import { assert as check, constantFrom, record as fcRecord, integer, oneof, option, string } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { benchKey, signedRoom } from '../../bench/signed-room.js';
import { canonicalJson } from '../../src/kernel/matrix/canonical-json.js';
import { eventKeyOf } from '../../src/kernel/matrix/event-key.js';
import type { JsonObject, JsonValue } from '../../src/kernel/matrix/json.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import { sign } from '../../src/kernel/signatures/ed25519.js';
import { hashAndSignPdu } from '../../src/kernel/signatures/sign-pdu.js';
import { EventIndexBuilder } from '../../src/workers/event-index.js';
import { Outcome } from '../../src/workers/jobs/verified-batch.js';
import type { VerifyPdusInput } from '../../src/workers/jobs/verify-pdus.js';
import { verifyPdus } from '../../src/workers/jobs/verify-pdus.js';
import { batchOf } from '../../src/workers/pdu-batch.js';
import { WorkerContext } from '../../src/workers/worker-context.js';
import { temporaryStore } from '../store/temporary-store.js';

const room = signedRoom(4, 2);
const key = benchKey('b.test:8448');
const store = temporaryStore();
const ids = room.events.map(({ eventId }) => eventId);
const verifyKey = { publicKey: key.publicKey, validUntilTs: 2_000_000_000_000 };

class Keys extends WorkerContext {
  override serverKey(server: string, keyId: string) {
    return server === key.serverName && keyId === key.keyId ? verifyKey : undefined;
  }
}
class Thorough extends Keys {
  override bytesVerifier() {
    return undefined;
  }
}
const quick = new Keys(store);
const thorough = new Thorough(store);

/** Everything that a batch became, as far as anybody reads it. */
function answer(context: WorkerContext, pdus: readonly Buffer[], change: Partial<VerifyPdusInput>) {
  const output = verifyPdus(
    {
      roomVersion: '11',
      roomId: room.roomId,
      batch: batchOf(pdus),
      stateOnly: false,
      pushed: true,
      fetched: undefined,
      index: undefined,
      ...change,
    },
    context,
  );
  const bodies = pdus.map((_, i) => {
    const start = output.offsets[i] as number;
    return Buffer.from(output.bytes.slice(start, start + (output.lengths[i] as number))).toString('latin1');
  });
  const { bytes: _, offsets: _offsets, ...rest } = output;
  return { ...rest, bodies };
}

/** Where a key is missing the first time, nothing else is looked at from the bytes: the PDU comes again. */
function expectSameAnswer(pdus: readonly Buffer[], change: Partial<VerifyPdusInput>): void {
  const fromBytes = answer(quick, pdus, change);
  const parsed = answer(thorough, pdus, change);
  if (fromBytes.needs.length === 0) {
    expect(fromBytes).toEqual(parsed);
    return;
  }
  expect(parsed.outcomes).not.toContain(Outcome.verified);
  if (parsed.needs.length > 0) expect(fromBytes.needs).toEqual(parsed.needs);
  expectSameAnswer(pdus, { ...change, fetched: fromBytes.needs });
}

const jsonValue: fc.Arbitrary<JsonValue> = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: oneof(
    { maxDepth: 4 },
    string({ unit: 'grapheme' }),
    integer(),
    fc.maxSafeInteger(),
    constantFrom<JsonValue>(true, false, null, '"', '\\', '\n', '\u0001', '\u007f', '\u2028', '', {}, []),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(string({ unit: 'grapheme', maxLength: 6 }), tie('value'), { maxKeys: 4 }),
  ),
})).value;

const content: fc.Arbitrary<JsonObject> = oneof(
  fcRecord({
    membership: constantFrom('join', 'leave', 'ban', 'invite', 'knock', 'odd'),
    join_authorised_via_users_server: option(constantFrom('@bo:c.test', '@ana:b.test:8448'), {
      nil: undefined,
      freq: 3,
    }),
    third_party_invite: option(constantFrom<JsonObject>({ signed: {} }, {}), { nil: undefined, freq: 3 }),
    displayname: oneof(string({ unit: 'grapheme' }), constantFrom('Ana "A" \\ \n', 'ÅÄÖ', '\u{1f600}')),
    avatar_url: constantFrom('mxc://b.test/x'),
  }),
  fc.dictionary(
    oneof(
      string({ unit: 'grapheme', maxLength: 6 }),
      constantFrom(
        'membership',
        'third_party_invite',
        'join_authorised_via_users_server',
        'users',
        'invite',
        'redacts',
      ),
    ),
    jsonValue,
    { maxKeys: 6 },
  ),
);

const event = fcRecord({
  type: constantFrom(
    'm.room.member',
    'm.room.message',
    'm.room.power_levels',
    'm.room.create',
    'm.room.redaction',
    'ä',
  ),
  stateKey: option(constantFrom('@ana:b.test:8448', '', 'ünï', 'with "quotes"'), { nil: undefined }),
  sender: constantFrom('@ana:b.test:8448', '@ana:b.test:8448', '@Hé/torïc=:b.test:8448', '@bo:c.test'),
  content,
  sorted: constantFrom(true, true, true, false),
  auth: fc.subarray(ids),
  prev: fc.subarray(ids),
  depth: oneof(integer({ min: 0, max: 5000 }), constantFrom(Number.MAX_SAFE_INTEGER, 999_999_999_999_999)),
  originServerTs: constantFrom(1_700_000_000_000, 0, -5, 3_000_000_000_000),
  redacts: option(constantFrom(ids[0] as string), { nil: undefined, freq: 10 }),
  unsigned: option(constantFrom<JsonObject>({}, { age: 5 }, { a: '"}' }), { nil: undefined, freq: 2 }),
  order: fc.infiniteStream(integer({ min: 0, max: 1000 })).map((stream) => [...stream.take(20)]),
});

function signed(draft: typeof event extends fc.Arbitrary<infer Draft> ? Draft : never): JsonObject {
  const { json } = hashAndSignPdu(
    room.rules,
    {
      type: draft.type,
      room_id: room.roomId,
      sender: draft.sender,
      ...(draft.stateKey === undefined ? {} : { state_key: draft.stateKey }),
      content: draft.sorted ? (JSON.parse(canonicalJson(draft.content)) as JsonObject) : draft.content,
      auth_events: draft.auth,
      prev_events: draft.prev,
      depth: draft.depth,
      origin_server_ts: draft.originServerTs,
      ...(draft.redacts === undefined ? {} : { redacts: draft.redacts }),
    },
    key,
  );
  const entries = Object.entries(draft.unsigned === undefined ? json : { ...json, unsigned: draft.unsigned });
  return Object.fromEntries(
    entries
      .map((entry, i) => ({ entry, rank: draft.order[i] as number }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ entry }) => entry),
  );
}

/** A message whose hash and signature cover the bytes of its content, whatever these are: what a hostile server sends. */
function signedAsItStands(contentText: string): Buffer {
  const before = '"auth_events":[]';
  const after = `"origin_server_ts":1700000000000,"prev_events":[],"room_id":"${room.roomId}","sender":"@ana:b.test:8448"`;
  const type = '"type":"m.room.message"';
  const sha256 = hash('sha256', `{${before},"content":${contentText},"depth":1,${after},${type}}`, 'base64').slice(
    0,
    43,
  );
  const hashes = `"hashes":{"sha256":"${sha256}"}`;
  const signature = sign(Buffer.from(`{${before},"content":{},"depth":1,${hashes},${after},${type}}`), key);
  const signatures = `"signatures":{"${key.serverName}":{"${key.keyId}":"${signature.toString('base64').slice(0, 86)}"}}`;
  return Buffer.from(`{${before},"content":${contentText},"depth":1,${hashes},${after},${signatures},${type}}`);
}

const options = fcRecord({ stateOnly: fc.boolean(), pushed: fc.boolean(), fetched: fc.constantFrom(undefined, []) });

describe('verifying from bytes', () => {
  it('answers as parsing does, whatever the event', () => {
    check(
      fc.property(event, options, (draft, change) => {
        const pdus = [Buffer.from(JSON.stringify(signed(draft)))];
        expectSameAnswer(pdus, change);
      }),
      { numRuns: 1500 },
    );
  });

  it('answers as parsing does when a byte is changed, added or lost', () => {
    check(
      fc.property(event, integer({ min: 0, max: 100_000 }), integer({ min: -1, max: 511 }), (draft, place, byte) => {
        const bytes = Buffer.from(JSON.stringify(signed(draft)));
        const at = place % bytes.length;
        const kept = byte < 256 ? 1 : 0;
        const put = byte < 0 ? [] : [byte % 256];
        const pdus = [Buffer.concat([bytes.subarray(0, at), Buffer.from(put), bytes.subarray(at + kept)])];
        expectSameAnswer(pdus, {});
      }),
      { numRuns: 3000 },
    );
  });

  it('answers as parsing does with other spellings of the same event', () => {
    const json = room.events[5]?.json as JsonObject;
    const text = JSON.stringify(json);
    const spellings = [
      text.replace('"type"', '"\\u0074ype"'),
      text.replace('"m.room.member"', '"m.room\\u002emember"'),
      text.replace('/', '\\/'),
      text.replace(':', ' : '),
      `${text} `,
      `\ufeff${text}`,
      text.replace('{', '{"depth":1,'),
      text.replace('{', '{"extra":1,'),
      text.replace(/"depth":(\d+)/, '"depth":$1.0'),
      text.replace(/"depth":(\d+)/, '"depth":0$1'),
      text.replace(/"depth":(\d+)/, '"depth":-0'),
      text.replace(/"signatures":\{/, '"signatures":{"x.test":{"ed25519:1":"AAAA"},'),
      text.replace(/"sha256":"/, '"sha1":"AA","sha256":"'),
      text.replace(/"sha256":"([^"]*)"/, (_, hash: string) => `"sha256":"${hash.replace(/[+/]/g, '-')}="`),
      text.replace(/(ed25519:[^"]*":")([^"]*)/, '$1$2=='),
      text.slice(0, -1),
      '{}',
      '[]',
      '',
    ].map((spelling) => Buffer.from(spelling));
    const keys = Object.fromEntries(room.keys.map((known) => [known.serverName, known]));
    class RoomKeys extends WorkerContext {
      override serverKey(server: string) {
        const known = keys[server];
        return known === undefined ? undefined : { publicKey: known.publicKey, validUntilTs: 2_000_000_000_000 };
      }
    }
    class RoomThorough extends RoomKeys {
      override bytesVerifier() {
        return undefined;
      }
    }
    expect(answer(new RoomKeys(store), spellings, {})).toEqual(answer(new RoomThorough(store), spellings, {}));
  });

  it('answers as parsing does to content that is signed as it stands, canonical or not', () => {
    const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const contents = [
      '{}',
      '{"a":1,"b":[1,-2,{"c":"d"}]}',
      '{"b":1,"a":2}',
      '{"a":1,"a":2}',
      '{"a":{"c":1,"b":2}}',
      '{"a":{"b":1,"b":2}}',
      '{"a":[{"b":1,"b":2}]}',
      '{"a": 1}',
      '{"a":1.0}',
      '{"a":1e3}',
      '{"a":01}',
      '{"a":-0}',
      '{"a":-}',
      '{"a":9007199254740991}',
      '{"a":9007199254740992}',
      '{"a":"\\u0041"}',
      '{"a":"\\/"}',
      '{"a":"\\u000b"}',
      '{"a":"\\n\\"\\\\"}',
      '{"a":"\\ud800"}',
      '{"\\u0061":1}',
      '{"a":tru}',
      '{"a":nulls}',
      '{"a":1,}',
      '{"a":[1,]}',
      '{"\ue000":1,"\u{1f600}":2}',
      '{"\u{1f600}":2,"\ue000":1}',
      '{"a":"\u0001"}',
      `{"a":${nested(20)}}`,
      `{"a":${nested(40)}}`,
      `{"a":${nested(600)}}`,
      `{${Array.from({ length: 80 }, (_, i) => `"${String(i).padStart(2, '0')}":1`).join(',')}}`,
    ];
    const pdus = contents.map(signedAsItStands);
    const outcome = answer(quick, pdus, {});
    expect(outcome).toEqual(answer(thorough, pdus, {}));
    expect([...outcome.outcomes.slice(0, 4)]).toEqual([
      Outcome.verified,
      Outcome.verified,
      Outcome.verified,
      Outcome.dropped,
    ]);
  });

  it('gives NIDs from an index as parsing does', () => {
    const builder = new EventIndexBuilder(7);
    for (const id of ids.slice(1)) builder.add(eventKeyOf(id));
    const index = builder.finish();
    index.nids.set(ids.slice(1).map((_, i) => 1000 + i));
    check(
      fc.property(event, (draft) => {
        const pdus = [Buffer.from(JSON.stringify(signed({ ...draft, sender: '@ana:b.test:8448' })))];
        expectSameAnswer(pdus, { index });
      }),
      { numRuns: 300 },
    );
  });

  it('is what ordinary events go through, and room versions whose IDs are not url-safe hashes do not', () => {
    const verifier = quick.bytesVerifier(room.rules);
    const ordinary = { membership: 'join', displayname: 'Ana \u{1f600}', avatar_url: null };
    const bytes = Buffer.from(
      JSON.stringify(
        hashAndSignPdu(
          room.rules,
          {
            type: 'm.room.member',
            room_id: room.roomId,
            sender: '@ana:b.test:8448',
            state_key: '@ana:b.test:8448',
            content: Object.fromEntries(Object.entries(ordinary).sort()),
            auth_events: ids.slice(0, 3),
            prev_events: ids.slice(0, 1),
            depth: 7,
            origin_server_ts: 1_700_000_000_000,
          },
          key,
        ).json,
      ),
    );
    const demands = { roomId: Buffer.from(room.roomId), pushed: true };
    expect(verifier?.verify(bytes, 0, bytes.length, demands, quick)).toBe(true);
    expect(answer(quick, [bytes], {}).outcomes[0]).toBe(Outcome.verified);
    for (const version of ['1', '2', '3']) {
      const rules = roomVersionRules(version);
      expect(rules === undefined ? 'unknown' : quick.bytesVerifier(rules)).toBeUndefined();
    }
  });
});
