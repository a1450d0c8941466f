/**
 * The order of event IDs: by Unicode code point, which is not JavaScript's order of strings (by UTF-16 unit) and never a
 * locale's. The two differ only for characters beyond U+FFFF, which event IDs of room versions 1 and 2 may hold.
 */

/** Negative, zero or positive as `a` is before, the same as, or after `b`. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const unitA = a.charCodeAt(index);
    const unitB = b.charCodeAt(index);
    if (unitA === unitB) continue;
    const surrogateA = isSurrogate(unitA);
    // A surrogate half stands for a character beyond U+FFFF: after every other unit, not between U+D7FF and U+E000.
    if (surrogateA !== isSurrogate(unitB)) return surrogateA ? 1 : -1;
    return unitA - unitB;
  }
  return a.length - b.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}
