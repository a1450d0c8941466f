/** Long lists of events: their length is known before their first byte, and their bytes need not all be held for it. */

import { describe, expect, it } from 'vitest';
import type { Room } from '../../src/store/rooms.js';
import type { SyncServer } from '../../src/sync/shape-events.js';
import { shapeLongList } from '../../src/sync/shape-events.js';

const NIDS = Uint32Array.from({ length: 20_000 }, (_, i) => i + 1);
const ROOM = { version: '11', roomId: '!room:hs1' } as unknown as Room;

/** A server whose workers write each event as its number; the second time `changed` is written longer. */
function serverThatWritesNumbers(changed?: number): { server: SyncServer; batchesShaped: () => number } {
  const seen = new Set<number>();
  let batches = 0;
  const run = async (_job: string, { nids }: { nids: Uint32Array }) => {
    batches += 1;
    const texts = Array.from(nids, (nid) => {
      const again = seen.has(nid);
      seen.add(nid);
      return JSON.stringify({ n: again && nid === changed ? 'redacted' : nid });
    });
    return { bytes: new Uint8Array(Buffer.from(texts.join(','))) };
  };
  return { server: { pool: { run } } as unknown as SyncServer, batchesShaped: () => batches };
}

async function textOf(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts).toString('utf8');
}

describe('a long list', () => {
  const expected = Array.from(NIDS, (n) => JSON.stringify({ n })).join(',');

  it.each([0, 40_000, 10_000_000])('is the same text of the stated length when %d bytes are held', async (heldMax) => {
    const { server } = serverThatWritesNumbers();
    const { contentLength, chunks } = await shapeLongList(server, ROOM, NIDS, undefined, heldMax);
    const text = await textOf(chunks);
    expect(text).toBe(expected);
    expect(contentLength).toBe(text.length);
  });

  it('is shaped once where all of it is held, and twice where nothing is', async () => {
    const held = serverThatWritesNumbers();
    await textOf((await shapeLongList(held.server, ROOM, NIDS, undefined)).chunks);
    const notHeld = serverThatWritesNumbers();
    await textOf((await shapeLongList(notHeld.server, ROOM, NIDS, undefined, 0)).chunks);
    expect(notHeld.batchesShaped()).toBe(2 * held.batchesShaped());
  });

  it('breaks off where an event has become another while it was sent', async () => {
    const { server } = serverThatWritesNumbers(15_000);
    const { chunks } = await shapeLongList(server, ROOM, NIDS, undefined, 0);
    await expect(textOf(chunks)).rejects.toThrow('redacted while the list was sent');
  });
});
