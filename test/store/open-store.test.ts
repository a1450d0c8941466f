/** The environment: durable, atomic, and of one server and one format only. */

import { describe, expect, it } from 'vitest';
import { StoreError } from '../../src/store/folder/store-error.js';
import { openStore, openStoreReader, STORE_FORMAT, STORE_OPTIONS, takeNumbers } from '../../src/store/open-store.js';
import { temporaryFolder, temporaryStore } from './temporary-store.js';

describe('the store', () => {
  it('has no option that would break "answered means fsynced"', () => {
    for (const option of ['noSync', 'noMetaSync', 'useWritemap', 'mapAsync', 'overlappingSync', 'eventTurnBatching']) {
      expect(STORE_OPTIONS).not.toHaveProperty(option);
    }
  });

  it('replaces the value of a numeric key that was there when it was opened, the first key, zero, included', async () => {
    for (const keys of [[0], [0, 1], [7]]) {
      const folder = temporaryFolder();
      const key = keys[0] as number;
      const put = async (text: string) => {
        const store = openStore(folder, 'a.test');
        store.write((writer) => {
          for (const one of keys) writer.tables.event_status_page.put(one, Buffer.from(text));
        });
        const found = store.tables.event_status_page.get(key)?.toString();
        await store.close();
        return found;
      };
      expect([await put('old'), await put('new')], `keys ${keys}`).toEqual(['old', 'new']);
    }
  });

  it('undoes a write in the background whole when its function throws, and rejects', async () => {
    const store = temporaryStore();
    const failed = store.writeInBackground((writer) => {
      writer.tables.event_body_by_nid.put(7, Buffer.from('seven'));
      throw new RangeError('stop');
    });
    await expect(failed).rejects.toThrow(RangeError);
    await store.writeInBackground((writer) => writer.tables.event_body_by_nid.put(8, Buffer.from('eight')));
    store.refresh();
    expect([7, 8].map((nid) => store.tables.event_body_by_nid.get(nid)?.toString())).toEqual([undefined, 'eight']);
  });

  it('undoes a write whole when its function throws, counters and appended rows too', () => {
    const store = temporaryStore();
    store.write((writer) => writer.tables.event_body_by_nid.put(1, Buffer.from('one')));
    expect(() =>
      store.write((writer) => {
        takeNumbers(writer, 'counter', 5);
        writer.tables.event_body_by_nid.put(1, Buffer.from('changed'));
        writer.tables.event_body_by_nid.put(2, Buffer.from('two'));
        writer.tables.event_body_by_nid.put(9, Buffer.from('nine'));
        writer.tables.filters.put(['@a:a.test', '1'], { room: {} });
        throw new RangeError('stop');
      }),
    ).toThrow(RangeError);
    store.refresh();
    expect([1, 2, 9].map((nid) => store.tables.event_body_by_nid.get(nid)?.toString())).toEqual([
      'one',
      undefined,
      undefined,
    ]);
    expect(store.tables.filters.get(['@a:a.test', '1'])).toBeUndefined();
    store.write((writer) => {
      expect(takeNumbers(writer, 'counter', 1)).toBe(1);
      for (const nid of [2, 3, 12, 5]) writer.tables.event_body_by_nid.put(nid, Buffer.from(`n${nid}`));
    });
    expect([...store.tables.event_body_by_nid.getKeys({})]).toEqual([1, 2, 3, 5, 12]);
  });

  it('refuses a write whose function is asynchronous, and keeps nothing of it', () => {
    const store = temporaryStore();
    const write = () =>
      store.write(async (writer) => {
        writer.tables.meta.put('asynchronous', 1);
      });
    expect(write).toThrow(StoreError);
    store.refresh();
    expect(store.tables.meta.get('asynchronous')).toBeUndefined();
  });

  it('sees its own writes inside a write', () => {
    const store = temporaryStore();
    store.write((writer) => {
      expect(takeNumbers(writer, 'x', 2)).toBe(1);
      expect(takeNumbers(writer, 'x', 1)).toBe(3);
      writer.tables.event_body_by_nid.put(1, Buffer.from('x'));
      expect(writer.tables.event_body_by_nid.getBinaryFast(1)?.toString()).toBe('x');
    });
  });

  it('refuses the folder of another server', async () => {
    const folder = temporaryFolder();
    await openStore(folder, 'a.test').close();
    expect(() => openStore(folder, 'b.test')).toThrow(/belongs to a\.test, not to b\.test/);
    await openStore(folder, 'a.test').close();
  });

  it('refuses a folder that another format wrote', async () => {
    const folder = temporaryFolder();
    const store = openStore(folder, 'a.test');
    store.write((writer) => writer.tables.meta.put('format', STORE_FORMAT + 1));
    await store.close();
    expect(() => openStore(folder, 'a.test')).toThrow(StoreError);
  });

  it('is read where it exists only, and a reader sees the last commit after it refreshed', async () => {
    expect(() => openStoreReader('/nowhere/at/all')).toThrow(StoreError);
    const store = temporaryStore();
    const reader = openStoreReader(store.path);
    expect(reader.tables.meta.get('seen')).toBeUndefined();
    store.write((writer) => writer.tables.meta.put('seen', 1));
    reader.refresh();
    expect(reader.tables.meta.get('seen')).toBe(1);
  });
});
