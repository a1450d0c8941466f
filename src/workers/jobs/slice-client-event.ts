/**
 * Events in the client's form, written straight from the bytes of stored PDUs: the members that a client sees are copied
 * as they stand, the others skipped, and nothing is decoded. What is unusual is left to the caller, who parses it:
 * white space between members, an escape in a key or an identifier, a member that stands twice or is missing.
 *
 * The bytes are what the store holds: UTF-8 that `JSON.parse` accepted as an object. An event that is shown redacted, or
 * whose ID is not its hash, is not for this path. Specification v1.19, client-server API, "Room event format".
 */

import type { RoomId } from '../../kernel/matrix/ids.js';
import { HASH_EVENT_ID_BYTES, writeHashEventId } from '../../kernel/pdu-bytes/hash-event-id.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const MINUS = 0x2d;

/** Members of a PDU that clients see as they are; the value's start and end are kept at twice the index. */
const FIELDS = ['content', 'origin_server_ts', 'sender', 'type', 'state_key', 'redacts'] as const;
const KEYS = FIELDS.map((name) => Buffer.from(name));
const KEY_BYTES_MAX = Math.max(...KEYS.map((key) => key.length));
/** The member whose key has this many bytes and begins with this byte (no two share both), or -1. */
const FIELD_BY_SHAPE = new Int8Array(shapeOf(KEY_BYTES_MAX + 1, 0)).fill(-1);
for (const [field, key] of KEYS.entries()) FIELD_BY_SHAPE[shapeOf(key.length, key[0] as number)] = field;
/** The members before this one stand in every event. */
const FIRST_OPTIONAL = FIELDS.indexOf('state_key');
const CONTENT = FIELDS.indexOf('content');
const TIMESTAMP = FIELDS.indexOf('origin_server_ts');
/** What stands before each copied value. */
const LABELS = FIELDS.map((name) => Buffer.from(`,"${name}":`));

/** First size of the output per event: a membership in client form has about 400 bytes. */
const BYTES_PER_EVENT = 512;
/** From this length on copying by the runtime is faster than by a loop. */
const LONG_COPY_BYTES = 96;

function shapeOf(length: number, first: number): number {
  return length * 256 + first;
}

/** Start and end of each of FIELDS in the PDU that is being read; start 0: it has none. */
const spans = new Int32Array(2 * FIELDS.length);

/** Index just past the string whose first character stands at `at`, or -1 at a backslash. */
function plainStringEnd(body: Buffer, at: number): number {
  const { length } = body;
  for (let i = at; i < length; i++) {
    const code = body[i];
    if (code === QUOTE) return i + 1;
    if (code === BACKSLASH) return -1;
  }
  return -1;
}

/** Index just past the value that starts at `start`. */
function valueEnd(body: Buffer, start: number): number {
  const { length } = body;
  let depth = 0;
  for (let i = start; i < length; i++) {
    switch (body[i]) {
      case QUOTE:
        for (i += 1; i < length && body[i] !== QUOTE; i++) if (body[i] === BACKSLASH) i += 1;
        if (depth === 0) return i + 1;
        break;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        depth += 1;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        // The end of the whole object ends a number or literal.
        if (depth === 0) return i;
        depth -= 1;
        if (depth === 0) return i + 1;
        break;
      case COMMA:
        if (depth === 0) return i;
        break;
    }
  }
  return -1;
}

function fieldAt(body: Buffer, start: number, end: number): number {
  const field = FIELD_BY_SHAPE[shapeOf(end - start, body[start] as number)] ?? -1;
  if (field < 0) return -1;
  const key = KEYS[field] as Buffer;
  for (let i = 1; i < key.length; i++) if (body[start + i] !== key[i]) return -1;
  return field;
}

/** Whether a value is of the kind that its member has in an ordinary PDU; returns its end, or -1. */
function fieldEnd(body: Buffer, field: number, start: number): number {
  const first = body[start] as number;
  if (field === CONTENT) return first === OPEN_BRACE ? valueEnd(body, start) : -1;
  if (field === TIMESTAMP) return first === MINUS || (first >= 0x30 && first <= 0x39) ? valueEnd(body, start) : -1;
  return first === QUOTE ? plainStringEnd(body, start + 1) : -1;
}

/** Finds the members in `spans`; false where the PDU is unusual. */
function findMembers(body: Buffer): boolean {
  spans.fill(0);
  if (body[0] !== OPEN_BRACE) return false;
  for (let at = 1; ; ) {
    if (body[at] !== QUOTE) return false;
    const keyStart = at + 1;
    const keyEnd = plainStringEnd(body, keyStart);
    if (keyEnd < 0 || body[keyEnd] !== COLON) return false;
    const start = keyEnd + 1;
    const field = fieldAt(body, keyStart, keyEnd - 1);
    if (field < 0) {
      at = valueEnd(body, start);
    } else {
      if (spans[2 * field] !== 0) return false;
      at = fieldEnd(body, field, start);
      spans[2 * field] = start;
      spans[2 * field + 1] = at;
    }
    if (at < 0) return false;
    if (body[at] === CLOSE_BRACE) break;
    if (body[at] !== COMMA) return false;
    at += 1;
  }
  for (let field = 0; field < FIRST_OPTIONAL; field++) if (spans[2 * field] === 0) return false;
  return true;
}

/** Writes events in client form one after another, separated by commas. */
export class ClientEventWriter {
  readonly #opening: Buffer;
  #out: Uint8Array<ArrayBuffer>;
  #length = 0;

  constructor(roomId: RoomId, events: number) {
    this.#opening = Buffer.from(`{"room_id":${JSON.stringify(roomId)},"event_id":"`);
    this.#out = new Uint8Array(events * BYTES_PER_EVENT);
  }

  /** Appends a stored PDU whose ID is the hash `key`; false, and nothing is written, where it is unusual. */
  append(body: Buffer, key: Uint8Array): boolean {
    if (!findMembers(body)) return false;
    // What is left out of a PDU (hashes, signatures, references) is not always more than what is added to it.
    this.#reserve(body.length + this.#opening.length + 2 * HASH_EVENT_ID_BYTES + FIELDS.length * 20);
    if (this.#length > 0) this.#out[this.#length++] = COMMA;
    this.#copy(this.#opening, 0, this.#opening.length);
    writeHashEventId(key, 0, this.#out, this.#length);
    this.#length += HASH_EVENT_ID_BYTES;
    this.#out[this.#length++] = QUOTE;
    for (let field = 0; field < FIELDS.length; field++) {
      const start = spans[2 * field] as number;
      if (start === 0) continue;
      const label = LABELS[field] as Buffer;
      this.#copy(label, 0, label.length);
      this.#copy(body, start, spans[2 * field + 1] as number);
    }
    this.#out[this.#length++] = CLOSE_BRACE;
    return true;
  }

  /** Appends an event that was written as JSON. */
  appendText(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    this.#reserve(bytes.length + 1);
    if (this.#length > 0) this.#out[this.#length++] = COMMA;
    this.#copy(bytes, 0, bytes.length);
  }

  /** What was written, in a buffer of its own length. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#out.slice(0, this.#length);
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#out.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.#out.length));
    larger.set(this.#out.subarray(0, this.#length));
    this.#out = larger;
  }

  #copy(source: Buffer, start: number, end: number): void {
    const out = this.#out;
    const at = this.#length;
    if (end - start >= LONG_COPY_BYTES) out.set(source.subarray(start, end), at);
    else for (let i = start, to = at; i < end; ) out[to++] = source[i++] as number;
    this.#length = at + end - start;
  }
}
