/** A data folder that is damaged or somebody else's is refused by name, and stays as it is, byte for byte. */

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { open } from 'lmdb';
import { describe, expect, it } from 'vitest';
import { StoreError } from '../../../src/store/folder/store-error.js';
import { writeFailure } from '../../../src/store/folder/write-failure.js';
import { openStore, STORE_FORMAT } from '../../../src/store/open-store.js';
import { temporaryFolder } from '../temporary-store.js';

async function filledFolder(): Promise<string> {
  const folder = temporaryFolder();
  const store = openStore(folder, 'a.test');
  for (let n = 0; n < 4; n++) {
    store.write((writer) => {
      for (let nid = 1; nid <= 500; nid++) writer.tables.event_body_by_nid.put(n * 500 + nid, Buffer.alloc(900, nid));
    });
  }
  await store.close();
  return folder;
}

function dataFile(folder: string): string {
  return join(folder, 'store', 'data.mdb');
}

function digest(folder: string): string {
  return createHash('sha256')
    .update(readFileSync(dataFile(folder)))
    .digest('hex');
}

/** Opens, expects a refusal that names the folder, and that nothing has changed. */
function refusal(folder: string, serverName = 'a.test'): string {
  const before = digest(folder);
  let message = '';
  try {
    openStore(folder, serverName);
  } catch (error) {
    expect(error).toBeInstanceOf(StoreError);
    message = (error as Error).message;
  }
  expect(message).toContain(folder);
  expect(digest(folder)).toBe(before);
  return message;
}

describe('the store of a data folder', () => {
  it('is refused when its file was cut off in the middle', async () => {
    const folder = await filledFolder();
    truncateSync(dataFile(folder), Math.floor(statSync(dataFile(folder)).size / 2));
    expect(refusal(folder)).toMatch(/is damaged: it has \d+ bytes, and \d+ were written.*restore the folder/);
  });

  it('is refused when its file was cut off within the first pages, or is empty', async () => {
    const folder = await filledFolder();
    truncateSync(dataFile(folder), 100);
    expect(refusal(folder)).toMatch(/is damaged: it ends after 100 bytes/);
    truncateSync(dataFile(folder), 0);
    expect(refusal(folder)).toMatch(/is damaged: it is empty/);
  });

  it('is refused when its file is garbage', async () => {
    const folder = await filledFolder();
    writeFileSync(dataFile(folder), Buffer.alloc(65_536, 'garbage'));
    expect(refusal(folder)).toMatch(/is damaged: there is no LMDB meta page/);
  });

  it('is named, with what to do, in the error of a write that finds a damaged page', () => {
    const failure = writeFailure('/data/store', new Error('MDB_BAD_TXN: Transaction must abort'));
    expect(failure).toBeInstanceOf(StoreError);
    expect((failure as Error).message).toMatch(/\/data\/store: MDB_BAD_TXN.*restore the folder from a backup/);
    const other = new Error('a bug');
    expect(writeFailure('/data/store', other)).toBe(other);
  });

  it('is refused when another format wrote it', async () => {
    const folder = await filledFolder();
    const store = openStore(folder, 'a.test');
    store.write((writer) => writer.tables.meta.put('format', STORE_FORMAT + 1));
    await store.close();
    expect(refusal(folder)).toMatch(/has store format \d+; this version reads \d+: run the version that wrote it/);
  });

  it('is refused when it is the store of another server, or of another program', async () => {
    expect(refusal(await filledFolder(), 'b.test')).toMatch(/belongs to a\.test, not to b\.test/);
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'store'));
    const root = open({ path: join(folder, 'store'), maxDbs: 4 });
    await root.openDB({ name: 'other' }).put('a', 1);
    await root.close();
    expect(refusal(folder)).toMatch(/another program/);
  });

  it('is used again after a refusal of another one', async () => {
    const folder = await filledFolder();
    refusal(folder, 'b.test');
    const store = openStore(folder, 'a.test');
    expect(store.tables.event_body_by_nid.get(2000)).toEqual(Buffer.alloc(900, 500));
    await store.close();
  });
});
