/**
 * Canonical JSON by three ways: the kernel's slow path (parse, write), its fast path (bytes that are canonical already),
 * and the plain one of the tests. And that the comparison notices when one of them is wrong.
 */

import { isUtf8 } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CanonicalJsonError, canonicalJson } from '../../../src/kernel/matrix/canonical-json.js';
import { JSON_DEPTH_MAX } from '../../../src/kernel/matrix/limits.js';
import { exactJsonObject } from '../../../src/kernel/matrix/old-versions/exact-numbers.js';
import { parseJsonObject } from '../../../src/kernel/matrix/parse-json.js';
import { NOT_CANONICAL, valueEnd } from '../../../src/kernel/pdu-bytes/scan-canonical.js';
import type { PlainAnswer, PlainRules } from '../../support/plain-canonical-json.js';
import { plainCanonicalJson } from '../../support/plain-canonical-json.js';
import { spelledIntegerObject, spelledObject, withOneByteChanged } from '../../support/spelled-json.js';

/** The kernel's answer: canonical text, or a code. */
function kernelCanonicalJson(bytes: Buffer, strict: boolean): { text: string } | { code: string } {
  if (!isUtf8(bytes)) return { code: 'not-json' };
  const text = bytes.toString('utf8');
  const parsed = parseJsonObject(text, strict);
  if (!parsed.ok) return { code: parsed.code };
  try {
    return { text: canonicalJson(strict ? parsed.value : (exactJsonObject(text) ?? parsed.value), strict) };
  } catch (error) {
    if (error instanceof CanonicalJsonError) return { code: error.code };
    throw error;
  }
}

const isFastCanonical = (bytes: Buffer): boolean => valueEnd(bytes, 0, bytes.length) === bytes.length;

/** Where a text has several flaws either side may name any of them. */
function mustAgree(bytes: Buffer, rules: PlainRules): void {
  const plain: PlainAnswer = plainCanonicalJson(bytes, rules);
  const kernel = kernelCanonicalJson(bytes, rules.strict);
  if (plain.text !== undefined) expect(kernel).toEqual({ text: plain.text });
  else expect(plain.flaws).toContain('code' in kernel ? kernel.code : `the kernel wrote ${kernel.text}`);
  if (rules.strict && isUtf8(bytes) && isFastCanonical(bytes)) expect(plain.text).toBe(bytes.toString('utf8'));
}

const rulesOf = (strict: boolean, broken?: PlainRules['broken']): PlainRules => ({
  strict,
  depthMax: JSON_DEPTH_MAX,
  broken,
});

/** Objects in every spelling, in both kinds of room version. */
const agreement = (broken?: PlainRules['broken']) =>
  fc.property(fc.oneof(spelledObject, spelledIntegerObject), fc.boolean(), (text, strict) => {
    mustAgree(Buffer.from(text), rulesOf(strict, broken));
  });

describe('the ways to canonical JSON', () => {
  it('agree on objects in every spelling', () => {
    fc.assert(agreement(), { numRuns: 2000 });
  });

  it('agree on canonical text with a byte changed, put in or taken out', () => {
    const ways = fc.constantFrom('change', 'add', 'lose');
    const property = fc.property(
      spelledIntegerObject,
      fc.nat(),
      fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('"\\{}[],:0-eu.'))),
      ways,
      (text, place, byte, way) => {
        const canonical = plainCanonicalJson(Buffer.from(text), rulesOf(true)).text ?? text;
        mustAgree(withOneByteChanged(Buffer.from(canonical), place, byte, way), rulesOf(true));
      },
    );
    fc.assert(property, { numRuns: 2000 });
  });

  it('agree on random bytes', () => {
    const bytes = fc.array(fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from('{"a":[1,2]}'))), { maxLength: 20 });
    fc.assert(
      fc.property(bytes, fc.boolean(), (list, strict) =>
        mustAgree(Buffer.concat([Buffer.from('{"v":'), Buffer.from(list), Buffer.from('}')]), rulesOf(strict)),
      ),
      { numRuns: 1000 },
    );
  });

  it('recognise as canonical what the kernel wrote, at short escapes and integers of up to 15 digits', () => {
    fc.assert(
      fc.property(spelledIntegerObject, (text) => {
        const kernel = kernelCanonicalJson(Buffer.from(text), true);
        if (!('text' in kernel)) return;
        const bytes = Buffer.from(kernel.text);
        const isLeftToParsing = /\\u|\d{16}|"(?:[^"\\]|\\.)*\\.(?:[^"\\]|\\.)*":/.test(kernel.text);
        if (!isLeftToParsing) expect(isFastCanonical(bytes)).toBe(true);
        expect(kernelCanonicalJson(bytes, true)).toEqual(kernel);
        expect(kernelCanonicalJson(bytes, false)).toEqual(kernel);
      }),
      { numRuns: 1000 },
    );
  });

  it('agree at the depth limit and above', () => {
    for (const levels of [32, 33, JSON_DEPTH_MAX - 1, JSON_DEPTH_MAX]) {
      mustAgree(Buffer.from(`{"v":${'['.repeat(levels)}${']'.repeat(levels)}}`), rulesOf(true));
      mustAgree(Buffer.from(`{"v":${'{"v":'.repeat(levels - 1)}{}${'}'.repeat(levels)}`), rulesOf(false));
    }
    const over = Buffer.from(`{"v":${'['.repeat(JSON_DEPTH_MAX)}${']'.repeat(JSON_DEPTH_MAX)}}`);
    expect(kernelCanonicalJson(over, true)).toEqual({ code: 'too-deep' });
    expect(valueEnd(over, 0, over.length)).toBe(NOT_CANONICAL);
  });
});

describe('positive control: the comparison', () => {
  it.each(['utf-16-order', 'ascii-only', 'escaped-delete', 'negative-zero', 'first-duplicate'] as const)(
    'notices a broken rule: %s',
    (broken) => {
      const found = fc.check(agreement(broken), { numRuns: 20_000, seed: 1 });
      expect(found.failed).toBe(true);
      expect(found.numRuns).toBeLessThan(20_000);
    },
  );
});
