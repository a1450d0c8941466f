/** The format checks of one event: every code, and what is kept of it. */

import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import {
  AUTH_EVENTS_MAX,
  PDU_BYTES_MAX,
  PDU_FIELD_BYTES_MAX,
  PREV_EVENTS_MAX,
} from '../../../src/kernel/matrix/limits.js';
import { parsePdu } from '../../../src/kernel/matrix/parse-pdu.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';

const EVENT: JsonObject = {
  type: 'm.room.message',
  room_id: '!r:a.test',
  sender: '@a:a.test',
  content: { body: 'x' },
  depth: 5,
  origin_server_ts: 1,
  auth_events: ['$a'],
  prev_events: ['$b', '$c'],
  hashes: { sha256: 'x' },
  signatures: { 'a.test': { 'ed25519:1': 'x' } },
};

const OLD_EVENT: JsonObject = {
  ...EVENT,
  event_id: '$e:a.test',
  auth_events: [['$a:a.test', { sha256: 'x' }]],
  prev_events: [['$b:a.test', {}]],
};

function parse(change: JsonObject | string, version = '11', pushed = true) {
  const rules = roomVersionRules(version);
  if (rules === undefined) throw new Error(`no room version ${version}`);
  const base = rules.eventIdForm === 'domain' ? OLD_EVENT : EVENT;
  return parsePdu(rules, typeof change === 'string' ? change : JSON.stringify({ ...base, ...change }), { pushed });
}

function codeOf(change: JsonObject | string, version = '11', pushed = true): string {
  const parsed = parse(change, version, pushed);
  return parsed.ok ? 'ok' : parsed.code;
}

const raw = (member: string) => `${JSON.stringify(EVENT).slice(0, -1)},${member}}`;

