/** `joinery verify`, through the real command: what it says of good PDUs, bad ones, broken lines, and wrong use. */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { LINE_BYTES_MAX } from '../../../src/cli/verify/line-batches.js';
import { BROKEN_LINES_NAMED_MAX } from '../../../src/cli/verify/verify.js';
import { joinery, linesOf, MAIN } from '../run-joinery.js';
import { A, B, keysOf, signedAlsoBy, signedEvent, TS, writeJson } from './signed-files.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-verify-'));
afterAll(() => rmSync(folder, { recursive: true }));

const KEYS = writeJson(join(folder, 'keys.json'), keysOf(A, B));
const good = signedEvent();
const goodLine = JSON.stringify(good.json);
const okSignature = { server: 'a.test', key_id: A.keyId, result: 'ok' };

function verify(input: string | Uint8Array, ...options: string[]) {
  return joinery(['verify', '--room-version', '11', '--keys', KEYS, ...options], input);
}

/** The only line of the answer to the only event. */
async function reportOn(event: object, ...options: string[]) {
  const { code, out } = await verify(`${JSON.stringify(event)}\n`, ...options);
  return { code, report: linesOf(out)[0] };
}

describe('joinery verify', () => {
  it('says of a good PDU that all is ok, and exits 0', async () => {
    const { code, out, error } = await verify(`${goodLine}\n`);
    expect({ code, error }).toEqual({ code: 0, error: '' });
    expect(linesOf(out)).toEqual([
      { event_id: good.eventId, format: 'ok', content_hash: 'ok', signatures: [okSignature], redacted: false },
    ]);
  });

  it('reads a file, standard input as -, and standard input where no FILE is given', async () => {
    const file = join(folder, 'good.jsonl');
    writeFileSync(file, `${goodLine}\n`);
    const fromInput = await verify(goodLine);
    expect(fromInput.code).toBe(0);
    expect(await verify('', file)).toEqual(fromInput);
    expect(await verify(goodLine, '-')).toEqual(fromInput);
  });

  it('says the same of an event whose members are in another order, with white space and unsigned', async () => {
    const reversed = Object.fromEntries(Object.entries({ ...good.json, unsigned: { age: 5 } }).reverse());
    const { code, out } = await verify(JSON.stringify(reversed, null, 1).replaceAll('\n', ' '));
    expect(code).toBe(0);
    expect(out).toBe((await verify(goodLine)).out);
  });

  it.each(['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12'])(
    'verifies events of room version %s and gives their ID in its form',
    async (version) => {
      const event = ['1', '2'].includes(version) ? { event_id: '$stated:a.test' } : {};
      const { json, eventId } = signedEvent({ version, event });
      const { code, out } = await joinery(['verify', '--room-version', version, '--keys', KEYS], JSON.stringify(json));
      expect(code).toBe(0);
      expect(linesOf(out)[0]).toMatchObject({ event_id: eventId, signatures: [okSignature] });
      expect(eventId).toMatch('event_id' in event ? /^\$stated:a\.test$/ : /^\$.{43}$/);
    },
  );

  it('calls content that does not match its hash a mismatch, redacted and bad, with its signature ok', async () => {
    const changed = { ...good.json, content: { body: 'changed', msgtype: 'm.text' } };
    expect(await reportOn(changed)).toEqual({
      code: 1,
      report: {
        event_id: good.eventId,
        format: 'ok',
        content_hash: 'mismatch',
        signatures: [okSignature],
        redacted: true,
      },
    });
  });

  it('calls a content hash that is not stated missing, and the event redacted', async () => {
    const { report, code } = await reportOn({ ...good.json, hashes: {} });
    expect(code).toBe(1);
    expect(report).toMatchObject({ format: 'ok', content_hash: 'missing', redacted: true });
  });

  it('calls a signature that does not verify bad', async () => {
    const { report, code } = await reportOn({ ...good.json, depth: 6 });
    expect(code).toBe(1);
    expect(report).toMatchObject({ format: 'ok', signatures: [{ ...okSignature, result: 'bad' }] });
  });

  it('calls a signature that is no base64 of 64 bytes, or no string, bad', async () => {
    for (const signature of ['AAAA', 5, null]) {
      const { report, code } = await reportOn({ ...good.json, signatures: { 'a.test': { [A.keyId]: signature } } });
      expect(code).toBe(1);
      expect(report).toMatchObject({ signatures: [{ ...okSignature, result: 'bad' }] });
    }
  });

  it('calls a key that the keys file lacks unknown, which is bad for a server that has to sign', async () => {
    const { report, code } = await reportOn(good.json, '--keys', writeJson(join(folder, 'b.json'), keysOf(B)));
    expect(code).toBe(1);
    expect(report).toMatchObject({ content_hash: 'ok', signatures: [{ ...okSignature, result: 'unknown_key' }] });
  });

  it('judges no signature without --keys', async () => {
    const { code, out } = await joinery(['verify', '--room-version', '11'], goodLine);
    expect(code).toBe(0);
    expect(linesOf(out)[0]).toMatchObject({ signatures: [{ ...okSignature, result: 'unknown_key' }] });
  });

  it('calls a key expired that was not valid at origin_server_ts, from room version 5 on', async () => {
    const key = keysOf(A)['a.test']?.[A.keyId];
    const fileOf = (name: string, entry: object) => writeJson(join(folder, name), { 'a.test': { [A.keyId]: entry } });
    const expired = fileOf('expired.json', { key, expired_ts: TS - 1 });
    const { report, code } = await reportOn(good.json, '--keys', expired);
    expect(code).toBe(1);
    expect(report).toMatchObject({ signatures: [{ ...okSignature, result: 'expired_key' }] });
    const valid = await reportOn(good.json, '--keys', fileOf('valid.json', { key, valid_until_ts: TS }));
    expect(valid.code).toBe(0);
    const old = signedEvent({ version: '4' });
    const inFour = await joinery(['verify', '--room-version', '4', '--keys', expired], JSON.stringify(old.json));
    expect(inFour.code).toBe(0);
  });

  it('lists every signature; a bad one of a server that need not sign makes no PDU bad', async () => {
    const twice = signedAlsoBy(good.json, B);
    const signatures = twice.signatures as Record<string, object>;
    const withBad = { ...twice, signatures: { ...signatures, 'b.test': { [B.keyId]: 'A'.repeat(86) } } };
    const unknown = { ...twice, signatures: { ...signatures, 'c.test': { 'ed25519:x': 'A'.repeat(86) } } };
    expect(await reportOn(twice)).toMatchObject({
      code: 0,
      report: { signatures: [okSignature, { server: 'b.test', key_id: B.keyId, result: 'ok' }] },
    });
    expect(await reportOn(withBad)).toMatchObject({ code: 0, report: { signatures: [{}, { result: 'bad' }] } });
    expect(await reportOn(unknown)).toMatchObject({ code: 0, report: { signatures: [{}, {}, { server: 'c.test' }] } });
  });

  it('takes one good signature of a server among several', async () => {
    const ofServer = (good.json.signatures as Record<string, object>)['a.test'];
    const signatures = { 'a.test': { 'ed25519:other': 'A'.repeat(86), ...ofServer } };
    expect(await reportOn({ ...good.json, signatures })).toMatchObject({
      code: 0,
      report: { signatures: [{ key_id: 'ed25519:other', result: 'unknown_key' }, okSignature] },
    });
  });

  it('names a server that had to sign and did not', async () => {
    expect(await reportOn({ ...good.json, signatures: {} })).toMatchObject({
      code: 1,
      report: { content_hash: 'ok', signatures: [], missing_signatures: ['a.test'] },
    });
  });

  it('asks a restricted join for the signature of the server that authorised it', async () => {
    const join = signedEvent({
      event: {
        type: 'm.room.member',
        state_key: '@a:a.test',
        content: { membership: 'join', join_authorised_via_users_server: '@b:b.test' },
      },
    });
    expect(await reportOn(join.json)).toMatchObject({ code: 1, report: { missing_signatures: ['b.test'] } });
    expect(await reportOn(signedAlsoBy(join.json, B))).toMatchObject({ code: 0 });
  });

  it('asks an invite made of a third-party invite for no signature', async () => {
    const content = { membership: 'invite', third_party_invite: { signed: { token: 't', mxid: '@b:b.test' } } };
    const event = { type: 'm.room.member', state_key: '@b:b.test', content };
    const { json } = signedEvent({ event });
    expect(await reportOn({ ...json, signatures: {} })).toMatchObject({ code: 0 });
  });

  it('asks for the signature of the event ID’s server in room versions 1 and 2', async () => {
    const { json } = signedEvent({ version: '1', event: { event_id: '$x:b.test' } });
    const run = (event: object) =>
      joinery(['verify', '--room-version', '1', '--keys', KEYS], `${JSON.stringify(event)}\n`);
    expect(linesOf((await run(json)).out)[0]).toMatchObject({ missing_signatures: ['b.test'] });
    expect((await run(signedAlsoBy(json, B, '1'))).code).toBe(0);
  });

  it('judges the create event of room version 12, which has no room ID', async () => {
    const create = { type: 'm.room.create', state_key: '', content: { room_version: '12' } };
    const { json, eventId } = signedEvent({ version: '12', event: { ...create, room_id: undefined } as never });
    const { code, out } = await joinery(['verify', '--room-version', '12', '--keys', KEYS], JSON.stringify(json));
    expect(code).toBe(0);
    expect(linesOf(out)[0]).toMatchObject({ event_id: eventId });
  });
});

