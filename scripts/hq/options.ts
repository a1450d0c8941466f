/** The command line of `npm run hq`: names, defaults and bounds. */

import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { countsThreadCpu } from './measure/thread-cpu.js';
import { HQ_EVENTS } from './room/plan/room-shape.js';

export const HELP = `npm run hq -- [options]: joins a synthetic room of Matrix HQ's size on this machine

  --events N             size of the room: state and auth chain (default ${HQ_EVENTS})
  --seed S               what the room is made from (default "joinery")
  --room-version 11|12   (default 11)
  --threads T            threads of the joiner's pool (default: all cores)
  --full                 ask for the full send_join instead of a partial one
  --sabotage             change one planted event behind the manifest's back: the run must then exit 1
  --keep DIR             run in DIR, which must not exist, and keep it
  --profile [DIR]        sample the joiner's threads and say what each stage costs per event; V8's profiles are left in DIR
                         (default: .cache/profile); Linux only
  --crash POINT|all      end the joiner at a crash point as kill -9 does, start it again, and check the outcome; several
                         with commas; resident@POINT ends the resident instead, both@POINT both of them; the points are
                         in src/store/crash/crash-points.ts
  --json FILE            write all figures to FILE
  --help                 this text

Exit codes: 0 all holds, 1 it does not, 2 wrong use.
`;

/** From dist/scripts/hq to the repository. */
const PROFILE_DIR = fileURLToPath(new URL('../../../.cache/profile', import.meta.url));

/** Every thread is a V8 heap of its own; more than any machine's cores is a typing error. */
const THREADS_MAX = 1024;

export interface HqOptions {
  readonly events: number;
  readonly seed: string;
  readonly roomVersion: string;
  readonly threads: number;
  readonly full: boolean;
  readonly sabotage: boolean;
  readonly keepDir: string | undefined;
  readonly jsonFile: string | undefined;
  readonly profileDir: string | undefined;
  /** `all`, or crash points with commas between them. */
  readonly crash: string | undefined;
  readonly help: boolean;
}

/** The command line is wrong; the message says how. */
export class OptionError extends Error {
  override readonly name = 'OptionError';
}

/** The options in `argv`. Throws OptionError, and the errors of parseArgs. */
export function parseOptions(argv: readonly string[]): HqOptions {
  const { values } = parseArgs({
    args: withProfileDir(argv),
    strict: true,
    options: {
      events: { type: 'string' },
      seed: { type: 'string', default: 'joinery' },
      'room-version': { type: 'string', default: '11' },
      threads: { type: 'string' },
      full: { type: 'boolean', default: false },
      sabotage: { type: 'boolean', default: false },
      keep: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'string' },
      crash: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const threads = wholeNumber('--threads', values.threads, availableParallelism());
  if (threads < 1 || threads > THREADS_MAX) throw new OptionError(`--threads ${threads}: expected 1 to ${THREADS_MAX}`);
  if (values.profile !== undefined && !countsThreadCpu()) {
    throw new OptionError('--profile: only Linux says what a thread costs');
  }
  return {
    events: wholeNumber('--events', values.events, HQ_EVENTS),
    seed: values.seed,
    roomVersion: values['room-version'],
    threads,
    full: values.full,
    sabotage: values.sabotage,
    keepDir: values.keep === undefined ? undefined : resolve(values.keep),
    jsonFile: values.json === undefined ? undefined : resolve(values.json),
    profileDir: values.profile === undefined ? undefined : resolve(values.profile),
    crash: values.crash,
    help: values.help,
  };
}

/** The arguments with a folder behind a `--profile` that has none: parseArgs knows no option with an optional value. */
function withProfileDir(argv: readonly string[]): string[] {
  return argv.flatMap((argument, i) => {
    const hasNone = argument === '--profile' && (argv[i + 1] ?? '--').startsWith('--');
    return hasNone ? [argument, PROFILE_DIR] : [argument];
  });
}

function wholeNumber(name: string, text: string | undefined, absent: number): number {
  if (text === undefined) return absent;
  if (!/^\d{1,15}$/.test(text)) throw new OptionError(`${name} ${text}: expected a whole number`);
  return Number(text);
}
