/**
 * The JSON documents that tools read: whole, because an event's auth events may stand anywhere in them. Errors say in which
 * file, line and column.
 */

import { isUtf8 } from 'node:buffer';
import type { Readable } from 'node:stream';
import { InputError } from '../input-error.js';
import { openInput, readWhole } from '../streams/open-input.js';
import { JsonCursor, JsonPlaceError } from './json-cursor.js';

/** Largest document: three times the full state and auth chain of Matrix HQ, and about the longest string there can be. */
export const DOCUMENT_BYTES_MAX = 512 * 1024 * 1024;

const NEWLINE = 0x0a;

/** Reads a document and walks over it. `path`: `-` is standard input. */
export async function readDocument(
  path: string,
  standardInput: Readable,
  walk: (cursor: JsonCursor, name: string) => void,
  bytesMax: number = DOCUMENT_BYTES_MAX,
): Promise<void> {
  const input = await openInput(path, standardInput);
  const bytes = await readWhole(input, bytesMax);
  if (!isUtf8(bytes)) throw new InputError(`${input.name}: not UTF-8`);
  const cursor = new JsonCursor(bytes);
  try {
    walk(cursor, input.name);
    cursor.expectEnd();
  } catch (error) {
    if (!(error instanceof JsonPlaceError)) throw error;
    throw new InputError(`${input.name}:${placeOf(bytes, error.offset)}: ${error.message}`, { cause: error });
  }
}

/** `line:column` of an offset, each from 1, columns in characters. */
function placeOf(bytes: Buffer, offset: number): string {
  const lines = new LineCounter(bytes);
  const line = lines.lineAt(offset);
  return `${line}:${bytes.toString('utf8', lines.lineStart, offset).length + 1}`;
}

/** Line numbers of ascending offsets; each byte is looked at once, however long the lines are. */
export class LineCounter {
  readonly #bytes: Buffer;
  #line = 1;
  #countedTo = 0;
  lineStart = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** The line, from 1, in which an offset is that is not before the last one asked for. */
  lineAt(offset: number): number {
    const before = this.#bytes.subarray(0, offset);
    for (;;) {
      const newline = before.indexOf(NEWLINE, this.#countedTo);
      if (newline < 0) break;
      this.#line += 1;
      this.lineStart = newline + 1;
      this.#countedTo = this.lineStart;
    }
    this.#countedTo = offset;
    return this.#line;
  }
}
