/**
 * JSON text to a value, refusing what `JSON.parse` would silently change: duplicate keys, numbers that are not plain
 * integers (`1.0`, `1e3`, `-0`), nesting deeper than JSON_DEPTH_MAX. Events are hashed over what was parsed, so a value
 * that changes while it is parsed would give two servers two events.
 *
 * `JSON.parse` does the work; two regular expressions see whether the text can hold anything it would change, and only
 * then does the slow scanner decide. Specification v1.19, appendices, "Canonical JSON".
 */

import type { JsonObject, JsonValue } from './json.js';
import { isJsonObject } from './json.js';
import { JSON_DEPTH_MAX } from './limits.js';

export type ParseJsonCode = 'not-json' | 'duplicate-key' | 'not-an-integer' | 'too-deep';

export type ParsedJson =
  | { readonly ok: true; readonly value: JsonValue }
  | { readonly ok: false; readonly code: ParseJsonCode; readonly reason: string };

/** A number token with fraction or exponent, or a minus zero; also matches inside strings, which the scanner sorts out. */
const SUSPECT_NUMBER = /(?:^|[:,[])\s*(?:-?\d+[.eE]|-0)/;
const NUMBER_TOKEN = /[0-9.eE+-]+/y;
const KEY_COLON = /"\s*:/g;
const TOO_DEEP = Number.NEGATIVE_INFINITY;

/** How many members the objects in `value` have, all levels together; negative infinity when nested too deeply. */
function memberCount(value: JsonValue, depth: number): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (depth > JSON_DEPTH_MAX) return TOO_DEEP;
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value as readonly JsonValue[]) count += memberCount(item, depth + 1);
    return count;
  }
  const object = value as JsonObject;
  for (const key in object) count += 1 + memberCount(object[key] as JsonValue, depth + 1);
  return count;
}

/**
 * The value of `text`. With `integersOnly` (room versions 6+), numbers must be plain integers; their range is
 * canonical-json.ts's to check. Duplicate keys and numbers inside the top-level member `excepted` are let through.
 */
export function parseJson(text: string, integersOnly: boolean, excepted?: string): ParsedJson {
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch (error) {
    return { ok: false, code: 'not-json', reason: error instanceof Error ? error.message : 'not JSON' };
  }
  const members = memberCount(value, 1);
  if (members === TOO_DEEP)
    return { ok: false, code: 'too-deep', reason: `nested deeper than ${JSON_DEPTH_MAX} levels` };
  let colons = 0;
  KEY_COLON.lastIndex = 0;
  while (KEY_COLON.test(text)) colons += 1;
  const suspectNumber = integersOnly && SUSPECT_NUMBER.test(text);
  // Every key is a `":` in the text. As many keys in the value as `":` in the text: none was lost to a duplicate.
  if (!suspectNumber && colons === members) return { ok: true, value };
  const flaw = findFlaw(text, integersOnly, excepted);
  return flaw === undefined ? { ok: true, value } : { ok: false, code: flaw.code, reason: flaw.reason };
}

/** `parseJson` for text that must be an object. */
export function parseJsonObject(
  text: string,
  integersOnly: boolean,
  excepted?: string,
):
  | { readonly ok: true; readonly value: JsonObject }
  | { readonly ok: false; readonly code: ParseJsonCode; readonly reason: string } {
  const parsed = parseJson(text, integersOnly, excepted);
  if (!parsed.ok) return parsed;
  if (!isJsonObject(parsed.value)) return { ok: false, code: 'not-json', reason: 'not a JSON object' };
  return { ok: true, value: parsed.value };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Index just past the string that starts at `start` (its opening quote). */
function stringEnd(text: string, start: number): number {
  let at = start + 1;
  for (;;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return text.length;
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
    at = quote + 1;
  }
}

/** Walks text that `JSON.parse` accepted and finds the first thing it changed. */
function findFlaw(
  text: string,
  integersOnly: boolean,
  excepted: string | undefined,
): { code: ParseJsonCode; reason: string } | undefined {
  const keysByLevel: (Set<string> | undefined)[] = [];
  let expectKey = false;
  let isExcepted = false;
  for (let i = 0; i < text.length; ) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = stringEnd(text, i);
      const keys = keysByLevel.at(-1);
      if (expectKey && keys !== undefined) {
        const key = JSON.parse(text.slice(i, end)) as string;
        if (keysByLevel.length === 1) isExcepted = key === excepted;
        if (keys.has(key) && (!isExcepted || keysByLevel.length === 1))
          return { code: 'duplicate-key', reason: `key ${JSON.stringify(key)} stands twice in one object` };
        keys.add(key);
        expectKey = false;
      }
      i = end;
      continue;
    }
    if (code === 0x7b) {
      keysByLevel.push(new Set());
      expectKey = true;
    } else if (code === 0x5b) {
      keysByLevel.push(undefined);
      expectKey = false;
    } else if (code === 0x7d || code === 0x5d) {
      keysByLevel.pop();
      expectKey = false;
    } else if (code === 0x2c) {
      expectKey = keysByLevel.at(-1) !== undefined;
    } else if (integersOnly && !isExcepted && (code === 0x2d || (code >= 0x30 && code <= 0x39))) {
      NUMBER_TOKEN.lastIndex = i;
      const token = NUMBER_TOKEN.exec(text)?.[0] ?? '';
      if (!/^(?:0|-?[1-9][0-9]*)$/.test(token))
        return { code: 'not-an-integer', reason: `${token.slice(0, 40)} is not a plain integer` };
      i += token.length;
      continue;
    }
    i += 1;
  }
  return undefined;
}