describe('joinery verify and broken lines', () => {
  const without = (field: string) => JSON.stringify({ ...good.json, [field]: undefined });
  it.each<[string, string | Buffer, string]>([
    ['no JSON', 'not json', 'not-json'],
    ['a JSON value that is no object', '[1]', 'not-json'],
    ['an event that is cut short', goodLine.slice(0, -5), 'not-json'],
    ['bytes that are not UTF-8', Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]), 'not-utf-8'],
    ['an event without a sender', without('sender'), 'bad-field'],
    ['an event without hashes', without('hashes'), 'bad-field'],
    ['a key that stands twice', goodLine.replace('"depth":5', '"depth":5,"depth":6'), 'duplicate-key'],
    ['a number with a fraction', goodLine.replace('"depth":5', '"depth":5.5'), 'not-an-integer'],
    ['an integer out of range', goodLine.replace('"body":"hello"', '"body":9007199254740993'), 'integer-out-of-range'],
    ['half of a surrogate pair', goodLine.replace('hello', '\\ud800'), 'lone-surrogate'],
    ['an event that is too large', goodLine.replace('hello', 'x'.repeat(70_000)), 'too-large'],
    ['nesting that is too deep', goodLine.replace('"hello"', '['.repeat(600) + ']'.repeat(600)), 'too-deep'],
    ['a line that is too long', `{"body":"${'x'.repeat(LINE_BYTES_MAX)}"}`, 'line-too-long'],
    [
      'too many auth events',
      goodLine.replace('"auth_events":[]', `"auth_events":[${Array(11).fill(`"${good.eventId}"`)}]`),
      'too-many-auth-events',
    ],
  ])('gives %s in the middle a verdict with a code and goes on', async (_, line, format) => {
    const { code, out, error } = await verify(
      Buffer.concat([Buffer.from(`${goodLine}\n`), Buffer.from(line), Buffer.from(`\n${goodLine}\n`)]),
    );
    expect(code).toBe(1);
    const [first, broken, last] = linesOf(out);
    expect(first).toMatchObject({ event_id: good.eventId, format: 'ok' });
    expect(last).toEqual(first);
    expect(broken).toEqual({
      event_id: null,
      format,
      content_hash: null,
      signatures: [],
      redacted: false,
      line: 2,
      reason: expect.stringMatching(/./),
    });
    expect(error).toContain(`joinery: standard input:2: ${format}: `);
    expect(error).toContain('joinery: standard input: 1 of 3 PDUs are bad\n');
  });

  it('names file and line of the first few broken lines, and how many more there are', async () => {
    const file = join(folder, 'broken.jsonl');
    writeFileSync(file, `${goodLine}\n${'x\n'.repeat(BROKEN_LINES_NAMED_MAX + 3)}`);
    const { code, out, error } = await verify('', file);
    expect(code).toBe(1);
    expect(linesOf(out)).toHaveLength(BROKEN_LINES_NAMED_MAX + 4);
    const lines = error.trim().split('\n');
    expect(lines).toHaveLength(BROKEN_LINES_NAMED_MAX + 2);
    expect(lines[0]).toMatch(new RegExp(`^joinery: ${file}:2: not-json: `));
    expect(lines.at(-2)).toBe(`joinery: ${file}: 3 more broken lines`);
  });

  it('survives binary garbage, with a verdict for each line', async () => {
    const garbage = Buffer.alloc(200_000);
    for (let i = 0, x = 1; i < garbage.length; i++) {
      x = (x * 1_103_515_245 + 12_345) % 2 ** 31;
      garbage[i] = x >> 16;
    }
    const { code, out } = await verify(garbage);
    expect(code).toBe(1);
    const reports = linesOf(out);
    expect(reports.length).toBeGreaterThan(100);
    expect(reports.every(({ format }) => format === 'not-utf-8' || format === 'not-json')).toBe(true);
  });

  it('sends no control character of the file to the terminal', async () => {
    const { error } = await verify('{"a":\u001b[31m}\n');
    expect(error).toContain('not-json');
    expect(error).not.toContain('\u001b');
  });

  it('skips empty lines but counts them, and takes a last line without newline', async () => {
    const { out, code } = await verify(`\n  \n${goodLine}\r\n\n\nx`);
    expect(code).toBe(1);
    expect(linesOf(out)).toMatchObject([{ format: 'ok' }, { format: 'not-json', line: 6 }]);
    expect(await verify('')).toEqual({ code: 0, out: '', error: '' });
  });

  it('takes a line of exactly the longest length', async () => {
    const { code, out } = await verify(goodLine.padEnd(LINE_BYTES_MAX, ' '));
    expect(code).toBe(0);
    expect(linesOf(out)[0]).toMatchObject({ event_id: good.eventId });
  });
});

