/**
 * One server at a time on a data folder: a file that names the process which has it. A process that was killed leaves its
 * file behind; that keeps nobody out, because the file also says when that process began, and pids are used again.
 *
 * The file appears with its content (a link of a finished file), so that it is never seen half written. Limit: processes
 * are looked for on this machine and in this PID namespace; a folder that two machines share is not protected.
 */

import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StoreError } from './store-error.js';

export const LOCK_FILE = 'joinery.lock';
/** Takeovers of a lock left behind that others may win before this gives up. */
const TRIES_MAX = 5;

export interface FolderLock {
  /** Gives the folder back. Once is enough, twice is no error. */
  release(): void;
}

/** Takes a data folder (made where it is missing). Throws StoreError, with folder and pid, where a process has it. */
export function lockFolder(dataDir: string): FolderLock {
  const path = join(dataDir, LOCK_FILE);
  const own = `${process.pid} ${startOf(process.pid) ?? 'unknown'}\n`;
  const draft = `${path}.${process.pid}`;
  try {
    mkdirSync(dataDir, { recursive: true });
    writeFileSync(draft, own);
  } catch (error) {
    throw new StoreError(`${dataDir} cannot be written to: ${wordsOf(error)}`, { cause: error });
  }
  try {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      if (linked(draft, path)) return { release: () => release(path, own) };
      const found = read(path);
      if (found === undefined) continue;
      const pid = holderOf(found);
      if (pid !== undefined) {
        throw new StoreError(
          `${dataDir} is in use by the joinery process ${pid}: stop that one first, or name another data_dir`,
        );
      }
      takeAway(path, `${draft}.left`, found);
    }
  } finally {
    rmSync(draft, { force: true });
  }
  throw new StoreError(`${path} changes all the time: other processes are starting on this folder`);
}

function linked(draft: string, path: string): boolean {
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw new StoreError(`${path} cannot be made: ${wordsOf(error)}`, { cause: error });
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw new StoreError(`${path} cannot be read: ${wordsOf(error)}`, { cause: error });
  }
}

/** The pid in a lock, where that process still runs; undefined where it was left behind. */
function holderOf(lock: string): number | undefined {
  const [, digits, start] = /^(\d{1,10}) (\S+)\n$/.exec(lock) ?? [];
  const pid = Number(digits ?? 0);
  if (pid === 0 || !isAlive(pid)) return undefined;
  const now = startOf(pid);
  return now !== undefined && start !== 'unknown' && now !== start ? undefined : pid;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: somebody else's process.
    return codeOf(error) === 'EPERM';
  }
}

/** When a process began, as boot and clock ticks since; undefined where the system does not say. */
function startOf(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Field 22, counted from behind the command's name, which may hold spaces and parentheses.
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return ticks === undefined ? undefined : `${boot}/${ticks}`;
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    return undefined;
  }
}

/** Removes a lock that was left behind; one that another process has put in its place meanwhile comes back. */
function takeAway(path: string, aside: string, left: string): void {
  try {
    renameSync(path, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw new StoreError(`${path} cannot be taken over: ${wordsOf(error)}`, { cause: error });
  }
  if (read(aside) !== left) linked(aside, path);
  rmSync(aside, { force: true });
}

function release(path: string, own: string): void {
  if (read(path) === own) rmSync(path, { force: true });
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
