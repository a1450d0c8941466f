/** Tokens of the stream, `s<position>`: `since`, `next_batch`, `prev_batch` and `at`. Valid across restarts. */

import { MatrixError } from '../kernel/matrix/matrix-error.js';

export function syncToken(position: number): string {
  return `s${position}`;
}

/** The position a token stands for. Throws MatrixError 400. */
export function parseSyncToken(token: string): number {
  const position = /^s(0|[1-9][0-9]{0,14})$/.exec(token)?.[1];
  if (position === undefined) throw new MatrixError(400, 'M_INVALID_PARAM', 'this is not a token of this server');
  return Number(position);
}
