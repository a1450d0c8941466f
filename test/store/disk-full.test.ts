/** A full disk: a write says so and has changed nothing, what was written before stays, and writing goes on when there is room. */

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { StoreWriter } from '../../src/store/open-store.js';
import { openStore } from '../../src/store/open-store.js';
import { smallDisk } from './small-disk.js';
import { temporaryFolder } from './temporary-store.js';

const disk = smallDisk(16);
afterAll(() => disk?.unmount());

const DIST = fileURLToPath(new URL('../../dist/src/store/', import.meta.url));
const BODY = Buffer.alloc(2_000, 'body');
const NIDS = [1, 500, 1_001, 1_500, 2_001];

const put = (first: number) => (writer: StoreWriter) => {
  for (let nid = first; nid < first + 500; nid++) writer.tables.event_body_by_nid.put(nid, BODY);
};

/** A process of its own: lmdb rejects a promise beside ours there, which vitest would take for a failure. */
const IN_BACKGROUND = `
import { openStore } from '${DIST}open-store.js';
import { takeCommitFailures } from '${DIST}folder/write-failure.js';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
const [, , folder, filler] = process.argv;
takeCommitFailures();
const store = openStore(folder, 'a.test');
const put = (first) => (writer) => {
  for (let nid = first; nid < first + 500; nid++) writer.tables.event_body_by_nid.put(nid, Buffer.alloc(2000, 'body'));
};
await store.writeInBackground(put(5001));
const { bavail, bsize } = statfsSync(folder);
writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - 65536)));
await store.writeInBackground(put(6001)).then(() => console.log('written'), (error) => console.log(error.message));
await new Promise((resolve) => setTimeout(resolve, 200));
rmSync(filler);
await store.writeInBackground(put(6001));
store.refresh();
console.log('went on:', [5001, 5500, 6001, 6500].filter((nid) => store.tables.event_body_by_nid.has(nid)).join(' '));
await store.close();
`;

describe.runIf(disk !== undefined)('the store on a disk that is full', () => {
  it('refuses a write whole, keeps what it had, and goes on when there is room', async () => {
    if (disk === undefined) return;
    let store = openStore(disk.folder, 'a.test');
    const has = () => NIDS.filter((nid) => store.tables.event_body_by_nid.has(nid));
    store.write(put(1));
    store.write(put(1_001));
    disk.fill(64 * 1024);
    expect(() => store.write(put(2_001))).toThrow(/cannot write to .*store: .*bytes are free on its disk/);
    store.refresh();
    expect(has()).toEqual([1, 500, 1_001, 1_500]);
    disk.free();
    store.write(put(2_001));
    store.refresh();
    expect(has()).toEqual(NIDS);
    await store.close();
    store = openStore(disk.folder, 'a.test');
    expect(has()).toEqual(NIDS);
    await store.close();
  });

  it('does the same for writes in the background, and stays up', () => {
    if (disk === undefined) return;
    const script = join(temporaryFolder(), 'in-background.mjs');
    writeFileSync(script, IN_BACKGROUND);
    const child = spawnSync(process.execPath, [script, join(disk.folder, 'b'), join(disk.folder, 'filler')], {
      encoding: 'utf8',
      timeout: 25_000,
    });
    expect(child.stdout, child.stderr).toMatch(/cannot write to .*bytes are free on its disk/);
    expect(child.stdout, child.stderr).toContain('went on: 5001 5500 6001 6500');
  });
});
