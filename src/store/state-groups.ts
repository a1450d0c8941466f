/**
 * State groups: complete state maps as persistent arrays. The n-th state key of a room has one place in the array; the
 * array is cut into chunks of 256, each stored once under its hash, so that a changed entry costs one chunk and the
 * chunk list, equal states share everything, and comparing two states skips the chunks they share.
 */

import { hash } from 'node:crypto';
import type { EventNid, RoomNid, StateGroupNid, StateKeyNid } from './nids.js';
import { bytesToNids, NO_EVENT, nidsToBytes } from './nids.js';
import type { StoreReader, StoreWriter } from './open-store.js';
import { takeNumbers } from './open-store.js';

/** Entries in a chunk: 1 KiB; a Matrix-HQ-sized state has 332 chunks and a 1.3 KiB list of them. */
export const CHUNK_ENTRIES = 256;
const CHUNK_SHIFT = 8;

/** The group of no state at all. */
export const EMPTY_STATE_GROUP = 0 as StateGroupNid;

const MEMBER = 'm.room.member';

/** A chunk that has no entries. */
const EMPTY_CHUNK = 0;

export type StateEntry = readonly [StateKeyNid, EventNid];

/**
 * Most characters of type and state key together that stand in a table key: at 3 bytes each below LMDB's 1,978. Up to
 * room version 10 each may have 255 code points of four bytes (510 characters).
 */
const PLACE_KEY_CHARS_MAX = 600;

/** The table key of (type, state key); a longer pair has the hash of its state key in a fourth member. */
function placeKey(room: RoomNid, type: string, stateKey: string): (string | number)[] {
  if (type.length + stateKey.length <= PLACE_KEY_CHARS_MAX) return [room, type, stateKey];
  return [room, type, '', hash('sha256', stateKey, 'hex')];
}

/** The place of (type, state key) in a room's state, or undefined when no event ever had it. */
export function stateKeyNidOf(
  reader: StoreReader,
  room: RoomNid,
  type: string,
  stateKey: string,
): StateKeyNid | undefined {
  return reader.tables.state_key_nid.get(placeKey(room, type, stateKey)) as StateKeyNid | undefined;
}

/** The place of (type, state key), made where it is new. */
export function internStateKey(writer: StoreWriter, room: RoomNid, type: string, stateKey: string): StateKeyNid {
  const known = stateKeyNidOf(writer, room, type, stateKey);
  if (known !== undefined) return known;
  // From 0: a place in an array.
  const nid = (takeNumbers(writer, `next_state_key_nid:${room}`, 1) - 1) as StateKeyNid;
  writer.tables.state_key_nid.put(placeKey(room, type, stateKey), nid);
  return nid;
}

function chunkList(reader: StoreReader, group: StateGroupNid): number[] {
  return group === EMPTY_STATE_GROUP ? [] : bytesToNids(reader.tables.state_group_by_nid.getBinaryFast(group));
}

/** A copy of a chunk's entries. */
function chunkEntries(reader: StoreReader, chunk: number): Uint32Array {
  const entries = new Uint32Array(CHUNK_ENTRIES);
  const bytes = chunk === EMPTY_CHUNK ? undefined : reader.tables.state_chunk_by_nid.getBinaryFast(chunk);
  if (bytes !== undefined) for (let i = 0; i < CHUNK_ENTRIES; i++) entries[i] = bytes.readUInt32LE(4 * i);
  return entries;
}

/** The places of many keys, made where they are new; numbers are taken once for all of them. */
export function internStateKeys(
  writer: StoreWriter,
  room: RoomNid,
  keys: readonly (readonly [type: string, stateKey: string])[],
): StateKeyNid[] {
  const counter = `next_state_key_nid:${room}`;
  const first = takeNumbers(writer, counter, 0) - 1;
  let next = first;
  const places = keys.map(([type, stateKey]) => {
    const key = placeKey(room, type, stateKey);
    if (writer.tables.state_key_nid.putNew(key, next)) return next++ as StateKeyNid;
    return writer.tables.state_key_nid.get(key) as StateKeyNid;
  });
  takeNumbers(writer, counter, next - first);
  return places;
}

/** The event at one place of a state, or NO_EVENT. */
export function stateEventAt(reader: StoreReader, group: StateGroupNid, place: StateKeyNid): EventNid {
  if (group === EMPTY_STATE_GROUP) return NO_EVENT;
  const at = 4 * (place >>> CHUNK_SHIFT);
  const list = reader.tables.state_group_by_nid.getBinaryFast(group);
  if (list === undefined || at >= list.length) return NO_EVENT;
  const chunk = list.readUInt32LE(at);
  if (chunk === EMPTY_CHUNK) return NO_EVENT;
  const bytes = reader.tables.state_chunk_by_nid.getBinaryFast(chunk);
  return (bytes?.readUInt32LE(4 * (place & (CHUNK_ENTRIES - 1))) ?? 0) as EventNid;
}

/** The event that holds (type, state key) in a state, or NO_EVENT. */
export function stateEvent(
  reader: StoreReader,
  room: RoomNid,
  group: StateGroupNid,
  type: string,
  stateKey: string,
): EventNid {
  const place = stateKeyNidOf(reader, room, type, stateKey);
  return place === undefined ? NO_EVENT : stateEventAt(reader, group, place);
}

