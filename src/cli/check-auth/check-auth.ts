/** `joinery check-auth`: reads a document of events, judges each against its own auth events, prints a line for each. */

import { parseArgs } from 'node:util';
import { readEvents } from '../document/read-events.js';
import type { CommandStreams } from '../streams/command-streams.js';
import { Output } from '../streams/output.js';
import { oneFile, rulesOfOption } from '../tool-options.js';
import { UsageError } from '../usage-error.js';
import { judgeEvents } from './judge-events.js';

/** Characters written at once. */
const WRITE_CHARS = 64 * 1024;

/** Runs the command; whether every event is allowed. */
export async function checkAuth(argv: readonly string[], streams: CommandStreams): Promise<boolean> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: { 'room-version': { type: 'string' } },
    allowPositionals: true,
  });
  const rules = rulesOfOption('check-auth', values['room-version']);
  const path = oneFile('check-auth', positionals);
  if (path === undefined) throw new UsageError('check-auth needs FILE, or - for standard input');
  const { events } = await readEvents(rules, path, streams.input);
  const judgements = judgeEvents(rules, events);
  const output = new Output(streams.output);
  let lines = '';
  for (const [i, { verdict, code, reason }] of judgements.entries()) {
    const reading = events[i]?.reading;
    const redacted = reading?.ok && reading.redacted ? { redacted: true } : {};
    const line = { event_id: reading?.eventId ?? null, verdict, code, reason, ...redacted };
    lines += `${JSON.stringify(line)}\n`;
    if (lines.length < WRITE_CHARS && i + 1 < judgements.length) continue;
    if (!(await output.write(lines))) break;
    lines = '';
  }
  return judgements.every(({ verdict }) => verdict === 'allowed');
}
