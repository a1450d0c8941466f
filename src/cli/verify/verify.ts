/**
 * `joinery verify`: reads lines, has threads verify them, writes their reports in order. Memory holds a few batches for each
 * thread, whatever the size of the file; a slow reader of the output slows the reading down.
 */

import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import type { CommandStreams } from '../streams/command-streams.js';
import { openInput } from '../streams/open-input.js';
import { Output } from '../streams/output.js';
import { oneFile, rulesOfOption } from '../tool-options.js';
import { UsageError } from '../usage-error.js';
import { LineBatches } from './line-batches.js';
import { showProgress } from './progress.js';
import { readKeys } from './read-keys.js';
import type { BrokenLine } from './verify-thread.js';
import { VerifyThreads } from './verify-threads.js';

/** Most threads; more would only share the work of reading and writing, which one thread does. */
export const THREADS_MAX = 64;
/** Broken lines that are named on standard error; all of them are in the output. */
export const BROKEN_LINES_NAMED_MAX = 10;

function threadsOf(option: string | undefined): number {
  if (option === undefined) return Math.min(availableParallelism(), THREADS_MAX);
  const threads = Number(option);
  if (/^[0-9]+$/.test(option) && threads >= 1 && threads <= THREADS_MAX) return threads;
  throw new UsageError(`--threads takes a number from 1 to ${THREADS_MAX}, not ${JSON.stringify(option)}`);
}

/** Runs the command; whether every PDU is good. */
export async function verify(argv: readonly string[], streams: CommandStreams): Promise<boolean> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: { 'room-version': { type: 'string' }, keys: { type: 'string' }, threads: { type: 'string' } },
    allowPositionals: true,
  });
  const { version } = rulesOfOption('verify', values['room-version']);
  const threadsMax = threadsOf(values.threads);
  const path = oneFile('verify', positionals) ?? '-';
  if (values.keys === '-' && path === '-') throw new UsageError('--keys and FILE cannot both be standard input');
  const keys = values.keys === undefined ? undefined : await readKeys(values.keys, streams.input);
  const input = await openInput(path, streams.input);

  const threads = new VerifyThreads({ roomVersion: version, keys }, threadsMax);
  const output = new Output(streams.output);
  const progress = showProgress(streams.errors, input.bytesTotal);
  const lines = new LineBatches();
  const tally = { pdus: 0, bad: 0, broken: 0 };
  const named: BrokenLine[] = [];
  const takeOne = async (bytesRead: number): Promise<boolean> => {
    const answer = await threads.take();
    lines.recycle(answer.bytes);
    tally.pdus += answer.pdus;
    tally.bad += answer.bad;
    tally.broken += answer.broken.length;
    named.push(...answer.broken.slice(0, BROKEN_LINES_NAMED_MAX - named.length));
    progress.update(bytesRead, tally.pdus, tally.bad);
    return output.write(answer.output);
  };
  let isRead = true;
  try {
    let bytesRead = 0;
    for await (const batch of lines.read(input.chunks)) {
      bytesRead = batch.bytesRead;
      threads.give(batch);
      while (isRead && !threads.hasRoom) isRead = await takeOne(bytesRead);
      if (!isRead) break;
    }
    while (isRead && threads.isBusy) isRead = await takeOne(bytesRead);
  } finally {
    progress.end();
    await threads.close();
  }
  if (isRead) report(streams, input.name, tally, named);
  return tally.bad === 0;
}

/** Names broken lines for people, as compilers do. */
function report(
  streams: CommandStreams,
  name: string,
  tally: { readonly pdus: number; readonly bad: number; readonly broken: number },
  named: readonly BrokenLine[],
): void {
  let text = '';
  for (const { line, code, reason } of named) {
    // A reason may quote the file, which must not reach a terminal as commands.
    text += `joinery: ${name}:${line}: ${code}: ${reason.replace(/\p{Cc}/gu, '?')}\n`;
  }
  if (tally.broken > named.length) text += `joinery: ${name}: ${tally.broken - named.length} more broken lines\n`;
  if (tally.bad > 0) text += `joinery: ${name}: ${tally.bad} of ${tally.pdus} PDUs are bad\n`;
  streams.errors.write(text);
}
