/**
 * The object inside the `[200, {...}]` that v1 endpoints answer, taken out while it streams: its bytes go through as they
 * come, what closes the list is held back until the end. Whether the object is one is for who splits it.
 * Specification v1.19, server-server API, PUT /_matrix/federation/v1/send_join.
 */

import { SplitError } from './split-response.js';

/** White space and status that are tolerated around the object, in bytes. */
const AROUND_BYTES_MAX = 1024;

const CLOSING = Buffer.from('] \t\r\n');

/** The body without what stands around its object. Throws SplitError where that is something else. */
export async function* withoutStatus(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let opening: Buffer | undefined = Buffer.alloc(0);
  let held = '';
  for await (const chunk of body) {
    let rest = chunk;
    if (opening !== undefined) {
      opening = Buffer.concat([opening, chunk]);
      const start = opening.indexOf('{');
      if (start < 0 && opening.length <= AROUND_BYTES_MAX) continue;
      if (!/^\s*\[\s*200\s*,\s*$/.test(opening.toString('latin1', 0, Math.max(0, start))))
        throw new SplitError('the response is not [200, {...}]');
      rest = opening.subarray(start);
      opening = undefined;
    }
    // What may be the end of the list waits until more comes.
    const end = closingLength(rest);
    if (end < rest.length && held !== '') yield Buffer.from(held, 'latin1');
    if (end < rest.length) {
      yield rest.subarray(0, rest.length - end);
      held = '';
    }
    held += rest.toString('latin1', rest.length - end);
    if (held.length > AROUND_BYTES_MAX) throw new SplitError('the response ends in white space without an end');
  }
  if (opening !== undefined || !/^\s*\]\s*$/.test(held)) throw new SplitError('the response is not [200, {...}]');
}

/** How many bytes at the end may belong to what closes the list. */
function closingLength(bytes: Buffer): number {
  let length = 0;
  while (length < bytes.length && CLOSING.includes(bytes[bytes.length - 1 - length] as number)) length += 1;
  return length;
}
