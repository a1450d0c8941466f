/**
 * JSON texts as a hostile server would spell them, for fast-check: white space anywhere, needless escapes, keys in any
 * order and twice, numbers in every form, halves of surrogate pairs.
 */

import fc from 'fast-check';

/** Characters at which orders, escapes and encodings differ. */
const CHARACTERS = [
  ...'abz:{}[],"\\/ ',
  '\u0000',
  '\b',
  '\t',
  '\n',
  '\u000b',
  '\f',
  '\r',
  '\u001f',
  '\u007f',
  '\u0080',
  'é',
  '\u07ff',
  '\u0800',
  '\u2028',
  '\ud7ff',
  '\ue000',
  '\uff5e',
  '\uffff',
  '\u{10000}',
  '\u{1f600}',
  '\u{10ffff}',
];
const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '/': '\\/',
  '\b': '\\b',
  '\t': '\\t',
  '\n': '\\n',
  '\f': '\\f',
  '\r': '\\r',
};

const space = fc.constantFrom('', '', '', '', ' ', '\n', '\t\r ', '  ');

function hexEscape(character: string, upper: boolean): string {
  const units = Array.from({ length: character.length }, (_, i) =>
    character.charCodeAt(i).toString(16).padStart(4, '0'),
  );
  return units.map((unit) => `\\u${upper ? unit.toUpperCase() : unit}`).join('');
}

const spelledCharacter = fc
  .tuple(fc.constantFrom(...CHARACTERS), fc.constantFrom('plain', 'plain', 'short', 'hex', 'HEX'))
  .map(([character, way]) => {
    const mustEscape = character < ' ' || character === '"' || character === '\\';
    if (way === 'hex' || way === 'HEX') return hexEscape(character, way === 'HEX');
    if (mustEscape || way === 'short')
      return SHORT[character] ?? (mustEscape ? hexEscape(character, false) : character);
    return character;
  });
const halfSurrogate = fc.constantFrom('\\ud800', '\\uDFFF', '\\udc00\\ud800');
const spelledString = fc
  .array(fc.oneof({ weight: 60, arbitrary: spelledCharacter }, { weight: 1, arbitrary: halfSurrogate }), {
    maxLength: 6,
  })
  .map((parts) => `"${parts.join('')}"`);
const spelledKey = fc.oneof(
  spelledString,
  fc.constantFrom('"a"', '"b"', '""', '"__proto__"', '"10"', '"9"', '"unsigned"'),
);

const spelledNumber = fc.oneof(
  fc.integer().map(String),
  fc.maxSafeInteger().map(String),
  fc.constantFrom(
    '0',
    '-0',
    '1',
    '-1',
    '9007199254740991',
    '-9007199254740991',
    '9007199254740992',
    '-9007199254740993',
  ),
  fc.bigInt().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.constantFrom('1.0', '-0.0', '0e0', '1e10', '1E+2', '1e-5', '2.50', '1e308', '1e309', '1.5e309', '12e-1', '-1e23'),
);
const plainInteger = fc.oneof(
  fc.integer().map(String),
  fc.constantFrom('0', '-1', '999999999999999', '9007199254740991'),
);

function spelledValue(number: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.letrec<{ value: string }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, depthSize: 'small' },
      fc.oneof(fc.constantFrom('true', 'false', 'null'), number, spelledString),
      fc
        .tuple(space, fc.array(fc.tuple(space, tie('value'), space), { maxLength: 4 }))
        .map(([gap, items]) => `[${gap}${items.map((item) => item.join('')).join(',')}]`),
      fc
        .tuple(space, fc.array(fc.tuple(space, spelledKey, space, space, tie('value'), space), { maxLength: 4 }))
        .map(
          ([gap, members]) =>
            `{${gap}${members.map(([a, key, b, c, value, d]) => `${a}${key}${b}:${c}${value}${d}`).join(',')}}`,
        ),
    ),
  })).value;
}

/** Objects in any spelling, most of them with some flaw. */
export const spelledObject: fc.Arbitrary<string> = spelledValue(spelledNumber).map((value) => `{"v":${value}}`);
/** Objects in any spelling whose numbers are plain integers: most have a canonical form. */
export const spelledIntegerObject: fc.Arbitrary<string> = spelledValue(plainInteger).map((value) => `{"v":${value}}`);

/** `bytes` with one byte changed, put in or taken out. */
export function withOneByteChanged(
  bytes: Uint8Array,
  place: number,
  byte: number,
  way: 'change' | 'add' | 'lose',
): Buffer {
  const at = place % (bytes.length + (way === 'add' ? 1 : 0));
  const kept = way === 'add' ? at : at + 1;
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(way === 'lose' ? [] : [byte]), bytes.subarray(kept)]);
}
