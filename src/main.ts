#!/usr/bin/env node
/**
 * The `joinery` command. Sets the exit code rather than exiting: a server that has started goes on after its command has
 * returned, and output still on its way is not cut off. The server's code is loaded only when it is started, so that
 * `--help` needs no native library.
 */

import { runCommand } from './cli/run-command.js';

process.exitCode = await runCommand(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  error: (text) => process.stderr.write(text),
  streams: {
    // Only a command that reads standard input opens it.
    get input() {
      return process.stdin;
    },
    output: process.stdout,
    errors: process.stderr,
  },
  startServer: async (config) => (await import('./start-server.js')).startServer(config),
});
