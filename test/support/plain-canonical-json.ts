/**
 * Canonical JSON once more, for the tests to compare with: recursive, one character at a time, integers as BigInt, every
 * flaw collected. Nothing is shared with src/, and nothing is quick.
 *
 * Single rules can be broken on purpose, to see that the comparison notices. Specification v1.19, appendices, "Canonical
 * JSON"; what stands of numbers in old room versions is the reading that exact-numbers.ts explains.
 */

export type Flaw =
  | 'not-json'
  | 'duplicate-key'
  | 'not-an-integer'
  | 'integer-out-of-range'
  | 'lone-surrogate'
  | 'too-deep';

export interface PlainRules {
  /** Room versions 6 and later. */
  readonly strict: boolean;
  /** Containers within each other. */
  readonly depthMax: number;
  /** What to get wrong. */
  readonly broken?: 'utf-16-order' | 'ascii-only' | 'escaped-delete' | 'negative-zero' | 'first-duplicate' | undefined;
}

export interface PlainAnswer {
  readonly flaws: ReadonlySet<Flaw>;
  /** Canonical form; undefined when there is a flaw. */
  readonly text: string | undefined;
}

const LARGEST = 2n ** 53n - 1n;

class NotJson extends Error {}

/** The canonical form of UTF-8 bytes. */
export function plainCanonicalJson(bytes: Uint8Array, rules: PlainRules): PlainAnswer {
  const flaws = new Set<Flaw>();
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const reader = new PlainReader(text, rules, flaws);
    const canonical = reader.whole();
    return { flaws, text: flaws.size === 0 ? canonical : undefined };
  } catch (error) {
    if (!(error instanceof NotJson || error instanceof TypeError)) throw error;
    flaws.add('not-json');
    return { flaws, text: undefined };
  }
}

class PlainReader {
  #at = 0;
  readonly #text: string;
  readonly #rules: PlainRules;
  readonly #flaws: Set<Flaw>;

  constructor(text: string, rules: PlainRules, flaws: Set<Flaw>) {
    this.#text = text;
    this.#rules = rules;
    this.#flaws = flaws;
  }

  whole(): string {
    const canonical = this.#value(1);
    this.#space();
    if (this.#at < this.#text.length) throw new NotJson();
    return canonical;
  }

  #space(): void {
    while (' \t\n\r'.includes(this.#text[this.#at] ?? 'x')) this.#at += 1;
  }

  #peek(): string {
    this.#space();
    return this.#text[this.#at] ?? '';
  }

  #expect(word: string): string {
    if (this.#text.slice(this.#at, this.#at + word.length) !== word) throw new NotJson();
    this.#at += word.length;
    return word;
  }

  #value(depth: number): string {
    switch (this.#peek()) {
      case '{':
        return this.#object(depth);
      case '[':
        return this.#array(depth);
      case '"':
        return this.#written(this.#string());
      case 't':
        return this.#expect('true');
      case 'f':
        return this.#expect('false');
      case 'n':
        return this.#expect('null');
      default:
        return this.#number();
    }
  }

  #deeper(depth: number): void {
    if (depth <= this.#rules.depthMax) return;
    this.#flaws.add('too-deep');
    // What follows may be malformed as well: nobody looks.
    throw new NotJson();
  }

