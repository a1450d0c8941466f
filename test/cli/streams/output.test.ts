/** What becomes of a tool whose output cannot be written. */

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Output } from '../../../src/cli/streams/output.js';
import { MAIN } from '../run-joinery.js';
import { room } from '../stories.js';

const EVENTS = JSON.stringify({ events: room('11').events, state_sets: [['$create'], ['$create']] });
const TOOLS = [
  ['verify', '--room-version', '11', '-'],
  ['check-auth', '--room-version', '11', '-'],
  ['resolve', '--room-version', '11', '-'],
];

/** Runs with standard output as given; null: a pipe that nobody reads. */
function runInto(argv: readonly string[], output: number | null): Promise<{ code: number | null; error: string }> {
  const child = spawn(process.execPath, [MAIN, ...argv], { stdio: ['pipe', output ?? 'pipe', 'pipe'] });
  child.stdout?.destroy();
  let error = '';
  child.stderr?.on('data', (text) => {
    error += String(text);
  });
  child.stdin?.end(EVENTS);
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, error })));
}

describe('the output of a tool', () => {
  it.each(TOOLS)('of %s may have no reader: it ends quietly', async (...argv) => {
    const { error } = await runInto(argv, null);
    expect(error).toBe('');
  });

  it.each(TOOLS)('of %s on a full disk is an error', async (...argv) => {
    const full = openSync('/dev/full', 'w');
    const { code, error } = await runInto(argv, full);
    closeSync(full);
    expect({ code, error }).toEqual({
      code: 1,
      error: expect.stringMatching(/^joinery: cannot write the output: ENOSPC/),
    });
  });

  it('waits until the stream has taken what was written', async () => {
    const taken: string[] = [];
    const slow = new Writable({
      highWaterMark: 1,
      write: (chunk, _encoding, done) => {
        setImmediate(() => {
          taken.push(String(chunk));
          done();
        });
      },
    });
    const output = new Output(slow);
    expect(await output.write('a')).toBe(true);
    expect(taken).toEqual(['a']);
    slow.destroy();
    expect(await output.write('b')).toBe(false);
  });
});
