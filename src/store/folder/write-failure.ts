/**
 * Says what stands behind a write that LMDB could not make. LMDB calls a full disk an input/output error, because the
 * system wrote a part of what it was given; an operator needs the folder and the room that is left.
 */

import { statfsSync } from 'node:fs';
import { DiskError, StoreError } from './store-error.js';

/** As lmdb words EIO and ENOSPC. */
const DISK_ERROR = /input\/output error|no space left/i;

/** It comes a turn of the event loop later, or never where another transaction took it. */
const COMMIT_ERROR_MS_MAX = 1_000;

/** What LMDB says of pages that are not as it wrote them, and in the same transaction of whatever comes after. */
const DAMAGE = /MDB_(CORRUPTED|PAGE_NOTFOUND|INVALID|PANIC|BAD_TXN)/;

/** What an operator can do about an error of LMDB that a damaged file is behind; empty for any other. */
export function damageAdvice(error: unknown): string {
  if (!(error instanceof Error) || !DAMAGE.test(error.message)) return '';
  return '. If this comes again after a restart its data file is damaged: restore the folder from a backup, or name another data_dir';
}

/** The error to throw for one that a write ended with: a StoreError for the disk's and the file's, else the same. */
export function writeFailure(storePath: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const advice = damageAdvice(error);
  if (advice !== '') return new StoreError(`cannot write to ${storePath}: ${error.message}${advice}`, { cause: error });
  if (!DISK_ERROR.test(error.message)) return error;
  return new DiskError(
    `cannot write to ${storePath}: ${error.message}; ${freeBytes(storePath)} bytes are free on its disk. Nothing of this write was kept`,
    { cause: error },
  );
}

/** lmdb tells after a commit has failed why it did; unless that promise is taken, it ends the process. */
export async function commitError(error: unknown): Promise<unknown> {
  if (!(error instanceof Error && 'commitError' in error && error.commitError instanceof Promise)) return error;
  const waited = new Promise((resolve) => {
    setTimeout(resolve, COMMIT_ERROR_MS_MAX, error).unref();
  });
  return await Promise.race([error.commitError.catch((why: unknown) => why), waited]);
}

/**
 * Keeps the process up when a background commit fails: lmdb rejects a promise of its own beside the one that the writer
 * gets, and nobody can take that. Any other rejection that nobody takes ends the process, as without this.
 */
export function takeCommitFailures(): void {
  process.on('unhandledRejection', (error) => {
    if (!(error instanceof Error && 'commitError' in error && error.commitError instanceof Promise)) throw error;
    error.commitError.catch(() => undefined);
  });
}

function freeBytes(path: string): string {
  try {
    const { bavail, bsize } = statfsSync(path);
    return String(bavail * bsize);
  } catch (error) {
    return `an unknown number of (${error instanceof Error ? error.message : error})`;
  }
}
