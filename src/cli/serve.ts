/**
 * `joinery serve --config FILE`: reads the configuration, starts the server, says in one line where it answers, and ends it
 * cleanly on SIGTERM or SIGINT, also on one that comes while it starts.
 */

import { parseArgs } from 'node:util';
import { takeCommitFailures } from '../store/folder/write-failure.js';
import type { Config } from './config.js';
import { loadConfig } from './config.js';
import { UsageError } from './usage-error.js';

/** A signal ends the process within this time, whatever still runs. */
export const STOP_DEADLINE_MS = 9_000;

export interface RunningServer {
  /** Where each API answers, real ports included. */
  readonly addresses: readonly { readonly api: string; readonly url: string }[];
  close(deadlineMs: number): Promise<void>;
}

export type StartServer = (config: Config) => Promise<RunningServer>;

export async function serve(argv: readonly string[], out: (text: string) => void, start: StartServer): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options: { config: { type: 'string' } } });
  if (values.config === undefined) throw new UsageError('serve needs --config FILE');
  takeCommitFailures();
  let server: RunningServer | undefined;
  let stopping = false;
  const stop = () => {
    if (stopping) return;
    stopping = true;
    // Nothing was answered yet, and what is stored is whole at any time; a start takes seconds, many on a busy machine.
    if (server === undefined) process.exit(0);
    end(server);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  server = await start(loadConfig(values.config));
  out(`joinery ready: ${server.addresses.map(({ api, url }) => `${api}=${url}`).join(' ')}\n`);
}

/** Closes the server and ends the process. */
function end(server: RunningServer): void {
  // A close that hangs must not keep the process; what was answered is on disk already.
  setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
  server.close(STOP_DEADLINE_MS / 2).then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`joinery: stopping failed: ${error instanceof Error ? error.stack : String(error)}\n`);
      process.exit(1);
    },
  );
}
