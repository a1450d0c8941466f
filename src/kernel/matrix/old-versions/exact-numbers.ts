/**
 * Numbers of room versions 1 to 5 that a double cannot keep: large integers, and numbers whose spelling tells `1` from
 * `1.0`. Their events are hashed over what was sent, so the text of such a number has to survive parsing.
 *
 * The specification says of these versions that integers may be out of range and nothing of floats. What is written:
 * plain integers digit by digit; an integer with an exponent in full, as in the specification's example (`1e10`); every
 * other number as the reference homeserver does: the shortest digits that read back as the same double, with a point or
 * an exponent. Specification v1.19, appendices, "Canonical JSON"; rooms/v1.md, "Canonical JSON".
 */

import type { JsonObject, JsonValue } from '../json.js';

/** A number by its text. Shaped as an object so that it can stand in a JSON value; canonical-json.ts writes it. */
export class ExactNumber {
  readonly [key: string]: string;
  /** As it stands in JSON. */
  readonly token: string;
  constructor(token: string) {
    this.token = token;
  }
}

/** Largest exponent of a double; a number beyond has no form. */
const EXPONENT_MAX = 308;
/** Digits from which on a double may not keep an integer. */
const UNSURE_DIGITS = 16;
/** The reference homeserver writes doubles without exponent from 1e-4 up to here. */
const PLAIN_EXPONENT_MIN = -4;
const PLAIN_EXPONENT_MAX = 15;

const TOKEN = /^(-?)(\d+)(\.\d+)?(?:[eE]([+-]?\d+))?$/;
/** A number that needs care; matches inside strings too, which then cost time and nothing else. */
const INEXACT = new RegExp(String.raw`(?:^|[:,[])\s*-?(?:\d{${UNSURE_DIGITS}}|\d+[.eE])`);
const STRUCTURE = /[ \t\n\r:,]*/y;
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const LITERALS: ReadonlyMap<string, JsonValue> = new Map([
  ['t', true],
  ['f', false],
  ['n', null],
]);

/** Canonical text of a number, or undefined where it is beyond what a double holds. */
export function canonicalToken(token: string): string | undefined {
  const [, sign = '', digits = '', fraction, exponentText] = TOKEN.exec(token) ?? [];
  if (fraction === undefined && exponentText === undefined) return token === '-0' ? '0' : token;
  const exponent = Number(exponentText ?? 0);
  if (fraction === undefined && exponent >= 0) {
    if (Number(digits) === 0) return '0';
    return exponent > EXPONENT_MAX ? undefined : `${sign}${digits}${'0'.repeat(exponent)}`;
  }
  const value = Number(token);
  return Number.isFinite(value) ? doubleText(value) : undefined;
}

/** A double as the reference homeserver writes it. */
function doubleText(value: number): string {
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [mantissa = '', exponentText = '0'] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  const sign = value < 0 ? '-' : '';
  const digits = mantissa.replace(/[-.]/g, '');
  if (exponent < PLAIN_EXPONENT_MIN || exponent > PLAIN_EXPONENT_MAX) {
    return `${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  const whole = digits.padEnd(exponent + 1, '0');
  return `${sign}${whole.slice(0, exponent + 1)}.${whole.slice(exponent + 1) || '0'}`;
}

/**
 * The object in `text` with every number as an ExactNumber, or undefined when doubles lose nothing of it. `text` must be
 * an object that `JSON.parse` accepted, not nested deeper than JSON_DEPTH_MAX.
 */
export function exactJsonObject(text: string): JsonObject | undefined {
  return INEXACT.test(text) ? (new ExactReader(text).value() as JsonObject) : undefined;
}

/** Reads JSON that is known to be good: what comes next tells what it is. */
class ExactReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(): JsonValue {
    const first = this.#next();
    if (first === '{') return this.#object();
    if (first === '[') return this.#array();
    if (first === '"') return this.#string();
    const literal = LITERALS.get(first);
    if (literal === undefined) return new ExactNumber(this.#take(NUMBER));
    this.#at += first === 'f' ? 'false'.length : 'null'.length;
    return literal;
  }

  #object(): JsonObject {
    const members: [string, JsonValue][] = [];
    for (this.#at += 1; this.#next() !== '}'; ) members.push([this.#string(), this.value()]);
    this.#at += 1;
    return Object.fromEntries(members);
  }

  #array(): JsonValue[] {
    const values: JsonValue[] = [];
    for (this.#at += 1; this.#next() !== ']'; ) values.push(this.value());
    this.#at += 1;
    return values;
  }

  #string(): string {
    const start = this.#at;
    let end = start;
    for (let escaped = true; escaped; ) {
      end = this.#text.indexOf('"', end + 1);
      let backslashes = 0;
      while (this.#text[end - 1 - backslashes] === '\\') backslashes += 1;
      escaped = backslashes % 2 === 1;
    }
    this.#at = end + 1;
    return JSON.parse(this.#text.slice(start, this.#at)) as string;
  }

  /** The character after white space, colons and commas. */
  #next(): string {
    this.#take(STRUCTURE);
    return this.#text[this.#at] as string;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const taken = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += taken.length;
    return taken;
  }
}
