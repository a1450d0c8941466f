/**
 * Cuts one member out of the top level of a JSON object's text and leaves every other character as it was, so that an
 * event can be stored as received but for its `unsigned`. The text must be what `JSON.parse` accepted.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;

function stringEnd(text: string, start: number): number {
  for (let at = start + 1; ; ) {
    const quote = text.indexOf('"', at);
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
    at = quote + 1;
  }
}

/** `text` without its top-level members called `key`, each with one comma beside it. */
export function withoutTopLevelKey(text: string, key: string): string {
  const quoted = JSON.stringify(key);
  let depth = 0;
  /** Where the member begins that is being read: just after `{` or at the comma before it. */
  let memberStart = -1;
  let cutting = false;
  let first = true;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const end = stringEnd(text, i);
      if (depth === 1 && memberStart >= 0 && !cutting && isKeyAt(text, i, end, quoted, memberStart)) cutting = true;
      i = end - 1;
    } else if (code === 0x7b || code === 0x5b) {
      depth += 1;
      if (depth === 1) memberStart = i + 1;
    } else if (code === 0x7d || code === 0x5d) {
      depth -= 1;
      if (depth === 0) return cutting ? text.slice(0, memberStart) + text.slice(i) : text;
    } else if (code === COMMA && depth === 1) {
      if (cutting) {
        const rest = first
          ? `${text.slice(0, memberStart)}${text.slice(i + 1)}`
          : `${text.slice(0, memberStart)}${text.slice(i)}`;
        return withoutTopLevelKey(rest, key);
      }
      memberStart = i;
      first = false;
    }
  }
  return text;
}

/** Whether the string at `start` is the member's key (nothing but white space and the comma before it) and is `quoted`. */
function isKeyAt(text: string, start: number, end: number, quoted: string, memberStart: number): boolean {
  if (text.slice(memberStart, start).replace(',', '').trim() !== '') return false;
  const raw = text.slice(start, end);
  return raw === quoted || (raw.includes('\\') && JSON.parse(raw) === JSON.parse(quoted));
}
