/** The limits of documents: each reached, each with an error that names the file. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, it } from 'vitest';
import { DOCUMENT_BYTES_MAX, readDocument } from '../../../src/cli/document/read-document.js';
import { readEvents } from '../../../src/cli/document/read-events.js';
import { InputError } from '../../../src/cli/input-error.js';
import { KEYS_FILE_BYTES_MAX, readKeys } from '../../../src/cli/verify/read-keys.js';
import { roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-document-'));
afterAll(() => rmSync(folder, { recursive: true }));
const NOTHING = Readable.from([]);

describe('the limits of a document', () => {
  it('are a number of bytes, beyond which nothing more is read', async () => {
    const block = Buffer.alloc(64 * 1024 * 1024, ' ');
    let blocks = 0;
    const input = Readable.from(
      (function* () {
        for (;;) {
          blocks += 1;
          yield block;
        }
      })(),
    );
    const reading = readDocument('-', input, () => undefined);
    await expect(reading).rejects.toBeInstanceOf(InputError);
    await expect(reading).rejects.toThrow(`standard input: larger than ${DOCUMENT_BYTES_MAX} bytes`);
    // What a stream has ready ahead of its reader is its own business.
    expect(blocks).toBeLessThan(DOCUMENT_BYTES_MAX / block.length + 20);
  });

  it('are a number of events', async () => {
    const rules = roomVersionRules('11');
    if (rules === undefined) throw new Error('room version 11 is not known');
    const file = join(folder, 'events.json');
    writeFileSync(file, '{"events":[{},\n{},{}]}');
    expect((await readEvents(rules, file, NOTHING, 3)).events).toHaveLength(3);
    await expect(readEvents(rules, file, NOTHING, 2)).rejects.toThrow(`${file}:2:4: more than 2 events`);
  });

  it('are fewer bytes for a keys file', async () => {
    const file = join(folder, 'keys.json');
    writeFileSync(file, Buffer.alloc(KEYS_FILE_BYTES_MAX + 1, ' '));
    await expect(readKeys(file, NOTHING)).rejects.toThrow(`${file}: larger than ${KEYS_FILE_BYTES_MAX} bytes`);
  });
});
