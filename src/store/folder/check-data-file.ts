/**
 * Looks at LMDB's file before LMDB maps it: reading a page beyond the end of a file that was cut off would end the process
 * by SIGBUS, and an empty file would be filled anew as if nothing had been lost.
 *
 * Checked are the two meta pages and the length that the newer one promises. Pages in between have no checksums: what is
 * changed there shows, if at all, when it is read. Layout: `MDB_page` and `MDB_meta` of the LMDB that lmdb-js 3 brings.
 */

import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { StoreError } from './store-error.js';

const DATA_FILE = 'data.mdb';
const META_BYTES = 160;
const MAGIC = 0xbeefc0de;
const MAGIC_AT = 24;
const PAGE_BYTES_AT = 48;
const LAST_PAGE_AT = 144;
const TRANSACTION_AT = 152;
/** Page sizes that LMDB knows. */
const PAGE_BYTES_MIN = 256;
const PAGE_BYTES_MAX = 65_536;
/** Pages at the end that LMDB may have given out and taken back within one transaction: they are promised and never written. */
const UNWRITTEN_PAGES_MAX = 64;

/** Throws StoreError for a file that is cut off or is none of LMDB's. No file at all is a new store. */
export function checkDataFile(storePath: string): void {
  const path = join(storePath, DATA_FILE);
  if (!existsSync(path)) return;
  const file = openSync(path, 'r');
  try {
    const bytes = fstatSync(file).size;
    if (bytes === 0) throw damaged(path, 'it is empty');
    const first = metaAt(file, path, 0);
    const pageBytes = first.readUInt32LE(PAGE_BYTES_AT);
    if (pageBytes < PAGE_BYTES_MIN || pageBytes > PAGE_BYTES_MAX) throw damaged(path, 'its first page is not LMDB’s');
    const second = metaAt(file, path, pageBytes);
    const isNewer = second.readBigUInt64LE(TRANSACTION_AT) > first.readBigUInt64LE(TRANSACTION_AT);
    const pages = Number((isNewer ? second : first).readBigUInt64LE(LAST_PAGE_AT)) + 1;
    if (bytes < (pages - UNWRITTEN_PAGES_MAX) * pageBytes) {
      throw damaged(path, `it has ${bytes} bytes, and ${pages * pageBytes} were written`);
    }
  } finally {
    closeSync(file);
  }
}

function metaAt(file: number, path: string, offset: number): Buffer {
  const meta = Buffer.alloc(META_BYTES);
  const read = readSync(file, meta, 0, META_BYTES, offset);
  if (read < META_BYTES) throw damaged(path, `it ends after ${offset + read} bytes`);
  if (meta.readUInt32LE(MAGIC_AT) !== MAGIC) throw damaged(path, `there is no LMDB meta page at byte ${offset}`);
  return meta;
}

function damaged(path: string, how: string): StoreError {
  return new StoreError(
    `${path} is damaged: ${how}. Nothing was changed; restore the folder from a backup, or name another data_dir`,
  );
}
