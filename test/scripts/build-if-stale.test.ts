/** When the scripts of package.json compile first: only where a source is newer than what was compiled, `npm ci` included. */

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../store/temporary-store.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
/** A compiler that says each time that it ran, and fails where it is told to. */
const COMPILER = `
const { appendFileSync, existsSync } = require('node:fs');
appendFileSync('compiled', '.');
process.exit(existsSync('broken') ? 2 : 0);
`;
const AN_HOUR_S = 60 * 60;

let folder: string;
const file = (name: string) => join(folder, name);

beforeEach(() => {
  folder = temporaryFolder();
  for (const name of ['src', 'scripts', 'node_modules/typescript']) mkdirSync(file(name), { recursive: true });
  cpSync(join(ROOT, 'scripts/build-if-stale.mjs'), file('scripts/build-if-stale.mjs'));
  cpSync(join(ROOT, 'package.json'), file('package.json'));
  writeFileSync(file('src/a.ts'), '');
  writeFileSync(file('node_modules/typescript/package.json'), '{"bin":{"tsc":"tsc.cjs"}}');
  writeFileSync(file('node_modules/typescript/tsc.cjs'), COMPILER);
});

/** Runs what a script of package.json does before anything else; its exit code. */
function run(script: string): number | null {
  const [command = ''] = scripts[script].split(' && ');
  return spawnSync('sh', ['-c', command], { cwd: folder }).status;
}

function compilations(): number {
  return existsSync(file('compiled')) ? readFileSync(file('compiled'), 'utf8').length : 0;
}

/** Sets when a file was changed, in seconds from now. */
function changed(name: string, fromNowS: number): void {
  const at = new Date(Date.now() + fromNowS * 1000);
  utimesSync(file(name), at, at);
}

describe('the build before a script', () => {
  it('is made by npm ci once and for all, until a source changes', () => {
    expect(run('prepare')).toBe(0);
    expect(compilations()).toBe(1);
    for (const script of ['test', 'hq']) expect(run(script)).toBe(0);
    expect(compilations()).toBe(1);
    changed('src/a.ts', AN_HOUR_S);
    expect(run('hq')).toBe(0);
    expect(compilations()).toBe(2);
  });

  it('is made again where a file was removed', () => {
    run('prepare');
    changed('src', AN_HOUR_S);
    run('hq');
    expect(compilations()).toBe(2);
  });

  it('that failed stops the script, and is tried again', () => {
    writeFileSync(file('broken'), '');
    expect([run('prepare'), run('hq')]).toEqual([2, 2]);
    expect(compilations()).toBe(2);
  });
});
