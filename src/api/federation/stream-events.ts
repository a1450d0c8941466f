/**
 * Answers of up to hundreds of megabytes from lists of NIDs: a few literal pieces with lists of events (or of event IDs)
 * between them, produced in small chunks and of a length that is known before the first byte.
 *
 * Every list slot but the first has one separator byte: a comma, or a space where the event is not here (then it was
 * counted 0 as well). Where an event has become shorter since it was counted (a redaction), spaces fill up. Reads happen
 * when a chunk is pulled; between chunks other work runs and the store's snapshot moves on.
 */

import { HASH_EVENT_ID_BYTES, writeHashEventId } from '../../kernel/pdu-bytes/hash-event-id.js';
import { RECORD_KEY_AT } from '../../store/event-record.js';
import { eventIdOfRecord, loadRecord, servedBody } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { Store, StoreReader } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';

/** Bytes gathered into a chunk: about a millisecond of reading. */
const CHUNK_BYTES = 64 * 1024;
/** Bytes of an event ID of the hash form with its quotes. */
const HASH_ID_BYTES = HASH_EVENT_ID_BYTES + 2;
/** Hash IDs read and written together: 47 KB. */
const IDS_A_PIECE = 1_000;
const QUOTE = 0x22;
const COMMA_BYTE = 0x2c;
/** IDs measured in one turn in rooms whose event IDs differ in length. */
const IDS_MEASURED_A_TURN = 2000;

/** A list of things, comma-separated. */
export interface StreamedList {
  /** Exactly what `pieces` yields, separators included. */
  readonly bytes: number;
  readonly pieces: () => Iterable<Buffer>;
}

export type StreamedPart = string | Buffer | StreamedList;

/** A list of events as served. `bytes`: as `findAuthChain` counts them. */
export function eventList(reader: StoreReader, room: Room, nids: ArrayLike<number>, bytes: number): StreamedList {
  return separated(nids, bytes, (nid) => servedBody(reader, room.rules, nid));
}

/** A list of event IDs. */
export async function eventIdList(reader: StoreReader, room: Room, nids: ArrayLike<number>): Promise<StreamedList> {
  const textOf = (nid: EventNid): Buffer | undefined => {
    const record = loadRecord(reader, nid);
    return record === undefined ? undefined : Buffer.from(`"${eventIdOfRecord(reader, nid, record)}"`, 'utf8');
  };
  if (room.rules.eventIdForm === 'base64url') {
    return { bytes: Math.max(0, nids.length * (HASH_ID_BYTES + 1) - 1), pieces: () => hashIdPieces(reader, nids) };
  }
  let bytes = 0;
  for (let i = 0; i < nids.length; i++) {
    bytes += textOf(nids[i] as EventNid)?.length ?? 0;
    if (i % IDS_MEASURED_A_TURN === IDS_MEASURED_A_TURN - 1) await new Promise((resolve) => setImmediate(resolve));
  }
  return separated(nids, bytes, textOf);
}

/** A list of what `textOf` gives, with `bytes` of it in all. */
function separated(
  nids: ArrayLike<number>,
  bytes: number,
  textOf: (nid: EventNid) => Buffer | undefined,
): StreamedList {
  return { bytes: bytes + Math.max(0, nids.length - 1), pieces: () => separatedPieces(nids, bytes, textOf) };
}

/** Hash IDs in their quotes, many to a piece; spaces where the event is not here. */
function* hashIdPieces(reader: StoreReader, nids: ArrayLike<number>): Generator<Buffer> {
  const records = reader.tables.event_record_by_nid;
  let empty = true;
  for (let first = 0; first < nids.length; first += IDS_A_PIECE) {
    const count = Math.min(IDS_A_PIECE, nids.length - first);
    const piece = Buffer.alloc(count * (HASH_ID_BYTES + 1), ' ');
    for (let n = 0; n < count; n++) {
      const record = records.getBinaryFast(nids[first + n] as number);
      if (record === undefined) continue;
      const at = n * (HASH_ID_BYTES + 1);
      writeHashEventId(record, RECORD_KEY_AT, piece, at + 2);
      piece[at + 1] = QUOTE;
      piece[at + HASH_ID_BYTES] = QUOTE;
      if (!empty) piece[at] = COMMA_BYTE;
      empty = false;
    }
    // The list's first slot has no separator before it.
    yield first === 0 ? piece.subarray(1) : piece;
  }
}

/** An answer that is produced while it is sent. */
export interface StreamedAnswer {
  readonly status: 200;
  readonly contentType: string;
  readonly contentLength: number;
  readonly chunks: Iterable<Buffer>;
}

/** A `200` with these parts one after another. The last part must be a literal. */
export function streamAnswer(store: Store, parts: readonly StreamedPart[]): StreamedAnswer {
  const literal = parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'utf8') : part));
  const contentLength = literal.reduce((sum, part) => sum + partBytes(part), 0);
  return { status: 200, contentType: 'application/json', contentLength, chunks: chunksOf(store, literal) };
}

function partBytes(part: Buffer | StreamedList): number {
  if (Buffer.isBuffer(part)) return part.length;
  return part.bytes;
}

const COMMA = Buffer.from(',');
const SPACE = Buffer.from(' ');

function* chunksOf(store: Store, parts: readonly (Buffer | StreamedList)[]): Generator<Buffer> {
  let pieces: Buffer[] = [];
  let size = 0;
  for (const part of parts) {
    for (const piece of Buffer.isBuffer(part) ? [part] : part.pieces()) {
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

function* separatedPieces(
  nids: ArrayLike<number>,
  bytes: number,
  textOf: (nid: EventNid) => Buffer | undefined,
): Generator<Buffer> {
  let left = bytes;
  let empty = true;
  for (let i = 0; i < nids.length; i++) {
    const text = textOf(nids[i] as EventNid);
    if (i > 0) yield text === undefined || empty ? SPACE : COMMA;
    if (text === undefined) continue;
    empty = false;
    left -= text.length;
    if (left < 0) throw new Error(`event ${nids[i]} is longer than when the answer was measured: ask again`);
    yield text;
  }
  if (left > 0) yield Buffer.alloc(left, ' ');
}
