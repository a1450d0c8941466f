/** Runs the real command, as compiled under dist/ (`npm test` compiles first), and collects what it says. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));

export interface Run {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
}

/** `input` becomes standard input. */
export function joinery(argv: readonly string[], input: string | Uint8Array = ''): Promise<Run> {
  const child = spawn(process.execPath, [MAIN, ...argv]);
  const out: Buffer[] = [];
  const error: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => out.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => error.push(bytes));
  // A command that refuses its arguments ends before it has read anything.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) =>
      resolve({ code, out: Buffer.concat(out).toString('utf8'), error: Buffer.concat(error).toString('utf8') }),
    );
  });
}

/** The lines of an output, parsed. */
export function linesOf(out: string): Record<string, unknown>[] {
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}
