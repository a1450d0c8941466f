/** The house rules that a machine can check: layers, sizes, names, native libraries, room versions as data. */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const src = join(root, 'src');

/** From the top of the picture down: a file imports from its own folder or from one above. */
const LAYERS = ['kernel', 'store', 'workers', 'remote', 'room', 'partial-state', 'sync', 'api', 'http', 'cli', ''];
const LINES_MAX = 400;
const FILES_MAX = 12;
const ENDPOINT_FILES_MAX = 30;

/** Where each native library is at home; msgpackr encodes what LMDB keeps. */
const NATIVE_HOMES: Readonly<Record<string, readonly string[]>> = {
  lmdb: ['src/store/'],
  msgpackr: ['src/store/'],
  'sodium-native': ['src/kernel/signatures/', 'src/api/client/'],
  piscina: ['src/workers/'],
  undici: ['src/remote/'],
  'uWebSockets.js': ['src/http/'],
  'uWebSockets.js-glibc-2.27': ['src/http/'],
};

function filesUnder(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return filesUnder(path);
    return path.endsWith('.ts') ? [path] : [];
  });
}

const sources = filesUnder(src).map((path) => ({ path, name: relative(root, path), text: readFileSync(path, 'utf8') }));
const all = ['src', 'bench', 'scripts', 'test'].flatMap((folder) => filesUnder(join(root, folder)));

function importsOf(text: string): string[] {
  return [...text.matchAll(/(?:from|import\()\s*'([^']+)'/g)].map((match) => match[1] as string);
}

function layerOf(path: string): number {
  const [first = ''] = relative(src, path).split('/');
  return LAYERS.indexOf(LAYERS.includes(first) ? first : '');
}

describe('the tree', () => {
  it('has files that import only from their own layer or one above', () => {
    const wrong = sources.flatMap(({ path, name, text }) =>
      importsOf(text)
        .filter((target) => target.startsWith('.') && layerOf(resolve(dirname(path), target)) > layerOf(path))
        .map((target) => `${name} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it('keeps the kernel pure: no clock, no input or output, no log', () => {
    const wrong = sources
      .filter(({ name }) => name.startsWith('src/kernel/'))
      .filter(({ text }) => /Date\.now|new Date|Math\.random|process\.|console\.|node:(fs|net|http|timers)/.test(text))
      .map(({ name }) => name);
    expect(wrong).toEqual([]);
  });

  it('has no file over its number of lines and no folder over its number of files', () => {
    const long = all.filter((path) => readFileSync(path, 'utf8').split('\n').length - 1 > LINES_MAX);
    const folders = new Map<string, number>();
    for (const { path } of sources) folders.set(dirname(path), (folders.get(dirname(path)) ?? 0) + 1);
    const crowded = [...folders].filter(([folder, count]) => {
      const most = relative(src, folder).startsWith('api/') ? ENDPOINT_FILES_MAX : FILES_MAX;
      return count > most;
    });
    expect({ long: long.map((path) => relative(root, path)), crowded }).toEqual({ long: [], crowded: [] });
  });

  it('has native libraries at home in one folder', () => {
    const wrong = sources.flatMap(({ name, text }) =>
      // Named in whatever string: uWebSockets.js is loaded by a path that is put together, not by an import.
      Object.entries(NATIVE_HOMES)
        .filter(([library]) => text.includes(`'${library}'`) || text.includes(`'${library}/`))
        .filter(([, homes]) => !homes.some((home) => name.startsWith(home)))
        .map(([library]) => `${name} names ${library}`),
    );
    expect(wrong).toEqual([]);
  });

  it('says of every native library where it is at home', () => {
    const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const isNative = (library: string) => {
      const files = readdirSync(join(root, 'node_modules', library), { recursive: true, encoding: 'utf8' });
      return files.some((file) => file.endsWith('.node') || file.endsWith('binding.gyp'));
    };
    const homeless = Object.keys(dependencies).filter((library) => isNative(library) && !(library in NATIVE_HOMES));
    expect(homeless).toEqual([]);
  });

  it('has nothing called utils and no barrels', () => {
    const wrong = all
      .map((path) => relative(root, path))
      .filter((name) => /utils?[./]|helpers?[./]|\/index\.ts$/.test(name));
    expect(wrong).toEqual([]);
  });

  it('compares room versions only in their table', () => {
    const wrong = sources
      .filter(({ name }) => name !== 'src/kernel/matrix/room-versions.ts')
      .filter(({ text }) =>
        /\bversion\w*\s*(===|!==|>=|<=|>|<)\s*['"]?\d/i.test(text.replace(/^\s*(\*|\/\/).*$/gm, '')),
      )
      .map(({ name }) => name);
    expect(wrong).toEqual([]);
  });

  it('casts to a stage type only where it is made', () => {
    const wrong = sources
      .filter(({ name }) => name !== 'src/kernel/matrix/parse-pdu.ts')
      .filter(({ text }) => /\bas (unknown as )?Pdu\b/.test(text))
      .map(({ name }) => name);
    expect(wrong).toEqual([]);
  });

  it('has a header comment on every source file', () => {
    const wrong = sources.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text)).map(({ name }) => name);
    expect(wrong).toEqual([]);
  });
});