describe('parsing a PDU', () => {
  it('gives the fields of a valid event', () => {
    const parsed = parse({ state_key: '' });
    expect(parsed).toMatchObject({
      ok: true,
      pdu: {
        statedEventId: undefined,
        roomId: '!r:a.test',
        stateKey: '',
        authEventIds: ['$a'],
        prevEventIds: ['$b', '$c'],
        depth: 5,
      },
    });
    expect(parse({}, '2')).toMatchObject({
      ok: true,
      pdu: {
        statedEventId: '$e:a.test',
        stateKey: undefined,
        authEventIds: ['$a:a.test'],
        prevEventIds: ['$b:a.test'],
      },
    });
  });

  it('drops what is not a JSON object', () => {
    for (const text of ['', '[]', 'null', '{"a":']) expect(codeOf(text)).toBe('not-json');
  });

  it('drops duplicate keys, deep nesting, and numbers that are not integers in room versions 6 and later', () => {
    expect(codeOf(raw('"depth":5'))).toBe('duplicate-key');
    expect(codeOf(raw(`"x":${'['.repeat(600)}${']'.repeat(600)}`))).toBe('too-deep');
    expect(codeOf(raw('"x":1.0'))).toBe('not-an-integer');
    expect(codeOf({ x: 1.5 }, '5')).toBe('ok');
  });

  it('drops missing and malformed fields', () => {
    const bad: JsonObject[] = [
      { type: undefined },
      { type: 1 },
      { sender: '@a' },
      { sender: 'a:a.test' },
      { sender: undefined },
      { room_id: undefined },
      { room_id: '#r:a.test' },
      { state_key: null },
      { state_key: 1 },
      { content: [] },
      { content: undefined },
      { depth: '5' },
      { depth: -1 },
      { depth: undefined },
      { origin_server_ts: '1' },
      { origin_server_ts: undefined },
      { auth_events: {} },
      { auth_events: ['a'] },
      { auth_events: [['$a', {}]] },
      { prev_events: undefined },
      { prev_events: [1] },
      { hashes: undefined },
      { hashes: 'x' },
      { signatures: undefined },
      { signatures: { 'a.test': 'x' } },
    ];
    for (const change of bad) expect(codeOf(change), JSON.stringify(Object.entries(change))).toBe('bad-field');
    const badOld: JsonObject[] = [
      { event_id: undefined },
      { event_id: '$e' },
      { auth_events: ['$a:a.test'] },
      { prev_events: [['$a:a.test']] },
    ];
    for (const change of badOld) expect(codeOf(change, '1'), JSON.stringify(change)).toBe('bad-field');
  });

  it('drops integers beyond 2^53 - 1 from room version 6 on', () => {
    expect(codeOf({ depth: 2 ** 53 - 1, content: { n: -(2 ** 53) + 1 } })).toBe('ok');
    for (const version of ['6', '11', '12']) {
      expect(codeOf({ depth: 2 ** 53 }, version)).toBe('integer-out-of-range');
      expect(codeOf({ origin_server_ts: 2 ** 53 }, version)).toBe('integer-out-of-range');
      expect(codeOf({ content: { n: 2 ** 53 } }, version)).toBe('integer-out-of-range');
      expect(codeOf({ content: { n: -(2 ** 53) } }, version)).toBe('integer-out-of-range');
    }
    expect(codeOf({ content: { n: 2 ** 53 } }, '5')).toBe('ok');
  });

  it('takes a depth of up to 2^63 - 1 in room versions 1 to 5 and counts it as the largest', () => {
    const withDepth = (depth: string) =>
      JSON.stringify({ ...EVENT, depth: 0 }).replace('"depth":0', `"depth":${depth}`);
    for (const depth of ['9007199254740992', '9223372036854775807']) {
      expect(parse(withDepth(depth), '5')).toMatchObject({ ok: true, pdu: { depth: Number.MAX_SAFE_INTEGER } });
    }
    expect(codeOf(withDepth('18446744073709551615'), '5')).toBe('integer-out-of-range');
    expect(parse({ origin_server_ts: -(2 ** 60) }, '5')).toMatchObject({
      pdu: { originServerTs: Number.MIN_SAFE_INTEGER },
    });
  });

  it('drops half of a surrogate pair in any room version, but not in unsigned', () => {
    for (const version of ['1', '5', '6', '11']) {
      expect(codeOf({ content: { body: '\ud800' } }, version)).toBe('lone-surrogate');
      expect(codeOf({ content: { '\udc00': 1 } }, version)).toBe('lone-surrogate');
      expect(codeOf({ content: { body: '\ud83d\ude00' } }, version)).toBe('ok');
      expect(codeOf({ unsigned: { body: '\ud800' } }, version)).toBe('ok');
    }
    expect(codeOf(raw(String.raw`"x":"\uD83D\uDE00"`))).toBe('ok');
    expect(codeOf(raw(String.raw`"x":"\uDE00\uD83D"`))).toBe('lone-surrogate');
  });

  it('drops no event for what its unsigned says: that is never hashed nor believed', () => {
    for (const chatter of [
      '{"x":1.5}',
      '{"x":1,"x":2}',
      '[-0,{"a":{"b":1,"b":2}}]',
      '{"x":1e400,"y":9007199254740993}',
    ]) {
      expect(parse(raw(`"unsigned":${chatter},"z":1`)), chatter).toMatchObject({
        ok: true,
        pdu: { text: raw('"z":1') },
      });
      expect(codeOf(raw(`"unsigned":${chatter},"z":1.5`)), chatter).toBe('not-an-integer');
      expect(codeOf(raw(`"unsigned":${chatter},"z":{"a":1,"a":2}`)), chatter).toBe('duplicate-key');
      expect(codeOf(raw(`"z":{"unsigned":${chatter}}`)), chatter).not.toBe('ok');
    }
    expect(codeOf(raw('"unsigned":{},"unsigned":{}'))).toBe('duplicate-key');
    expect(codeOf(raw(`"unsigned":${'['.repeat(600)}${']'.repeat(600)}`))).toBe('too-deep');
  });

  it('needs no room_id on the create event where the room ID is its hash', () => {
    expect(codeOf({ type: 'm.room.create', state_key: '', room_id: undefined }, '12')).toBe('ok');
    expect(codeOf({ type: 'm.room.create', state_key: '', room_id: undefined }, '11')).toBe('bad-field');
    expect(codeOf({ room_id: undefined }, '12')).toBe('bad-field');
  });

  it('limits type and state_key to 255 bytes from room version 11 on and to 255 code points before', () => {
    const emoji = '😀'.repeat(PDU_FIELD_BYTES_MAX);
    for (const name of ['type', 'state_key']) {
      expect(codeOf({ [name]: 'a'.repeat(PDU_FIELD_BYTES_MAX) })).toBe('ok');
      expect(codeOf({ [name]: 'a'.repeat(PDU_FIELD_BYTES_MAX + 1) })).toBe('field-too-large');
      expect(codeOf({ [name]: `${'é'.repeat(127)}a` })).toBe('ok');
      expect(codeOf({ [name]: 'é'.repeat(128) })).toBe('field-too-large');
      expect(codeOf({ [name]: emoji }, '10')).toBe('ok');
      expect(codeOf({ [name]: `${emoji}a` }, '10')).toBe('field-too-large');
    }
  });

  it('limits sender, room_id and event_id the same way', () => {
    const id = (sigil: string, letter: string, length: number) =>
      `${sigil}${letter.repeat(length - ':a.test'.length - 1)}:a.test`;
    for (const [name, sigil] of [
      ['sender', '@'],
      ['room_id', '!'],
    ] as const) {
      for (const version of ['1', '10', '11', '12']) {
        expect(codeOf({ [name]: id(sigil, 'a', PDU_FIELD_BYTES_MAX) }, version)).toBe('ok');
        expect(codeOf({ [name]: id(sigil, 'a', PDU_FIELD_BYTES_MAX + 1) }, version)).toBe('field-too-large');
      }
      expect(codeOf({ [name]: id(sigil, 'é', PDU_FIELD_BYTES_MAX) }, '10')).toBe('ok');
      expect(codeOf({ [name]: id(sigil, 'é', PDU_FIELD_BYTES_MAX) }, '11')).toBe('field-too-large');
    }
    expect(codeOf({ event_id: id('$', 'é', PDU_FIELD_BYTES_MAX) }, '2')).toBe('ok');
    expect(codeOf({ event_id: id('$', 'é', PDU_FIELD_BYTES_MAX + 1) }, '2')).toBe('field-too-large');
    expect(codeOf({ auth_events: [`$${'é'.repeat(PDU_FIELD_BYTES_MAX - 1)}`] }, '10')).toBe('ok');
    expect(codeOf({ auth_events: [`$${'é'.repeat(PDU_FIELD_BYTES_MAX)}`] }, '10')).toBe('bad-field');
    expect(codeOf({ auth_events: [`$${'é'.repeat(127)}`] })).toBe('ok');
    expect(codeOf({ auth_events: [`$${'é'.repeat(128)}`] })).toBe('bad-field');
  });

  it('limits prev_events and auth_events of what is pushed only', () => {
    const ids = (count: number) => Array.from({ length: count }, (_, i) => `$${i}`);
    expect(codeOf({ prev_events: ids(PREV_EVENTS_MAX), auth_events: ids(AUTH_EVENTS_MAX) })).toBe('ok');
    expect(codeOf({ prev_events: ids(PREV_EVENTS_MAX + 1) })).toBe('too-many-prev-events');
    expect(codeOf({ auth_events: ids(AUTH_EVENTS_MAX + 1) })).toBe('too-many-auth-events');
    expect(codeOf({ prev_events: ids(100), auth_events: ids(100) }, '11', false)).toBe('ok');
  });

  it('limits the event to 65,536 bytes of canonical JSON, unsigned not counted', () => {
    const room = PDU_BYTES_MAX - JSON.stringify({ ...EVENT, x: '' }).length;
    expect(codeOf({ x: 'a'.repeat(room) })).toBe('ok');
    expect(codeOf({ x: 'a'.repeat(room + 1) })).toBe('too-large');
    expect(codeOf({ x: 'é'.repeat(room / 2 + 1) })).toBe('too-large');
    expect(codeOf({ x: 'a'.repeat(room), unsigned: { y: 'a'.repeat(100_000) } })).toBe('ok');
    expect(codeOf(raw(`"x":${' '.repeat(PDU_BYTES_MAX)}1`))).toBe('ok');
    expect(codeOf(raw(`"x":"${'a'.repeat(PDU_BYTES_MAX)}\\ud800"`))).toBe('lone-surrogate');
  });

  it('counts the canonical form also where that is longer than the text', () => {
    const numbers = `"x":[${Array(4000).fill('1e20').join(',')}]`;
    expect(codeOf(raw(numbers), '5')).toBe('too-large');
    expect(codeOf(raw('"x":[1e20]'), '5')).toBe('ok');
  });

  it('cuts unsigned out of what is stored and leaves the rest as received', () => {
    const parsed = parse(raw('"unsigned" : {"age":1} , "z" : "\\u0041"'));
    expect(parsed.ok && parsed.pdu.text).toBe(raw(' "z" : "\\u0041"'));
    expect(parse(raw(String.raw`"\u0075nsigned":{}`))).toMatchObject({ pdu: { text: JSON.stringify(EVENT) } });
  });
});