  #object(depth: number): string {
    this.#deeper(depth);
    const members: { key: number[]; value: string }[] = [];
    this.#expect('{');
    while (this.#peek() !== '}') {
      if (members.length > 0) this.#expect(',');
      if (this.#peek() !== '"') throw new NotJson();
      const key = this.#string();
      if (members.some((member) => member.key.join() === key.join())) {
        if (this.#rules.broken !== 'first-duplicate') this.#flaws.add('duplicate-key');
      }
      if (this.#peek() !== ':') throw new NotJson();
      this.#expect(':');
      members.push({ key, value: this.#value(depth + 1) });
    }
    this.#expect('}');
    members.sort((a, b) => this.#compare(a.key, b.key));
    return `{${members.map(({ key, value }) => `${this.#written(key)}:${value}`).join(',')}}`;
  }

  #array(depth: number): string {
    this.#deeper(depth);
    const values: string[] = [];
    this.#expect('[');
    while (this.#peek() !== ']') {
      if (values.length > 0) this.#expect(',');
      values.push(this.#value(depth + 1));
    }
    this.#expect(']');
    return `[${values.join(',')}]`;
  }

  #compare(a: number[], b: number[]): number {
    const units = (points: number[]) =>
      points.flatMap((point) =>
        point > 0xffff ? [0xd800 + ((point - 0x10000) >> 10), 0xdc00 + (point & 0x3ff)] : [point],
      );
    const [left, right] = this.#rules.broken === 'utf-16-order' ? [units(a), units(b)] : [a, b];
    for (let i = 0; i < left.length && i < right.length; i++) {
      if (left[i] !== right[i]) return (left[i] as number) - (right[i] as number);
    }
    return left.length - right.length;
  }

  /** The string's code points. */
  #string(): number[] {
    const units: number[] = [];
    this.#expect('"');
    for (;;) {
      const character = this.#text[this.#at] ?? '';
      if (character === '' || character < ' ') throw new NotJson();
      this.#at += 1;
      if (character === '"') break;
      units.push(character === '\\' ? this.#escape() : character.charCodeAt(0));
    }
    const points: number[] = [];
    for (let i = 0; i < units.length; i++) {
      const unit = units[i] as number;
      const next = units[i + 1] ?? 0;
      if (unit >= 0xd800 && unit < 0xdc00 && next >= 0xdc00 && next < 0xe000) {
        points.push(0x10000 + (unit - 0xd800) * 0x400 + (next - 0xdc00));
        i += 1;
      } else {
        if (unit >= 0xd800 && unit < 0xe000) this.#flaws.add('lone-surrogate');
        points.push(unit);
      }
    }
    return points;
  }

  #escape(): number {
    const letter = this.#text[this.#at] ?? '';
    this.#at += 1;
    if (letter === 'u') {
      const digits = this.#text.slice(this.#at, this.#at + 4);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new NotJson();
      this.#at += 4;
      return Number.parseInt(digits, 16);
    }
    const plain: Readonly<Record<string, number>> = { '"': 34, '\\': 92, '/': 47, b: 8, f: 12, n: 10, r: 13, t: 9 };
    const code = plain[letter];
    if (code === undefined) throw new NotJson();
    return code;
  }

  #written(points: number[]): string {
    const short: Readonly<Record<number, string>> = { 8: 'b', 9: 't', 10: 'n', 12: 'f', 13: 'r', 34: '"', 92: '\\' };
    const { broken } = this.#rules;
    const written = points.map((point) => {
      if (short[point] !== undefined) return `\\${short[point]}`;
      const hex = `\\u${point.toString(16).padStart(4, '0')}`;
      if (point < 0x20 || (broken === 'escaped-delete' && point === 0x7f)) return hex;
      return broken === 'ascii-only' && point > 0x7f && point < 0x10000 ? hex : String.fromCodePoint(point);
    });
    return `"${written.join('')}"`;
  }

  #number(): string {
    const rest = this.#text.slice(this.#at);
    const match = /^(-?)(0|[1-9][0-9]*)(\.[0-9]+)?(?:[eE]([+-]?[0-9]+))?/.exec(rest);
    if (match === null) throw new NotJson();
    const [token, sign = '', digits = '', fraction, exponent] = match;
    this.#at += token.length;
    const isPlain = fraction === undefined && exponent === undefined;
    if (this.#rules.strict && (!isPlain || token === '-0')) {
      if (this.#rules.broken === 'negative-zero' && token === '-0') return '-0';
      this.#flaws.add('not-an-integer');
      return token;
    }
    if (fraction === undefined && Number(exponent ?? 0) >= 0) {
      if (!this.#rules.strict && Number(exponent ?? 0) > 308 && BigInt(digits) !== 0n) {
        this.#flaws.add('integer-out-of-range');
        return token;
      }
      const value =
        BigInt(digits) * (BigInt(digits) === 0n ? 1n : 10n ** BigInt(exponent ?? 0)) * (sign === '' ? 1n : -1n);
      if (this.#rules.strict && (value > LARGEST || value < -LARGEST)) this.#flaws.add('integer-out-of-range');
      return String(value);
    }
    return this.#double(Number(token));
  }

  /** Shortest digits that read back as `value`, found by trying; then a point or an exponent. */
  #double(value: number): string {
    if (!Number.isFinite(value)) {
      this.#flaws.add('integer-out-of-range');
      return '';
    }
    const sign = value < 0 || Object.is(value, -0) ? '-' : '';
    const size = Math.abs(value);
    if (size === 0) return `${sign}0.0`;
    let precision = 1;
    while (Number(size.toExponential(precision - 1)) !== size) precision += 1;
    const [mantissa = '', power = ''] = size.toExponential(precision - 1).split('e');
    if (size >= 1e16 || size < 1e-4) {
      const exponent = Number(power);
      const two = Math.abs(exponent) < 10 ? `0${Math.abs(exponent)}` : `${Math.abs(exponent)}`;
      return `${sign}${mantissa}e${exponent < 0 ? '-' : '+'}${two}`;
    }
    const plain = size.toFixed(Math.max(0, precision - 1 - Number(power)));
    return `${sign}${plain.includes('.') ? plain : `${plain}.0`}`;
  }
}
