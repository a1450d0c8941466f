/** The version of this software, from package.json: read once when the process starts, from wherever it was built to. */

import { readFileSync } from 'node:fs';

/** Folders looked through upwards: from dist/src/api/ it is the third. */
const FOLDERS_MAX = 5;

function readVersion(): string {
  for (let up = 1; up <= FOLDERS_MAX; up++) {
    const file = new URL(`${'../'.repeat(up)}package.json`, import.meta.url);
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    const { name, version } = JSON.parse(text) as { readonly name?: unknown; readonly version?: unknown };
    if (name === 'joinery' && typeof version === 'string') return version;
  }
  throw new Error(`no package.json of joinery with a version above ${import.meta.url}: install the package whole`);
}

export const SOFTWARE_VERSION = readVersion();
