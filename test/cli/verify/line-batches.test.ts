/** Lines into batches: the same lines however the bytes are cut, and no byte read before it is asked for. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LineBatch } from '../../../src/cli/verify/line-batches.js';
import { LINE_BYTES_MAX, LineBatches } from '../../../src/cli/verify/line-batches.js';
import { BATCH_PDUS_MAX } from '../../../src/workers/pdu-batch.js';

async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function batchesOf(bytes: Buffer, size: number): Promise<LineBatch[]> {
  const batches: LineBatch[] = [];
  for await (const batch of new LineBatches().read(chunksOf(bytes, size))) batches.push(batch);
  return batches;
}

function linesOf(batches: readonly LineBatch[]): string[] {
  return batches.flatMap(({ bytes, offsets }) =>
    [...offsets].slice(1).map((end, i) => Buffer.from(bytes.subarray(offsets[i], end)).toString('latin1')),
  );
}

describe('LineBatches', () => {
  it('gives the same lines for every size of chunk, and numbers them', async () => {
    const line = fc.string({ unit: fc.constantFrom('a', 'b', ' '), maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 250 }), fc.integer({ min: 1, max: 70 }), async (lines, size) => {
        const batches = await batchesOf(Buffer.from(lines.map((text) => `${text}\n`).join('')), size);
        expect(linesOf(batches)).toEqual(lines);
        let next = 1;
        for (const { firstLine, offsets } of batches) {
          expect(firstLine).toBe(next);
          next += offsets.length - 1;
        }
      }),
      { numRuns: 50, seed: 1 },
    );
  });

  it('keeps one byte more than the limit of a line that is too long, and goes on with the next line', async () => {
    const bytes = Buffer.from(`a\n${'x'.repeat(3 * LINE_BYTES_MAX)}\nb`);
    for (const size of [1000, 70_000, bytes.length]) {
      const lines = linesOf(await batchesOf(bytes, size));
      expect(lines.map(({ length }) => length)).toEqual([1, LINE_BYTES_MAX + 1, 1]);
      expect(lines.at(-1)).toBe('b');
    }
  });

  it('reads no further than the batch that is asked for', async () => {
    let chunksRead = 0;
    async function* endless(): AsyncGenerator<Buffer> {
      for (;;) {
        chunksRead += 1;
        yield Buffer.from('x\n'.repeat(BATCH_PDUS_MAX));
      }
    }
    const batches = new LineBatches().read(endless());
    for (let taken = 1; taken <= 5; taken++) {
      const { value } = await batches.next();
      expect(value?.firstLine).toBe(1 + (taken - 1) * BATCH_PDUS_MAX);
      expect(chunksRead).toBeLessThanOrEqual(taken + 1);
    }
    await batches.return(undefined);
  });
});
