/** Line numbers of events: right, and counted in one pass. */

import { describe, expect, it } from 'vitest';
import { LineCounter } from '../../../src/cli/document/read-document.js';

describe('LineCounter', () => {
  it('gives the line of each offset', () => {
    const lines = new LineCounter(Buffer.from('ab\n\ncd\ne'));
    const lineByOffset = [0, 2, 3, 3, 4, 6, 7, 8].map((offset) => [offset, lines.lineAt(offset)]);
    expect(lineByOffset).toEqual([
      [0, 1],
      [2, 1],
      [3, 2],
      [3, 2],
      [4, 3],
      [6, 3],
      [7, 4],
      [8, 4],
    ]);
    expect(lines.lineStart).toBe(7);
  });

  it('looks at each byte of a document on one line once', () => {
    const bytes = Buffer.alloc(100 * 1024 * 1024, ' ');
    const lines = new LineCounter(bytes);
    const startedAt = performance.now();
    for (let offset = 0; offset < bytes.length; offset += 512) lines.lineAt(offset);
    // Once is some milliseconds; from the start each time would be hours.
    expect(performance.now() - startedAt).toBeLessThan(20_000);
  });
});
