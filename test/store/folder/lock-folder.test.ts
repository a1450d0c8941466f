/** One process at a time on a data folder; a process that is gone keeps nobody out. */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LOCK_FILE, lockFolder } from '../../../src/store/folder/lock-folder.js';
import { temporaryFolder } from '../temporary-store.js';

describe('the lock of a data folder', () => {
  it('refuses a second process with folder and pid, until the first has given it back', () => {
    const folder = temporaryFolder();
    const lock = lockFolder(folder);
    expect(() => lockFolder(folder)).toThrow(`${folder} is in use by the joinery process ${process.pid}`);
    lock.release();
    expect(readdirSync(folder)).toEqual([]);
    lockFolder(folder).release();
  });

  it('is taken over from a process that is gone', () => {
    const folder = temporaryFolder();
    const gone = spawnSync(process.execPath, ['-e', '']).pid;
    writeFileSync(join(folder, LOCK_FILE), `${gone} unknown\n`);
    const lock = lockFolder(folder);
    expect(readFileSync(join(folder, LOCK_FILE), 'utf8')).toMatch(new RegExp(`^${process.pid} `));
    expect(readdirSync(folder)).toEqual([LOCK_FILE]);
    lock.release();
  });

  it.runIf(existsSync('/proc/self/stat'))('is taken over where another process has got the pid since', () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, LOCK_FILE), `${process.ppid} another-boot/1\n`);
    lockFolder(folder).release();
    expect(existsSync(join(folder, LOCK_FILE))).toBe(false);
  });

  it('is taken over when it is unreadable, for it is never half written', () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, LOCK_FILE), 'rubbish');
    lockFolder(folder).release();
    expect(existsSync(join(folder, LOCK_FILE))).toBe(false);
  });

  it('gives back its own lock only', () => {
    const folder = temporaryFolder();
    const lock = lockFolder(folder);
    writeFileSync(join(folder, LOCK_FILE), `${process.ppid} unknown\n`);
    lock.release();
    expect(existsSync(join(folder, LOCK_FILE))).toBe(true);
    expect(() => lockFolder(folder)).toThrow(String(process.ppid));
  });
});