/** Every entry of a state, in order of place. */
export function* stateEntries(reader: StoreReader, group: StateGroupNid): Generator<StateEntry> {
  let base = 0;
  for (const chunk of chunkList(reader, group)) {
    if (chunk !== EMPTY_CHUNK) {
      const entries = chunkEntries(reader, chunk);
      for (let i = 0; i < CHUNK_ENTRIES; i++) {
        if (entries[i] !== 0) yield [(base + i) as StateKeyNid, entries[i] as EventNid];
      }
    }
    base += CHUNK_ENTRIES;
  }
}

/** Every event of a state, ascending: in the order in which records and bodies lie in the store. */
export function stateNids(reader: StoreReader, group: StateGroupNid): Uint32Array<ArrayBuffer> {
  return Uint32Array.from(stateEntries(reader, group), ([, nid]) => nid).sort();
}

/** The state of a room but for its members: found by the names of its keys, so that 85,000 members cost nothing. */
export function* nonMemberEntries(reader: StoreReader, room: RoomNid, group: StateGroupNid): Generator<StateEntry> {
  // Two ranges, before and after the type that is left out. A type may be that one with a NUL behind: read and checked.
  for (const [start, end] of [
    [
      [room, ''],
      [room, MEMBER],
    ],
    [
      [room, `${MEMBER}\0`, ''],
      [room + 1, ''],
    ],
  ] as const) {
    for (const { key, value } of reader.tables.state_key_nid.getRange({ start, end })) {
      if ((key as readonly unknown[])[1] === MEMBER) continue;
      const event = stateEventAt(reader, group, value as StateKeyNid);
      if (event !== NO_EVENT) yield [value as StateKeyNid, event];
    }
  }
}

/** The places where states differ, with the event of each group there (NO_EVENT where unset). */
export function* differingEntries(
  reader: StoreReader,
  groups: readonly StateGroupNid[],
): Generator<readonly [StateKeyNid, readonly EventNid[]]> {
  const lists = groups.map((group) => chunkList(reader, group));
  const chunks = Math.max(0, ...lists.map((list) => list.length));
  for (let c = 0; c < chunks; c++) {
    const nids = lists.map((list) => list[c] ?? EMPTY_CHUNK);
    if (nids.every((nid) => nid === nids[0])) continue;
    const entries = nids.map((nid) => chunkEntries(reader, nid));
    for (let i = 0; i < CHUNK_ENTRIES; i++) {
      const events = entries.map((chunk) => chunk[i] as EventNid);
      if (events.some((event) => event !== events[0])) yield [(c * CHUNK_ENTRIES + i) as StateKeyNid, events];
    }
  }
}

/** The group of a state given as an array from place to EventNid. */
export function putStateGroup(writer: StoreWriter, places: Uint32Array): StateGroupNid {
  const chunks: number[] = [];
  for (let base = 0; base < places.length; base += CHUNK_ENTRIES) {
    chunks.push(putChunk(writer, places.subarray(base, base + CHUNK_ENTRIES)));
  }
  return putChunkList(writer, chunks);
}

/** The group that is `base` with other events at some places (NO_EVENT removes). */
export function changeStateGroup(
  writer: StoreWriter,
  base: StateGroupNid,
  changes: Iterable<StateEntry>,
): StateGroupNid {
  const list = chunkList(writer, base);
  const changed = new Map<number, Uint32Array>();
  for (const [place, event] of changes) {
    const number = place >>> CHUNK_SHIFT;
    let entries = changed.get(number);
    if (entries === undefined) {
      entries = chunkEntries(writer, list[number] ?? EMPTY_CHUNK);
      changed.set(number, entries);
    }
    entries[place & (CHUNK_ENTRIES - 1)] = event;
  }
  for (const [number, entries] of changed) {
    while (list.length < number) list.push(EMPTY_CHUNK);
    list[number] = putChunk(writer, entries);
  }
  return putChunkList(writer, list);
}

function putChunk(writer: StoreWriter, entries: Uint32Array): number {
  if (entries.every((nid) => nid === 0)) return EMPTY_CHUNK;
  const bytes = Buffer.alloc(4 * CHUNK_ENTRIES);
  for (let i = 0; i < entries.length; i++) bytes.writeUInt32LE(entries[i] as number, 4 * i);
  return putContentAddressed(writer, 'state_chunk', bytes);
}

function putChunkList(writer: StoreWriter, chunks: readonly number[]): StateGroupNid {
  let length = chunks.length;
  while (length > 0 && chunks[length - 1] === EMPTY_CHUNK) length -= 1;
  if (length === 0) return EMPTY_STATE_GROUP;
  return putContentAddressed(writer, 'state_group', nidsToBytes(chunks.slice(0, length))) as StateGroupNid;
}

/** Stores bytes once under their hash; returns their number. */
function putContentAddressed(writer: StoreWriter, kind: 'state_chunk' | 'state_group', bytes: Buffer): number {
  const byHash = writer.tables[`${kind}_nid_by_hash`];
  const key = hash('sha256', bytes, 'buffer');
  const known = byHash.getBinaryFast(key);
  if (known !== undefined) return known.readUInt32LE(0);
  const nid = takeNumbers(writer, `next_${kind}_nid`, 1);
  byHash.put(key, nidsToBytes([nid]));
  writer.tables[`${kind}_by_nid`].put(nid, bytes);
  return nid;
}
