/**
 * Compiles to dist/ when a source is newer than the last successful compilation; else returns within milliseconds.
 * Plain JavaScript, because it runs before anything is compiled. Folders count as sources too: a removed file changes
 * its folder's time. `prepare` runs this too, so that what is run first after `npm ci` does not compile again.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stamp = join(root, 'dist', '.built');
const FOLDERS = ['src', 'bench', 'scripts'];
const FILES = ['package.json', 'tsconfig.json', 'tsconfig.build.json'];

/** Milliseconds since 1970 of the last change, 0 where there is no such file. */
function changedAt(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function newestIn(folder) {
  let newest = changedAt(folder);
  if (newest === 0) return 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) newest = Math.max(newest, newestIn(path));
    else if (entry.name.endsWith('.ts')) newest = Math.max(newest, changedAt(path));
  }
  return newest;
}

function typescriptCommand() {
  const folder = join(root, 'node_modules', 'typescript');
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return join(folder, typeof bin === 'string' ? bin : bin.tsc);
}

const newest = Math.max(
  ...FOLDERS.map((name) => newestIn(join(root, name))),
  ...FILES.map((name) => changedAt(join(root, name))),
);
if (newest >= changedAt(stamp)) {
  // The sources as they are now: one that changes while the compiler runs is newer than this and compiled next time.
  const startedAt = new Date();
  const compiler = spawnSync(process.execPath, [typescriptCommand(), '-p', join(root, 'tsconfig.build.json')], {
    stdio: 'inherit',
  });
  if (compiler.error !== undefined) throw compiler.error;
  if (compiler.status !== 0) process.exit(compiler.status ?? 1);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, `${startedAt.toISOString()}\n`);
  utimesSync(stamp, startedAt, startedAt);
}
