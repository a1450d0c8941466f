/**
 * One `joinery serve` process: started, waited for until it says that it is ready, ended with SIGTERM. What it logs goes
 * to a file in its folder, whose end is shown when it fails.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { profiledProcess } from './measure/profile.js';
import type { ServerFolder } from './run-folders.js';

/** What is compiled, also for who runs from source, as tests do. */
const DIST = import.meta.url.includes('/dist/') ? '../../' : '../../dist/';
const COMMAND = fileURLToPath(new URL(`${DIST}src/main.js`, import.meta.url));
/** Opening a store and the self-test take seconds; on a machine that is busy with something else they take minutes. */
const READY_TIMEOUT_MS = 300_000;
/** What `serve` promises. */
const STOP_TIMEOUT_MS = 10_000;
const LOG_LINES_SHOWN = 20;

export class ServerProcessError extends Error {
  override readonly name = 'ServerProcessError';
}

/** Where a process listens, by the API it serves. */
export interface ServerUrls {
  readonly client: string;
  readonly federation: string;
  readonly admin: string;
}

export interface ServerProcess {
  readonly folder: ServerFolder;
  readonly urls: ServerUrls;
  /** Fulfilled with the reason when the process ends without having been asked to. */
  readonly died: Promise<Error>;
  /** Fulfilled with exit code or signal, whoever ended it. */
  readonly ended: Promise<string>;
  /** The crash points that it said it reached or passed, in order; grows. See src/store/crash/crash-points.ts. */
  readonly points: readonly string[];
  /** Ends it at once, as `kill -9` does. */
  kill(): Promise<void>;
  /** Ends it. Throws ServerProcessError when it had to be killed or failed. */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** Where each of its threads leaves a CPU profile when it ends. */
  readonly profileDir?: string | undefined;
  /** A crash point, or `trace`. */
  readonly crashAt?: string | undefined;
}

/** Starts a server and waits until it is ready. */
export async function startServer(folder: ServerFolder, options: StartOptions = {}): Promise<ServerProcess> {
  const { profileDir, crashAt } = options;
  const logFile = join(folder.dir, 'joinery.log');
  const log = createWriteStream(logFile, { flags: 'a' });
  const profiled = profileDir === undefined ? undefined : profiledProcess(profileDir);
  const child = spawn(process.execPath, [...(profiled?.args ?? []), COMMAND, 'serve', '--config', folder.config], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Ctrl-C reaches the whole process group: it is this process that ends its servers, in order.
    detached: true,
    env: { ...process.env, ...profiled?.env, ...(crashAt === undefined ? {} : { JOINERY_CRASH_AT: crashAt }) },
  });
  let stopping = false;
  // The last resort, when this process ends without having waited for its servers.
  const killOnExit = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', killOnExit);
  child.once('exit', () => process.off('exit', killOnExit));
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  const died = new Promise<Error>((resolve) => {
    void ended.then(async (how) => {
      if (!stopping) resolve(new ServerProcessError(`${folder.serverName} ended: ${how}\n${await logEnd(logFile)}`));
    });
  });
  child.stderr.pipe(log, { end: false });
  const points: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    const point = /^crash point (.+) (?:reached|passed)$/.exec(line)?.[1];
    if (point !== undefined) points.push(point);
  });
  const urls = await Promise.race([
    readyUrls(child, log),
    died.then((error) => Promise.reject(error)),
    timeout(folder),
  ]).catch(async (error: unknown) => {
    stopping = true;
    child.kill('SIGKILL');
    throw error;
  });
  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    child.kill('SIGTERM');
    const patience = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    const how = await ended;
    clearTimeout(patience);
    log.end();
    if (how !== 'exit code 0' && how !== 'SIGTERM') {
      throw new ServerProcessError(`${folder.serverName} did not end cleanly: ${how}\n${await logEnd(logFile)}`);
    }
  };
  const kill = async (): Promise<void> => {
    stopping = true;
    child.kill('SIGKILL');
    await ended;
  };
  return { folder, urls, died, ended, points, kill, stop };
}

function readyUrls(child: ChildProcess, log: NodeJS.WritableStream): Promise<ServerUrls> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new Error('stdout is not piped');
    createInterface({ input: child.stdout }).on('line', (line) => {
      log.write(`${line}\n`);
      if (!line.startsWith('joinery ready: ')) return;
      const urls = new Map(
        line
          .slice('joinery ready: '.length)
          .split(' ')
          .map((entry) => {
            const at = entry.indexOf('=');
            return [entry.slice(0, at), entry.slice(at + 1)] as const;
          }),
      );
      const [client, federation, admin] = [urls.get('client'), urls.get('federation'), urls.get('admin')];
      if (client === undefined || federation === undefined || admin === undefined) {
        reject(new ServerProcessError(`not all addresses are in: ${line}`));
      } else resolve({ client, federation, admin });
    });
  });
}

function timeout(folder: ServerFolder): Promise<never> {
  return new Promise((_resolve, reject) => {
    setTimeout(() => {
      reject(new ServerProcessError(`${folder.serverName} was not ready within ${READY_TIMEOUT_MS / 1000} s`));
    }, READY_TIMEOUT_MS).unref();
  });
}

async function logEnd(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n');
}
