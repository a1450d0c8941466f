/**
 * The one table of tables: every map of the environment with its key, its value and who owns it. A key that is a
 * number (NID) is LMDB's native integer key, so rows written in ascending order append; lists are ordered-binary keys.
 *
 * "NID" is a dense numeric ID (u32) that this server gives a room, an event or a state group; it never leaves it.
 */

import type { Database, RootDatabase } from 'lmdb';

/** How a table's keys and values are encoded. */
interface TableShape {
  readonly keyEncoding: 'uint32' | 'binary' | 'ordered-binary';
  readonly encoding: 'binary' | 'msgpack' | 'ordered-binary';
}

const NID_TO_BYTES: TableShape = { keyEncoding: 'uint32', encoding: 'binary' };
const KEY_TO_BYTES: TableShape = { keyEncoding: 'binary', encoding: 'binary' };
const LIST_TO_BYTES: TableShape = { keyEncoding: 'ordered-binary', encoding: 'binary' };
const LIST_TO_OBJECT: TableShape = { keyEncoding: 'ordered-binary', encoding: 'msgpack' };
const NID_TO_OBJECT: TableShape = { keyEncoding: 'uint32', encoding: 'msgpack' };

export const TABLES = {
  /** name -> number or string: format version, server name, next NIDs and positions. */
  meta: LIST_TO_OBJECT,

  /** event key (32 bytes) -> EventNid (u32, little-endian). */
  event_nid_by_key: KEY_TO_BYTES,
  /** EventNid -> the PDU as received, without `unsigned`. */
  event_body_by_nid: NID_TO_BYTES,
  /** EventNid -> compact record, see event-record.ts. */
  event_record_by_nid: NID_TO_BYTES,
  /** EventNid -> event ID, where the key is not the ID's own hash. */
  opaque_event_id_by_nid: { keyEncoding: 'uint32', encoding: 'ordered-binary' },
  /** EventNid / 1024 -> 1024 status bytes, see event-status.ts. */
  event_status_page: NID_TO_BYTES,
  /** EventNid -> EventNids of its prev_events (u32 list); events of the timeline, and with none those they name. */
  event_prevs_by_nid: NID_TO_BYTES,
  /** EventNid -> state group before and after it (2 x u32); events of the timeline only. */
  event_context_by_nid: NID_TO_BYTES,

  /** room ID -> RoomNid. */
  room_nid_by_id: { keyEncoding: 'ordered-binary', encoding: 'ordered-binary' },
  /** RoomNid -> RoomRow, see rooms.ts. */
  room_by_nid: NID_TO_OBJECT,
  /** RoomNid -> PartialStateRow, while the room has partial state. */
  partial_state_by_room: NID_TO_OBJECT,
  /** [RoomNid, EventNid] -> empty: events whose state is partial; 1: its verdict flipped, what rests on it comes next. */
  partial_state_events: LIST_TO_BYTES,
  /** [RoomNid, server name] -> number of joined members in the current state. */
  joined_count_by_server: { keyEncoding: 'ordered-binary', encoding: 'ordered-binary' },
  /** [RoomNid, event ID] -> Refusal: dropped and rejected events, with code and reason. */
  refusals: LIST_TO_OBJECT,

  /** [RoomNid, type, state key] (or placeKey of state-groups.ts for long ones) -> StateKeyNid, dense in its room. */
  state_key_nid: { keyEncoding: 'ordered-binary', encoding: 'ordered-binary' },
  /** SHA-256 of a chunk -> ChunkNid (u32). */
  state_chunk_nid_by_hash: KEY_TO_BYTES,
  /** ChunkNid -> 256 EventNids (u32 each, 0 where the key is unset). */
  state_chunk_by_nid: NID_TO_BYTES,
  /** SHA-256 of a chunk list -> StateGroupNid. */
  state_group_nid_by_hash: KEY_TO_BYTES,
  /** StateGroupNid -> ChunkNids (u32 list). */
  state_group_by_nid: NID_TO_BYTES,

  /** [RoomNid, EventNid of the target, EventNid of a redaction that names it] -> 1 byte: 1 when clients have seen it. */
  redactions: LIST_TO_BYTES,
  /** EventNid of a redaction -> EventNid of what it names. */
  redaction_targets: { keyEncoding: 'uint32', encoding: 'ordered-binary' },

  /** stream position -> [RoomNid, EventNid]. */
  stream: { keyEncoding: 'ordered-binary', encoding: 'ordered-binary' },
  /** [RoomNid, stream position] -> EventNid. */
  room_timeline: { keyEncoding: 'ordered-binary', encoding: 'ordered-binary' },
  /** [user ID, RoomNid] -> LocalMembership, see timeline.ts. */
  local_memberships: LIST_TO_OBJECT,

  /** [server name, key ID] -> StoredKey, see server-keys.ts. */
  server_keys: LIST_TO_OBJECT,
  /** server name -> StoredKeyResponse: the signed answer as received, for notary answers. */
  key_responses: LIST_TO_OBJECT,

  /** user ID -> UserRow, see users.ts. */
  users: LIST_TO_OBJECT,
  /** SHA-256 of an access token -> TokenRow. */
  access_tokens: { keyEncoding: 'binary', encoding: 'msgpack' },
  /** [user ID, filter ID] -> filter JSON. */
  filters: LIST_TO_OBJECT,
  /** [user ID, device ID, transaction ID] -> event ID it became. */
  client_transactions: { keyEncoding: 'ordered-binary', encoding: 'ordered-binary' },

  /** [origin, transaction ID] -> the answer's `pdus`; the newest of each origin, see transactions.ts. */
  inbound_transactions: LIST_TO_OBJECT,
  /** [origin, sequence] -> transaction ID, in the order in which they were answered; dense for an origin. */
  inbound_transaction_order: { keyEncoding: 'ordered-binary', encoding: 'ordered-binary' },
  /** [destination, sequence] -> EventNid waiting to be sent. */
  outbound_queue: { keyEncoding: 'ordered-binary', encoding: 'ordered-binary' },
  /** destination -> DestinationRow: failures, next try. */
  destinations: LIST_TO_OBJECT,
} as const satisfies Readonly<Record<string, TableShape>>;

