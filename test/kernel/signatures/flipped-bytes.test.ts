/** One wrong byte anywhere in an event is noticed, and redacting an event is not, in every room version. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { benchKey, lookupOf } from '../../../bench/signed-room.js';
import { canonicalJson } from '../../../src/kernel/matrix/canonical-json.js';
import type { JsonObject, JsonValue } from '../../../src/kernel/matrix/json.js';
import { parsePdu } from '../../../src/kernel/matrix/parse-pdu.js';
import { redactEvent } from '../../../src/kernel/matrix/redact.js';
import type { RoomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { ROOM_VERSIONS, roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import type { PduVerification } from '../../../src/kernel/signatures/verify-pdu.js';
import { verifyPdu } from '../../../src/kernel/signatures/verify-pdu.js';

const key = benchKey('a.test');
const keys = lookupOf([key]);

/** What is believed of the event in `bytes`. */
function verdictOn(rules: RoomVersionRules, bytes: Buffer): PduVerification | undefined {
  const parsed = parsePdu(rules, bytes.toString('utf8'), { pushed: true });
  return parsed.ok ? verifyPdu(rules, parsed.pdu, keys) : undefined;
}

const types = fc.constantFrom(
  'm.room.member',
  'm.room.create',
  'm.room.join_rules',
  'm.room.power_levels',
  'm.room.aliases',
  'm.room.history_visibility',
  'm.room.redaction',
  'm.room.message',
);
const contentKeys = fc.constantFrom(
  ...['membership', 'users', 'invite', 'allow', 'join_rule', 'redacts', 'aliases', 'creator', 'body', 'x'],
  ...['history_visibility', 'third_party_invite', '__proto__', 'constructor', '\uff5e', '\u{1f600}'],
);
const values: fc.Arbitrary<JsonValue> = fc.oneof(
  fc.maxSafeInteger(),
  fc.constantFrom('join', 'knock', 'public', true, null),
  fc.string({ unit: 'grapheme' }),
  fc.dictionary(fc.constantFrom('signed', 'x', '@a:a.test'), fc.nat()),
);

function signedEvent(rules: RoomVersionRules, type: string, content: JsonObject, extra: JsonObject): JsonObject {
  const event: JsonObject = {
    ...(rules.eventIdForm === 'domain' ? { event_id: '$e:a.test' } : {}),
    type,
    room_id: '!r:a.test',
    sender: '@a:a.test',
    state_key: '',
    content,
    depth: 3,
    origin: 'a.test',
    origin_server_ts: 1_700_000_000_000,
    auth_events: [],
    prev_events: [],
    ...extra,
  };
  return hashAndSignPdu(rules, event, key).json;
}

const draft = fc.record({
  type: types,
  content: fc.dictionary(contentKeys, values),
  extra: fc.dictionary(fc.constantFrom('membership', 'prev_state', 'redacts', 'zz', '__proto__'), fc.nat(), {
    maxKeys: 2,
  }),
});

describe.each(ROOM_VERSIONS)('an event of room version %s', (version) => {
  const rules = roomVersionRules(version)!;

  it('is not believed whole once a bit is flipped', () => {
    const property = fc.property(draft, fc.nat(), fc.nat(7), ({ type, content, extra }, place, bit) => {
      const json = signedEvent(rules, type, content as JsonObject, extra);
      const bytes = Buffer.from(JSON.stringify(json));
      expect(verdictOn(rules, bytes)).toMatchObject({ outcome: 'verified', redacted: false });
      const at = place % bytes.length;
      // The last character of a signature has bits that stand for nothing, as base64 of 64 bytes does.
      const signatureEnd = bytes.indexOf(`"${key.keyId}":"`) + key.keyId.length + 4 + 86;
      if (at === signatureEnd - 1) return;
      bytes[at] = (bytes[at] as number) ^ (1 << bit);
      const verdict = verdictOn(rules, bytes);
      const isBelieved = verdict?.outcome === 'verified' && !verdict.redacted;
      expect(isBelieved, `byte ${at} of ${bytes.toString('latin1')}`).toBe(false);
    });
    fc.assert(property, { numRuns: 150 });
  });

  it('keeps its ID and its signature when it is redacted, once or twice', () => {
    const property = fc.property(draft, ({ type, content, extra }) => {
      const json = signedEvent(rules, type, content as JsonObject, extra);
      const whole = verdictOn(rules, Buffer.from(JSON.stringify({ ...json, unsigned: { age: 1 } })));
      const once = redactEvent(rules.redaction, json);
      const redacted = verdictOn(rules, Buffer.from(JSON.stringify(once)));
      expect(redacted).toMatchObject({ outcome: 'verified', eventId: whole?.eventId });
      expect(redactEvent(rules.redaction, once)).toEqual(once);
      if (canonicalJson(once) !== canonicalJson(json)) expect(redacted).toMatchObject({ redacted: true });
    });
    fc.assert(property, { numRuns: 100 });
  });
});
