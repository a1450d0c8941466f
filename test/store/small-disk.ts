/** A file system that is soon full: a tmpfs of a few megabytes, where this process may mount one; else one that says so. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SmallDisk {
  readonly kind: string;
  readonly folder: string;
  /** Environment of a process that works on it. */
  readonly env: Readonly<Record<string, string>>;
  /** Leaves `bytes` free. */
  fill(bytes: number): void;
  /** Makes room again. */
  free(): void;
  unmount(): void;
}

/** Undefined where mounting is not allowed. */
export function smallDisk(megabytes: number): SmallDisk | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'joinery-small-disk-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder]);
  if (mounted.status !== 0) {
    rmSync(folder, { recursive: true });
    return undefined;
  }
  const filler = join(folder, 'filler');
  return {
    kind: 'a small file system',
    folder,
    env: {},
    fill: (bytes) => {
      const { bavail, bsize } = statfsSync(folder);
      writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - bytes)));
    },
    free: () => rmSync(filler, { force: true }),
    unmount: () => {
      spawnSync('umount', ['-l', folder]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A folder that a server finds full when it is told so (src/store/crash/refuse-writes.ts); for whatever machine. */
export function toldDisk(): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), 'joinery-told-disk-'));
  const flag = join(folder, 'full');
  return {
    kind: 'a folder that says so',
    folder,
    env: { JOINERY_DISK_FULL_FILE: flag },
    fill: () => writeFileSync(flag, ''),
    free: () => rmSync(flag, { force: true }),
    unmount: () => rmSync(folder, { recursive: true, force: true }),
  };
}
