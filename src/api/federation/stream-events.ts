/**
 * Answers of up to hundreds of megabytes from lists of NIDs: a few literal pieces with lists of events (or of event IDs)
 * between them, produced in small chunks and of a length that is known before the first byte.
 *
 * Every list slot but the first has one separator byte: a comma, or a space where the event is not here (then it was
 * counted 0 as well). Where an event has become shorter since it was counted (a redaction), spaces fill up. Reads happen
 * when a chunk is pulled; between chunks other work runs and the store's snapshot moves on.
 */

import { eventIdOfRecord, loadRecord, servedBody } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { Store, StoreReader } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import type { ApiResponse } from '../endpoint.js';

/** Bytes gathered into a chunk: about a millisecond of reading. */
const CHUNK_BYTES = 64 * 1024;
/** Bytes of an event ID of the hash form with its quotes. */
const HASH_ID_BYTES = 46;
/** IDs measured in one turn in rooms whose event IDs differ in length. */
const IDS_MEASURED_A_TURN = 2000;

/** A list of things, comma-separated: `bytes` without separators. */
export interface StreamedList {
  readonly nids: ArrayLike<number>;
  readonly bytes: number;
  readonly textOf: (nid: EventNid) => Buffer | undefined;
}

export type StreamedPart = string | Buffer | StreamedList;

/** A list of events as served. `bytes`: as `findAuthChain` counts them. */
export function eventList(reader: StoreReader, room: Room, nids: ArrayLike<number>, bytes: number): StreamedList {
  return { nids, bytes, textOf: (nid) => servedBody(reader, room.rules, nid) };
}

/** A list of event IDs. */
export async function eventIdList(reader: StoreReader, room: Room, nids: ArrayLike<number>): Promise<StreamedList> {
  const textOf = (nid: EventNid): Buffer | undefined => {
    const record = loadRecord(reader, nid);
    return record === undefined ? undefined : Buffer.from(`"${eventIdOfRecord(reader, nid, record)}"`, 'utf8');
  };
  if (room.rules.eventIdForm === 'base64url') return { nids, bytes: HASH_ID_BYTES * nids.length, textOf };
  let bytes = 0;
  for (let i = 0; i < nids.length; i++) {
    bytes += textOf(nids[i] as EventNid)?.length ?? 0;
    if (i % IDS_MEASURED_A_TURN === IDS_MEASURED_A_TURN - 1) await new Promise((resolve) => setImmediate(resolve));
  }
  return { nids, bytes, textOf };
}

/** A `200` with these parts one after another. The last part must be a literal. */
export function streamAnswer(store: Store, parts: readonly StreamedPart[]): ApiResponse {
  const literal = parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'utf8') : part));
  const contentLength = literal.reduce((sum, part) => sum + partBytes(part), 0);
  return { status: 200, contentType: 'application/json', contentLength, chunks: chunksOf(store, literal) };
}

function partBytes(part: Buffer | StreamedList): number {
  if (Buffer.isBuffer(part)) return part.length;
  return part.bytes + Math.max(0, part.nids.length - 1);
}

const COMMA = Buffer.from(',');
const SPACE = Buffer.from(' ');

function* chunksOf(store: Store, parts: readonly (Buffer | StreamedList)[]): Generator<Buffer> {
  let pieces: Buffer[] = [];
  let size = 0;
  for (const part of parts) {
    for (const piece of Buffer.isBuffer(part) ? [part] : listPieces(part)) {
      pieces.push(piece);
      size += piece.length;
      if (size < CHUNK_BYTES) continue;
      store.refresh();
      yield Buffer.concat(pieces, size);
      pieces = [];
      size = 0;
    }
  }
  store.refresh();
  if (size > 0) yield Buffer.concat(pieces, size);
}

function* listPieces(list: StreamedList): Generator<Buffer> {
  let left = list.bytes;
  let empty = true;
  for (let i = 0; i < list.nids.length; i++) {
    const text = list.textOf(list.nids[i] as EventNid);
    if (i > 0) yield text === undefined || empty ? SPACE : COMMA;
    if (text === undefined) continue;
    empty = false;
    left -= text.length;
    if (left < 0) throw new Error(`event ${list.nids[i]} is longer than when the answer was measured: ask again`);
    yield text;
  }
  if (left > 0) yield Buffer.alloc(left, ' ');
}
