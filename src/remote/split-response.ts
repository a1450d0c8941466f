/**
 * Splits a huge JSON response into its PDUs without parsing it: a byte scanner that knows strings and nesting, fed chunk
 * by chunk as the body arrives. Elements of the named arrays come out one by one; other members come out whole.
 *
 * Memory is one element or member at most, whatever the sizes of the chunks, and the keys. Whether an element is good JSON is for whoever
 * parses it; the structure around the elements is checked here, and anything wrong with it is a SplitError.
 */

import type { JsonValue } from '../kernel/matrix/json.js';

/** Largest element: four times the largest event, for `unsigned`, escapes and white space. Larger ones are left out. */
export const ELEMENT_BYTES_MAX = 256 * 1024;
/** Largest member that is not one of the named arrays; larger ones are left out. */
export const MEMBER_BYTES_MAX = 1024 * 1024;
/** Longest top-level key. */
export const KEY_BYTES_MAX = 1024;
/** Most top-level members, whose keys are remembered to find doubled ones; real responses have about ten. */
export const MEMBERS_MAX = 1024;

const EMPTY = Buffer.alloc(0);

export class SplitError extends Error {
  override readonly name = 'SplitError';
}

export interface SplitHandler {
  /** Names of the top-level arrays whose elements are wanted one by one. */
  readonly arrays: ReadonlySet<string>;
  /** One element, an object or a string with its quotes; the bytes are valid during the call only. */
  element(field: string, bytes: Buffer): void;
  /** Any other top-level member. */
  member(field: string, value: JsonValue): void;
  /** An element that was larger than ELEMENT_BYTES_MAX and is left out. */
  oversized(field: string): void;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

type State =
  | 'start'
  | 'first-key'
  | 'key'
  | 'colon'
  | 'value'
  | 'array-first'
  | 'array-element'
  | 'after-element'
  | 'after-value'
  | 'end';

/** What is being collected until its value ends. */
type Collecting = 'nothing' | 'key' | 'member' | 'element';

export class ResponseSplitter {
  readonly #handler: SplitHandler;
  readonly #seen = new Set<string>();
  #state: State = 'start';
  #field = '';
  #collecting: Collecting = 'nothing';
  /** Earlier chunks' bytes of the value that is being collected; one buffer that grows, so that small chunks cost no more. */
  #carried: Buffer = EMPTY;
  #carriedBytes = 0;
  /** Nesting inside the value; 0 for a string, number or literal. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  #isScalar = false;

  constructor(handler: SplitHandler) {
    this.#handler = handler;
  }

  /** Takes the next bytes of the body. Throws SplitError. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) at = this.#collecting === 'nothing' ? this.#step(chunk, at) : this.#collect(chunk, at);
  }

  /** The body is complete. Throws SplitError when the JSON is not. */
  end(): void {
    if (this.#state !== 'end')
      throw new SplitError(`the response ends in the middle (${this.#state} of ${this.#field || 'the object'})`);
  }

  #step(chunk: Buffer, at: number): number {
    const code = chunk[at] as number;
    if (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) return at + 1;
    switch (this.#state) {
      case 'start':
        if (code !== OPEN_BRACE) throw new SplitError('the response is not a JSON object');
        this.#state = 'first-key';
        return at + 1;
      case 'first-key':
      case 'key':
        if (code === CLOSE_BRACE && this.#state === 'first-key') return this.#to('end', at);
        if (code !== QUOTE) throw new SplitError(`expected a key after ${this.#field || '{'}`);
        return this.#begin('key', code, at);
      case 'colon':
        if (code !== COLON) throw new SplitError(`expected a colon after key ${this.#field}`);
        return this.#to('value', at);
      case 'value':
        if (this.#handler.arrays.has(this.#field)) {
          if (code !== OPEN_BRACKET) throw new SplitError(`${this.#field} is not a list`);
          return this.#to('array-first', at);
        }
        return this.#begin('member', code, at);
      case 'array-first':
      case 'array-element':
        if (code === CLOSE_BRACKET && this.#state === 'array-first') return this.#to('after-value', at);
        if (code !== OPEN_BRACE && code !== QUOTE)
          throw new SplitError(`${this.#field} holds something other than objects and strings`);
        return this.#begin('element', code, at);
      case 'after-element':
        if (code === COMMA) return this.#to('array-element', at);
        if (code === CLOSE_BRACKET) return this.#to('after-value', at);
        throw new SplitError(`expected a comma or the end of ${this.#field}`);
      case 'after-value':
        if (code === COMMA) return this.#to('key', at);
        if (code === CLOSE_BRACE) return this.#to('end', at);
        throw new SplitError(`expected a comma or the end after ${this.#field}`);
      case 'end':
        throw new SplitError('something follows the JSON object');
    }
  }

  #to(state: State, at: number): number {
    this.#state = state;
    return at + 1;
  }

  #begin(what: Collecting, code: number, at: number): number {
    this.#collecting = what;
    this.#carriedBytes = 0;
    this.#depth = 0;
    this.#inString = false;
    this.#escaped = false;
    this.#isScalar = code !== OPEN_BRACE && code !== OPEN_BRACKET && code !== QUOTE;
    return at;
  }