export type TableName = keyof typeof TABLES;

/** A key of the tables: a NID, raw bytes, or an ordered list. */
export type TableKey = number | string | Buffer | readonly (string | number)[];

/** The part of a table that a reader sees. */
export interface ReadTable {
  /** The decoded value (a Buffer of its own for binary tables). */
  get(key: TableKey): unknown;
  /** A binary value in a buffer that the next read overwrites. */
  getBinaryFast(key: TableKey): Buffer | undefined;
  has(key: TableKey): boolean;
  getRange(range: TableRange): Iterable<{ readonly key: unknown; readonly value: unknown }>;
  getKeys(range: TableRange): Iterable<unknown>;
}

export interface TableRange {
  readonly start?: TableKey;
  readonly end?: TableKey;
  readonly limit?: number;
  readonly reverse?: boolean;
}

export interface WriteTable extends ReadTable {
  /** Numeric keys beyond the table's last one are appended: no search, full pages. */
  put(key: TableKey, value: unknown): void;
  /** Puts only where the key is new; says whether it was. */
  putNew(key: TableKey, value: unknown): boolean;
  remove(key: TableKey): boolean;
}

export type ReadTables = Readonly<Record<TableName, ReadTable>>;
export type WriteTables = Readonly<Record<TableName, WriteTable>>;

/** Opens every table of the environment. */
export function openTables(root: RootDatabase): WriteTables {
  const tables: Partial<Record<TableName, WriteTable>> = {};
  for (const name of Object.keys(TABLES) as TableName[]) {
    const { keyEncoding, encoding } = TABLES[name];
    // Without records an object is a plain map: with them every shape compiles a function of its own when it is read.
    const database = root.openDB({ name, keyEncoding, encoding, cache: false, useRecords: false } as never);
    tables[name] = keyEncoding === 'uint32' ? appendingTableOf(database) : tableOf(database);
  }
  // A copy, for V8: an object that was filled by name is a hash table to it, and every read would look a name up.
  return { ...tables } as WriteTables;
}

function tableOf(database: Database): WriteTable {
  return {
    get: (key) => database.get(key as never),
    getBinaryFast: (key) => {
      // lmdb's buffer is longer than its `length` says, which `Buffer.from` and `set` would trip over.
      const bytes = database.getBinaryFast(key as never) as Buffer | undefined;
      return bytes?.subarray(0, bytes.length);
    },
    has: (key) => database.doesExist(key as never),
    getRange: (range) => database.getRange(range as never),
    getKeys: (range) => database.getKeys(range as never),
    put: (key, value) => {
      database.putSync(key as never, value);
    },
    putNew: (key, value) => database.putSync(key as never, value, { noOverwrite: true }) as unknown as boolean,
    remove: (key) => database.removeSync(key as never) as boolean,
  };
}

/**
 * A table that appends keys beyond its last. The last key is kept here because only this thread writes; after an aborted
 * transaction it is too high, which costs an append and harms nothing.
 */
function appendingTableOf(database: Database): WriteTable {
  const table = tableOf(database);
  let lastKey: number | undefined;
  return {
    ...table,
    put: (key, value) => {
      lastKey ??= lastKeyOf(database);
      if ((key as number) > lastKey) {
        lastKey = key as number;
        // Refused, not written, where a later key is there after all.
        if ((database.putSync(key as never, value, { append: true }) as unknown as boolean) === true) return;
      }
      table.put(key, value);
    },
  };
}

function lastKeyOf(database: Database): number {
  for (const key of database.getKeys({ reverse: true, limit: 1 })) return key as number;
  // lmdb walks backwards down to key 1 only.
  return database.doesExist(0 as never) ? 0 : -1;
}
