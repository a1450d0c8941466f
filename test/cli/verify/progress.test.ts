/** The progress bar: on a terminal only. */

import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { showProgress } from '../../../src/cli/verify/progress.js';

/** What a terminal of the given kind is sent. */
function shown(isTTY: boolean, bytesTotal: number | undefined): string {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 120, cursorTo: () => true, clearLine: () => true });
  const progress = showProgress(stream, bytesTotal);
  progress.update(500_000, 600, 2);
  progress.end();
  return String(stream.read() ?? '');
}

describe('showProgress', () => {
  it('draws a bar of the bytes read, with figures', () => {
    const text = shown(true, 1_000_000);
    expect(text).toContain('50 % of 1.0 MB, 600 PDUs, 2 bad');
    expect(text).toContain('|');
  });

  it('shows figures alone where the size of the input is not known', () => {
    const text = shown(true, undefined);
    expect(text).toContain('0.5 MB, 600 PDUs, 2 bad');
    expect(text).not.toContain('%');
  });

  it('writes nothing where it is no terminal', () => {
    expect(shown(false, 1_000_000)).toBe('');
  });
});