describe('joinery verify and wrong use', () => {
  it('prints its help with an example', async () => {
    const { code, out, error } = await joinery(['verify', '--help']);
    expect({ code, error }).toEqual({ code: 0, error: '' });
    expect(out).toContain('Example:\n  joinery verify --room-version 11 --keys keys.json room.jsonl');
  });

  it.each([
    [['verify'], 'verify needs --room-version V'],
    [['verify', '--room-version', '99'], 'room version "99" is not known; known are 1, 2, 3'],
    [['verify', '--room-version', '11', '--fast'], "Unknown option '--fast'"],
    [['verify', '--room-version', '11', 'a', 'b'], 'verify takes one FILE, not 2'],
    [['verify', '--room-version', '11', '--threads', '0'], '--threads takes a number from 1 to 64, not "0"'],
    [['verify', '--room-version', '11', '--threads', '65'], '--threads takes a number from 1 to 64, not "65"'],
    [['verify', '--room-version', '11', '--keys', '-'], '--keys and FILE cannot both be standard input'],
  ])('answers %j with exit code 2, the reason and its help', async (argv, reason) => {
    const { code, out, error } = await joinery(argv);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(error.startsWith(`joinery: ${reason}`)).toBe(true);
    expect(error).toContain('joinery verify --room-version V');
  });

  it('answers a file that is missing, or a folder, with exit code 2 and its name', async () => {
    const missing = join(folder, 'missing.jsonl');
    const gone = { code: 2, out: '', error: `joinery: ${missing}: cannot be read: no such file\n` };
    expect(await verify('', missing)).toEqual(gone);
    expect(await verify('', '--keys', missing)).toEqual(gone);
    const ofFolder = await verify('', folder);
    expect(ofFolder.code).toBe(2);
    expect(ofFolder.error).toMatch(/^joinery: .*: cannot be read: EISDIR/);
  });

  const key = 'A'.repeat(43);
  it.each([
    ['no JSON', '{', ':1:2: expected a key in quotes, but the document ends'],
    ['a list', '[]', ':1:1: expected an object'],
    ['something that is no server name', '{"a b":{}}', ':1:2: "a b" is not a server name'],
    ['a server without an object', '{"a.test":\n"x"}', ':2:1: expected an object'],
    ['no key ID', '{"a.test":{"x":"y"}}', ':1:12: "x" is not a key ID such as "ed25519:id"'],
    ['a key that is too short', '{"a.test":{"ed25519:x":"AAAA"}}', ':1:24: "ed25519:x" is not a public key'],
    ['a key that is a number', '{"a.test":{"ed25519:x":5}}', ':1:24: "ed25519:x" is not a public key'],
    ['a bad time', `{"a.test":{"ed25519:x":{"key":"${key}","expired_ts":"now"}}}`, '"ed25519:x" is valid until a time'],
    ['a server twice', '{"a.test":{},"a.test":{}}', ':1:14: "a.test" stands twice'],
    ['a key twice', `{"a.test":{"ed25519:x":"${key}","ed25519:x":"${key}"}}`, '"ed25519:x" stands twice'],
  ])('refuses a keys file that holds %s, with its place', async (_, text, reason) => {
    const file = join(folder, 'wrong-keys.json');
    writeFileSync(file, text);
    const { code, out, error } = await verify(goodLine, '--keys', file);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(error.startsWith(`joinery: ${file}`)).toBe(true);
    expect(error).toContain(reason);
  });

  it('ends quietly when the reader of its output goes away', async () => {
    const child = spawn(process.execPath, [MAIN, 'verify', '--room-version', '11', '--keys', KEYS]);
    let error = '';
    child.stderr.on('data', (text) => {
      error += String(text);
    });
    child.stdin.on('error', () => undefined);
    const feed = () => {
      while (child.stdin.writable && child.stdin.write(`${goodLine}\n`.repeat(500)));
    };
    child.stdin.on('drain', feed);
    feed();
    child.stdout.once('data', () => child.stdout.destroy());
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect({ code, error }).toEqual({ code: 0, error: '' });
  });
});
