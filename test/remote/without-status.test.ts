import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { withoutStatus } from '../../src/remote/without-status.js';

/** What comes out for a text that arrives in pieces of these sizes, the last one again and again. */
async function unwrapped(text: string, sizes: readonly number[]): Promise<string> {
  const bytes = Buffer.from(text, 'utf8');
  async function* pieces() {
    let at = 0;
    for (let i = 0; at < bytes.length; i++) {
      const size = sizes[Math.min(i, sizes.length - 1)] ?? 1;
      yield bytes.subarray(at, at + size);
      at += size;
    }
  }
  const parts: Buffer[] = [];
  for await (const part of withoutStatus(pieces())) parts.push(part);
  return Buffer.concat(parts).toString('utf8');
}

describe('the answer of a v1 endpoint', () => {
  it('is the object inside of it, wherever the pieces end', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.string(), fc.jsonValue()), sizes, fc.nat(2), async (object, cuts, indent) => {
        const json = JSON.stringify(object, null, indent);
        expect(await unwrapped(`[200, ${json}]\n`, cuts)).toBe(json);
        expect(await unwrapped(` [ 200 ,${json} ] `, cuts)).toBe(json);
      }),
    );
  });

  it.each([
    '',
    '[]',
    '{}',
    '[200]',
    '[404,{}]',
    '[200,{}',
    '[200,{}]]',
    '["200",{}]',
    '<html>',
    `[200,${' '.repeat(2000)}{}]`,
  ])('is refused where it is %j', async (text) => {
    await expect(unwrapped(text, [3])).rejects.toMatchObject({ name: 'SplitError' });
  });
});
