/**
 * Finds the subcommand of the `joinery` command, reports errors and returns the exit code: 0 done, 1 failed or a verdict is
 * bad, 2 wrong use or input that cannot be read.
 * A subcommand is loaded when it is called, so that `--help` needs no native library.
 */

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COMMAND_HELP, HELP } from './help.js';
import { InputError } from './input-error.js';
import type { StartServer } from './serve.js';
import type { CommandStreams } from './streams/command-streams.js';
import { UsageError } from './usage-error.js';

const EXIT_DONE = 0;
const EXIT_FAILED = 1;
const EXIT_WRONG_USE = 2;

/** Runs one command; whether all went well, or a verdict was bad. */
type Command = (argv: string[], output: CommandOutput) => Promise<boolean>;

const COMMANDS: Readonly<Record<string, Command>> = {
  generate: async (argv, { out }) => {
    await (await import('./generate.js')).runGenerate(argv, out);
    return true;
  },
  serve: async (argv, { out, startServer }) => {
    await (await import('./serve.js')).serve(argv, out, startServer);
    return true;
  },
  verify: async (argv, { streams }) => (await import('./verify/verify.js')).verify(argv, streams),
  'check-auth': async (argv, { streams }) => (await import('./check-auth/check-auth.js')).checkAuth(argv, streams),
  resolve: async (argv, { streams }) => (await import('./resolve/resolve.js')).resolve(argv, streams),
};

/** The version in the nearest package.json above: dist/src/cli and src/cli are at different depths. */
function version(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const found = versionIn(join(folder, 'package.json'));
    if (found !== undefined) return found;
    if (folder === dirname(folder)) throw new Error('joinery: no package.json above the command');
  }
}

function versionIn(file: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== 'object' || parsed === null || !('name' in parsed) || parsed.name !== 'joinery')
    return undefined;
  return 'version' in parsed ? String(parsed.version) : undefined;
}

/** Whether the error is about the command line: ours, or one of parseArgs. */
function isWrongUse(error: unknown): boolean {
  if (error instanceof UsageError) return true;
  return error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS_');
}

/** Where words go: standard output and standard error, or a test. */
export interface CommandOutput {
  out(text: string): void;
  error(text: string): void;
  /** For the tools, which read and write more than a few words. */
  readonly streams: CommandStreams;
  /** Starts the server; given by main.ts, which is below this layer. */
  readonly startServer: StartServer;
}

/** Errors that only a mistake in the program raises: whoever mends it needs the stack. */
function isBug(error: unknown): boolean {
  return [TypeError, RangeError, ReferenceError, SyntaxError].some((type) => error instanceof type);
}

async function dispatch(argv: readonly string[], output: CommandOutput): Promise<boolean> {
  const [name, ...rest] = argv;
  if (name === '--version' || name === '-v') {
    output.out(`${version()}\n`);
    return true;
  }
  if (name === '--help' || name === '-h' || name === 'help' || rest.includes('--help')) {
    output.out(COMMAND_HELP.get(name ?? '') ?? HELP);
    return true;
  }
  if (name === undefined) throw new UsageError('expected a command');
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) throw new UsageError(`unknown command ${name}`);
  return command(rest, output);
}

/** Runs one command line (without node and script); returns its exit code and never throws. */
export async function runCommand(argv: readonly string[], output: CommandOutput): Promise<number> {
  try {
    return (await dispatch(argv, output)) ? EXIT_DONE : EXIT_FAILED;
  } catch (error) {
    const wrongUse = isWrongUse(error);
    const words = error instanceof Error ? (isBug(error) && !wrongUse ? error.stack : error.message) : String(error);
    output.error(`joinery: ${words}\n${wrongUse ? `\n${COMMAND_HELP.get(argv[0] ?? '') ?? HELP}` : ''}`);
    return wrongUse || error instanceof InputError ? EXIT_WRONG_USE : EXIT_FAILED;
  }
}
