/** Where a tool reads and writes: the process's own streams, or a test's. Given by main.ts. */

import type { Readable, Writable } from 'node:stream';

export interface CommandStreams {
  readonly input: Readable;
  readonly output: Writable;
  /** For people: progress is shown only where it is a terminal. */
  readonly errors: Writable & { readonly isTTY?: boolean };
}
