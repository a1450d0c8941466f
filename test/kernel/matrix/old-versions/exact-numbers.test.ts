/** Numbers of room versions 1 to 5: nothing of what was sent is lost on the way to its hash. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { benchKey, lookupOf } from '../../../../bench/signed-room.js';
import { CanonicalJsonError, canonicalJson } from '../../../../src/kernel/matrix/canonical-json.js';
import type { JsonObject, JsonValue } from '../../../../src/kernel/matrix/json.js';
import { canonicalToken, exactJsonObject } from '../../../../src/kernel/matrix/old-versions/exact-numbers.js';
import { parsePdu } from '../../../../src/kernel/matrix/parse-pdu.js';
import { roomVersionRules } from '../../../../src/kernel/matrix/room-versions.js';
import { hashAndSignPdu } from '../../../../src/kernel/signatures/sign-pdu.js';
import { verifyPdu } from '../../../../src/kernel/signatures/verify-pdu.js';

const exactText = (text: string): string =>
  canonicalJson(exactJsonObject(text) ?? (JSON.parse(text) as JsonValue), false);

describe('numbers of old room versions', () => {
  it.each([
    // Plain integers, digit by digit.
    ['9007199254740993', '9007199254740993'],
    ['-123456789012345678901234567890', '-123456789012345678901234567890'],
    ['0', '0'],
    ['-0', '0'],
    // With an exponent, in full: the specification's example.
    ['1e10', '10000000000'],
    ['1E+3', '1000'],
    ['-12e2', '-1200'],
    ['1e23', `1${'0'.repeat(23)}`],
    ['0e5', '0'],
    ['1e308', `1${'0'.repeat(308)}`],
    // Everything else as the reference homeserver writes a double.
    ['1.0', '1.0'],
    ['50.57', '50.57'],
    ['-0.0', '-0.0'],
    ['0.0', '0.0'],
    ['1.50', '1.5'],
    ['1.0e1', '10.0'],
    ['10e-1', '1.0'],
    ['123456789.125', '123456789.125'],
    ['1234567890123456.5', '1234567890123456.5'],
    ['9999999999999998.0', '9999999999999998.0'],
    ['10000000000000000.0', '1e+16'],
    ['0.0001', '0.0001'],
    ['0.00012', '0.00012'],
    ['0.00001', '1e-05'],
    ['-1.5e-7', '-1.5e-07'],
    ['1.5e300', '1.5e+300'],
    ['5e-324', '5e-324'],
    ['1e-400', '0.0'],
  ])('writes %s as %s', (token, canonical) => {
    expect(canonicalToken(token)).toBe(canonical);
    expect(exactText(`{"n":${token}}`)).toBe(`{"n":${canonical}}`);
  });

  it('refuses what is beyond a double', () => {
    for (const token of ['1e309', '-1e99999999999', '1.5e309']) {
      expect(canonicalToken(token)).toBeUndefined();
      expect(() => exactText(`{"n":[${token}]}`)).toThrow(CanonicalJsonError);
      expect(() => canonicalJson(JSON.parse(`[${token}]`) as JsonValue, false)).toThrow(CanonicalJsonError);
    }
  });

  it('makes no other value where doubles lose nothing', () => {
    for (const text of ['{}', '{"a":[1,-2,999999999999999],"b":"x"}', '{"a":null}']) {
      expect(exactJsonObject(text)).toBeUndefined();
    }
    expect(exactJsonObject('{"a":"[1.5"}')).toEqual({ a: '[1.5' });
  });

  it('reads everything that JSON.parse reads, numbers apart', () => {
    const space = fc.constantFrom('', ' ', '\n\t', '\r\n ');
    const value = fc.jsonValue({ noUnicodeString: false, stringUnit: 'binary' });
    fc.assert(
      fc.property(value, space, fc.constantFrom('2.5', '12345678901234567890'), (inner, gap, number) => {
        const indented = JSON.stringify(inner, null, gap);
        const text = `${gap}{"n"${gap}:${gap}${number}${gap},"value" :${indented}}`;
        const read = exactJsonObject(text) as JsonObject;
        expect(canonicalJson(read, false)).toContain(`"n":${number}`);
        const asDoubles = (found: unknown): unknown =>
          JSON.parse(
            JSON.stringify(found, (_key, item: unknown) =>
              typeof item === 'object' && item !== null && 'token' in item && typeof item.token === 'string'
                ? Number(item.token)
                : item,
            ),
          );
        expect(asDoubles(read)).toEqual(JSON.parse(JSON.stringify(JSON.parse(text))));
      }),
    );
  });

  it('leave hash and signature of an event as the server that sent it made them', () => {
    const key = benchKey('a.test');
    for (const version of ['1', '5']) {
      const rules = roomVersionRules(version)!;
      const event: JsonObject = {
        ...(version === '1' ? { event_id: '$e:a.test' } : {}),
        type: 'm.room.power_levels',
        room_id: '!r:a.test',
        sender: '@a:a.test',
        state_key: '',
        content: { users: { '@a:a.test': 'LEVEL' }, topic: 'NUMBER' },
        depth: 1,
        origin_server_ts: 1,
        auth_events: [],
        prev_events: [],
      };
      const numbers = (text: string) => text.replace('"LEVEL"', '100.0').replace('"NUMBER"', '12345678901234567890');
      const exact = exactJsonObject(numbers(JSON.stringify(event))) as JsonObject;
      const { json } = hashAndSignPdu(rules, exact, key);
      const sent = numbers(JSON.stringify({ ...json, ...event }));
      const parsed = parsePdu(rules, sent, { pushed: true });
      if (!parsed.ok) throw new Error(parsed.reason);
      expect(verifyPdu(rules, parsed.pdu, lookupOf([key]))).toMatchObject({ outcome: 'verified', redacted: false });
      const rounded = parsePdu(rules, sent.replace('100.0', '100'), { pushed: true });
      if (!rounded.ok) throw new Error(rounded.reason);
      expect(verifyPdu(rules, rounded.pdu, lookupOf([key]))).toMatchObject({
        outcome: 'dropped',
        code: 'bad-signature',
      });
    }
  });
});
