/**
 * The LMDB environment: opened once in each thread that reads, written by the main thread only.
 *
 * `write` is one transaction: it sees its own writes, is undone whole when its function throws, and has been fsynced when
 * it returns (lmdb's `transactionSync` commits with fdatasync). What a reader sees is the last commit; after a synchronous
 * stretch of reading it must call `refresh`, or old pages stay pinned and later reads are stale.
 */

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Database, RootDatabase } from 'lmdb';
import { open } from 'lmdb';
import { crashAfterQueued, crashAfterWrite } from './crash/crash-points.js';
import { refuseWhereFull } from './crash/refuse-writes.js';
import { checkDataFile } from './folder/check-data-file.js';
import { StoreError } from './folder/store-error.js';
import { commitError, damageAdvice, writeFailure } from './folder/write-failure.js';
import type { ReadTables, WriteTables } from './tables.js';
import { openTables, TABLES } from './tables.js';

/** Changes when a table's meaning does; a folder of another version is refused, never repaired silently. */
export const STORE_FORMAT = 2;

/** Address space reserved for the map, in bytes; not memory and not disk until used. Growing it later would remap. */
export const MAP_BYTES_MAX = 256 * 2 ** 30;

/** What the environment is opened with. `noSync`, `noMetaSync` and `useWritemap` would break "answered means fsynced". */
export const STORE_OPTIONS = {
  maxDbs: Object.keys(TABLES).length + 2,
  mapSize: MAP_BYTES_MAX,
  maxReaders: 126,
  encoding: 'binary',
} as const;

/** `meta` as it is, and not made where it is missing. */
const META_OPTIONS = { name: 'meta', ...TABLES.meta, cache: false, useRecords: false, create: false } as const;

/** Read access: all that queries and workers get. */
export interface StoreReader {
  readonly tables: ReadTables;
}

/** Write access, valid inside one `write` only. */
export interface StoreWriter {
  readonly tables: WriteTables;
}

export interface Store extends StoreReader {
  /** Folder of the environment. */
  readonly path: string;
  /** One durable transaction. `change` must be synchronous; when it throws nothing has happened. */
  write<T>(change: (writer: StoreWriter) => T): T;
  /**
   * The same for bulk work whose loss a crash may cause: `change` runs soon, and commit and fsync happen on lmdb's own
   * thread, so that this one goes on. Resolves when the change can be read; a later `write` makes it durable.
   */
  writeInBackground<T>(change: (writer: StoreWriter) => T): Promise<T>;
  /** Gives the read snapshot back. */
  refresh(): void;
  close(): Promise<void>;
}

/** The folder of the environment inside a data folder. */
export function storePath(dataDir: string): string {
  return join(dataDir, 'store');
}

/**
 * Opens (and creates) the store of a data folder. Throws StoreError, and has changed nothing, when it is damaged, belongs
 * to another server or was written by another format. Whoever serves from it has locked it (folder/lock-folder.ts).
 */
export function openStore(dataDir: string, serverName: string): Store {
  const path = storePath(dataDir);
  const isNew = !existsSync(join(path, 'data.mdb'));
  mkdirSync(path, { recursive: true });
  checkDataFile(path);
  const root = openEnvironment(path, false);
  try {
    // Before any table is made that another version does not have.
    if (!isNew) checkOwner(root, path, serverName);
    const tables = openTables(root);
    const store = storeOf(root, tables, path);
    if (tables.meta.get('format') === undefined) markOwner(store, serverName);
    return store;
  } catch (error) {
    void root.close();
    if (error instanceof StoreError) throw error;
    const words = error instanceof Error ? error.message : String(error);
    throw new StoreError(`cannot use the store at ${path}: ${words}${damageAdvice(error)}`, { cause: error });
  }
}

/** Opens a store that exists for reading only, in a worker thread. */
export function openStoreReader(path: string): StoreReader & { refresh(): void; close(): Promise<void> } {
  if (!existsSync(path)) throw new StoreError(`no store at ${path}`);
  const root = openEnvironment(path, true);
  return { tables: openTables(root), refresh: () => root.resetReadTxn(), close: () => root.close() };
}

function openEnvironment(path: string, readOnly: boolean): RootDatabase {
  try {
    return open({ path, readOnly, ...STORE_OPTIONS });
  } catch (error) {
    throw new StoreError(`cannot open the store at ${path}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}

function storeOf(root: RootDatabase, tables: WriteTables, path: string): Store {
  return {
    path,
    tables,
    write: (change) => {
      const result = orFailure(path, () =>
        root.transactionSync(() => {
          const result = change({ tables });
          if (result instanceof Promise) throw new StoreError('a write must be synchronous');
          refuseWhereFull();
          return result;
        }),
      );
      crashAfterWrite();
      return result;
    },
    writeInBackground: async (change) => {
      // A child transaction: an asynchronous transaction of lmdb is not undone when its function throws.
      const written = root.childTransaction(() => {
        const result = change({ tables });
        refuseWhereFull();
        return result;
      }) as Promise<ReturnType<typeof change>>;
      crashAfterQueued();
      const result = await written.catch(async (error: unknown) => {
        throw writeFailure(path, await commitError(error));
      });
      crashAfterWrite();
      return result;
    },
    refresh: () => root.resetReadTxn(),
    close: () => root.close(),
  };
}

function orFailure<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    throw writeFailure(path, error);
  }
}

/** Throws StoreError for the store of another format or server. A store that was cut off before it had either is new. */
function checkOwner(root: RootDatabase, path: string, serverName: string): void {
  const meta = existingMeta(root);
  if (meta === undefined) {
    if ([...root.getKeys({ limit: 1 })].length === 0) return;
    throw new StoreError(`${path} is an LMDB environment of another program; use another data_dir`);
  }
  const format = meta.get('format');
  if (format === undefined && [...meta.getKeys({ limit: 1 })].length === 0) return;
  if (format !== STORE_FORMAT) {
    throw new StoreError(
      `${path} has store format ${String(format)}; this version reads ${STORE_FORMAT}: run the version that wrote it, or use another data_dir`,
    );
  }
  const owner = meta.get('server_name');
  if (owner !== serverName) {
    throw new StoreError(`${path} belongs to ${String(owner)}, not to ${serverName}; use another data_dir`);
  }
}

function existingMeta(root: RootDatabase): Database | undefined {
  try {
    return root.openDB(META_OPTIONS as never);
  } catch (error) {
    // lmdb has no error class for it.
    if (error instanceof Error && /not found/i.test(error.message)) return undefined;
    throw error;
  }
}

function markOwner(store: Store, serverName: string): void {
  store.write((writer) => {
    writer.tables.meta.put('format', STORE_FORMAT);
    writer.tables.meta.put('server_name', serverName);
  });
}

/** The next number of a counter in `meta`, advanced by `count`; the first is 1. */
export function takeNumbers(writer: StoreWriter, counter: string, count: number): number {
  const next = (writer.tables.meta.get(counter) as number | undefined) ?? 1;
  writer.tables.meta.put(counter, next + count);
  return next;
}
