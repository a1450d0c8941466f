/** A real store in a folder of its own, gone when the test file is done. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import type { Store } from '../../src/store/open-store.js';
import { openStore } from '../../src/store/open-store.js';

/** A data folder that is removed after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'joinery-test-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A new store, closed after the tests of the file. */
export function temporaryStore(dataDir = temporaryFolder()): Store {
  const store = openStore(dataDir, 'a.test');
  afterAll(() => store.close());
  return store;
}
