/**
 * Walks over the bytes of a JSON document: strict, without recursion where nesting is not ours to bound, and with the place
 * of whatever is wrong. `JSON.parse` gives neither places (Node 20) nor the text of a part, and an event's text is what its
 * format checks and its hashes are made of.
 *
 * The bytes must be UTF-8. Grammar: RFC 8259.
 */

/** What is wrong with a document, and where. */
export class JsonPlaceError extends Error {
  override readonly name = 'JsonPlaceError';
  /** In bytes from the start of the document. */
  readonly offset: number;
  constructor(offset: number, message: string) {
    super(message);
    this.offset = offset;
  }
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const END = -1;

const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const ESCAPE = /^\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/;
const LITERALS = ['true', 'false', 'null'];
/** Bytes of the longest escape. */
const ESCAPE_BYTES_MAX = 6;
/** Whether a byte can be part of a number or literal: 1 or 0. */
const SCALAR_BYTES = new Uint8Array(256);
for (const byte of Buffer.from('0123456789+-.Eabcdefghijklmnopqrstuvwxyz', 'latin1')) SCALAR_BYTES[byte] = 1;

export class JsonCursor {
  readonly bytes: Buffer;
  /** Where the next token, or white space before it, begins. */
  at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** Steps over an object; `member` is called before each value and must step over it. */
  readObject(member: (key: string, keyOffset: number) => void): void {
    this.#expect(OPEN_BRACE, 'an object');
    if (this.#skip(CLOSE_BRACE)) return;
    do {
      this.peek();
      const keyOffset = this.at;
      member(this.#key(), keyOffset);
    } while (this.#more(CLOSE_BRACE));
  }

  /** Steps over a list; `element` is called before each element and must step over it. */
  readList(element: (index: number) => void): void {
    this.#expect(OPEN_BRACKET, 'a list');
    if (this.#skip(CLOSE_BRACKET)) return;
    let index = 0;
    do element(index++);
    while (this.#more(CLOSE_BRACKET));
  }

  /** Steps over any value; returns where it begins. It ends at `at`. */
  skipValue(): number {
    this.peek();
    const start = this.at;
    const closers: number[] = [];
    for (;;) {
      const code = this.peek();
      if (code === OPEN_BRACE || code === OPEN_BRACKET) {
        const closer = code === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
        this.at += 1;
        if (!this.#skip(closer)) {
          closers.push(closer);
          if (closer === CLOSE_BRACE) this.#key();
          continue;
        }
      } else this.#skipScalar(code);
      let closer = closers.at(-1);
      while (closer !== undefined && !this.#more(closer)) {
        closers.pop();
        closer = closers.at(-1);
      }
      if (closer === undefined) return start;
      if (closer === CLOSE_BRACE) this.#key();
    }
  }

  /** The string that begins here. */
  readString(): string {
    if (this.peek() !== QUOTE) this.fail('expected a string');
    const start = this.at;
    this.#skipString();
    return JSON.parse(this.bytes.toString('utf8', start, this.at)) as string;
  }

  /** Fails unless only white space is left. */
  expectEnd(): void {
    if (this.peek() !== END) this.fail('something follows the document');
  }

  /** The first byte of the next token, or END. */
  peek(): number {
    const { bytes } = this;
    for (; this.at < bytes.length; this.at++) {
      const code = bytes[this.at] as number;
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
    }
    return END;
  }

  fail(words: string): never {
    throw new JsonPlaceError(this.at, this.at >= this.bytes.length ? `${words}, but the document ends` : words);
  }

  #expect(code: number, words: string): void {
    if (!this.#skip(code)) this.fail(`expected ${words}`);
  }

  #skip(code: number): boolean {
    if (this.peek() !== code) return false;
    this.at += 1;
    return true;
  }

  /** Steps over what follows a value; whether another one comes. */
  #more(closer: number): boolean {
    if (this.#skip(COMMA)) return true;
    if (!this.#skip(closer)) this.fail(`expected a comma or ${String.fromCharCode(closer)}`);
    return false;
  }

  #key(): string {
    if (this.peek() !== QUOTE) this.fail('expected a key in quotes');
    const key = this.readString();
    this.#expect(COLON, 'a colon');
    return key;
  }

  #skipScalar(code: number): void {
    if (code === QUOTE) {
      this.#skipString();
      return;
    }
    let end = this.at;
    while (end < this.bytes.length && SCALAR_BYTES[this.bytes[end] as number] === 1) end += 1;
    const text = this.bytes.toString('latin1', this.at, end);
    if (!NUMBER.test(text) && !LITERALS.includes(text)) this.fail('expected a value');
    this.at = end;
  }

  #skipString(): void {
    const { bytes } = this;
    for (this.at += 1; this.at < bytes.length; this.at++) {
      const code = bytes[this.at] as number;
      if (code === QUOTE) {
        this.at += 1;
        return;
      }
      if (code < 0x20) this.fail('a control character in a string');
      if (code !== BACKSLASH) continue;
      const found = ESCAPE.exec(bytes.toString('latin1', this.at, this.at + ESCAPE_BYTES_MAX));
      if (found === null) this.fail('not an escape');
      this.at += found[0].length - 1;
    }
    this.fail('expected the end of a string');
  }
}
