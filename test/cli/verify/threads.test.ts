/** Thousands of PDUs over several threads: the output is in the order of the input and what one thread would say. */

import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { signedRoom } from '../../../bench/signed-room.js';
import { joinery, linesOf } from '../run-joinery.js';
import { keysOf, writeJson } from './signed-files.js';

const PDUS = 5_000;
const folder = mkdtempSync(join(tmpdir(), 'joinery-verify-threads-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'room.jsonl');
let keys = '';
/** The IDs that the output must have, in order; null for a broken line. */
let expected: (string | null)[] = [];

beforeAll(() => {
  const room = signedRoom(PDUS - 3, 20);
  keys = writeJson(join(folder, 'keys.json'), keysOf(...room.keys));
  const lines: string[] = [];
  expected = room.events.map(({ eventId }, i) => (i % 100 === 50 ? null : eventId));
  for (const [i, body] of room.bodies.entries()) {
    // Every hundredth line is broken, and some take a thread much longer than others.
    const padding = i % 97 === 0 ? ' '.repeat(100_000) : '';
    lines.push(i % 100 === 50 ? 'broken' : `${body.toString('utf8')}${padding}`);
  }
  writeFileSync(file, `${lines.join('\n')}\n`);
});

const run = (threads: number, path = file) =>
  joinery(['verify', '--room-version', '11', '--keys', keys, '--threads', String(threads), path]);

describe('joinery verify over threads', () => {
  it('keeps the order of the input and says what one thread says', async () => {
    const one = await run(1);
    expect(one.code).toBe(1);
    const reports = linesOf(one.out);
    expect(reports.map(({ event_id }) => event_id)).toEqual(expected);
    expect(reports.filter(({ format }) => format === 'not-json').map(({ line }) => line)).toEqual(
      Array.from({ length: PDUS / 100 }, (_, i) => 100 * i + 51),
    );
    const hash = (text: string) => createHash('sha256').update(text).digest('hex');
    for (const threads of [2, 7]) {
      const several = await run(threads);
      expect(several.error).toBe(one.error);
      expect(hash(several.out)).toBe(hash(one.out));
    }
  }, 120_000);

  it('exits 0 on the good lines alone', async () => {
    const room = signedRoom(1_000, 20);
    const good = join(folder, 'good.jsonl');
    writeFileSync(good, `${room.bodies.map((body) => body.toString('utf8')).join('\n')}\n`);
    const { code, out, error } = await run(3, good);
    expect({ code, error }).toEqual({ code: 0, error: '' });
    expect(linesOf(out).map(({ event_id }) => event_id)).toEqual(room.events.map(({ eventId }) => eventId));
  });
});