  /** Scans on in the current value; hands it over when it ends, carries its bytes over when the chunk ends first. */
  #collect(chunk: Buffer, start: number): number {
    const end = this.#isScalar ? scalarEnd(chunk, start) : this.#valueEnd(chunk, start);
    if (end < 0) {
      this.#carry(chunk.subarray(start));
      return chunk.length;
    }
    const bytes = chunk.subarray(start, end);
    const oversized = this.#carriedBytes + bytes.length > this.#limit();
    if (this.#carriedBytes === 0 || oversized) {
      this.#finish(bytes, oversized);
    } else {
      this.#carry(bytes);
      this.#finish(this.#carried.subarray(0, this.#carriedBytes), false);
    }
    return end;
  }

  /** Index just past the end of the string, object or list, or -1 when it goes on in the next chunk. */
  #valueEnd(chunk: Buffer, start: number): number {
    let at = start;
    let depth = this.#depth;
    const length = chunk.length;
    if (this.#escaped && at < length) {
      at += 1;
      this.#escaped = false;
    }
    let inString = this.#inString;
    for (;;) {
      if (inString) {
        let code = 0;
        while (at < length) {
          code = chunk[at++] as number;
          if (code === QUOTE) break;
          if (code === BACKSLASH) {
            if (at === length) this.#escaped = true;
            at += 1;
          }
        }
        if (code !== QUOTE || at > length) break;
        inString = false;
        if (depth === 0) return at;
      }
      if (at >= length) break;
      const code = chunk[at++] as number;
      if (code === QUOTE) inString = true;
      else if (code === OPEN_BRACE || code === OPEN_BRACKET) depth += 1;
      else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
        depth -= 1;
        if (depth === 0) return at;
      }
    }
    this.#depth = depth;
    this.#inString = inString;
    return -1;
  }

  #limit(): number {
    if (this.#collecting === 'element') return ELEMENT_BYTES_MAX;
    return this.#collecting === 'key' ? KEY_BYTES_MAX : MEMBER_BYTES_MAX;
  }

  #carry(bytes: Buffer): void {
    const before = this.#carriedBytes;
    this.#carriedBytes += bytes.length;
    if (this.#carriedBytes > this.#limit()) return;
    if (this.#carriedBytes > this.#carried.length) {
      const larger = Buffer.allocUnsafe(Math.max(2 * this.#carried.length, this.#carriedBytes));
      this.#carried.copy(larger, 0, 0, before);
      this.#carried = larger;
    }
    bytes.copy(this.#carried, before);
  }

  #finish(bytes: Buffer, oversized: boolean): void {
    const what = this.#collecting;
    this.#collecting = 'nothing';
    if (what === 'element') {
      this.#state = 'after-element';
      if (oversized) this.#handler.oversized(this.#field);
      else this.#handler.element(this.#field, bytes);
      return;
    }
    if (what === 'key') {
      if (oversized) throw new SplitError('a top-level key is too long');
      const key = parse(bytes, 'a top-level key') as string;
      if (this.#seen.has(key)) throw new SplitError(`the field ${key} stands twice`);
      if (this.#seen.size === MEMBERS_MAX) throw new SplitError(`more than ${MEMBERS_MAX} top-level members`);
      this.#seen.add(key);
      this.#field = key;
      this.#state = 'colon';
      return;
    }
    this.#state = 'after-value';
    if (!oversized) this.#handler.member(this.#field, parse(bytes, this.#field));
  }
}

/** Index of the first byte that cannot belong to a number or literal, or -1. */
function scalarEnd(chunk: Buffer, start: number): number {
  for (let at = start; at < chunk.length; at++) {
    const code = chunk[at] as number;
    if (code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET || code <= 0x20) return at;
  }
  return -1;
}

function parse(bytes: Buffer, what: string): JsonValue {
  try {
    return JSON.parse(bytes.toString('utf8')) as JsonValue;
  } catch (error) {
    throw new SplitError(`${what} is not JSON`, { cause: error });
  }
}
