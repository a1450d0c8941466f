/**
 * Runs the tests of a file as functions, within a test: for positive controls, which break something on purpose and want to
 * see the file fail. `describe` and `it` are replaced by ones that run what they are given and note what fails.
 */

import { expect, vi } from 'vitest';

type Body = (...values: never[]) => unknown;
type Titled = (title: string, body: Body) => void;

/** Replaced modules by path from the root of the repository: what each exports instead. */
export type Replacements = Readonly<Record<string, (original: Record<string, unknown>) => Record<string, unknown>>>;

/** Titles of the tests of `file` (its path from the root) that fail while the modules are replaced. */
export async function failuresOf(file: string, replacements: Replacements): Promise<readonly string[]> {
  vi.resetModules();
  const pending: { readonly title: string; readonly body: () => unknown }[] = [];
  const path: string[] = [];
  const it: Titled = (title, body) => {
    pending.push({ title: [...path, title].join(', '), body: body as () => unknown });
  };
  const describe: Titled = (title, body) => {
    path.push(title);
    body();
    path.pop();
  };
  vi.doMock('vitest', () => ({
    expect,
    describe: Object.assign(describe, { each: eachOf(describe) }),
    it: Object.assign(it, { each: eachOf(it) }),
  }));
  for (const [module, replace] of Object.entries(replacements)) {
    vi.doMock(`/${module}`, async (load) => replace(await load<Record<string, unknown>>()));
  }
  try {
    await import(/* @vite-ignore */ `/${file}`);
    const failed: string[] = [];
    for (const { title, body } of pending) {
      try {
        await body();
      } catch {
        failed.push(title);
      }
    }
    if (pending.length === 0) throw new Error(`${file} has no tests`);
    return failed;
  } finally {
    for (const module of ['vitest', ...Object.keys(replacements).map((name) => `/${name}`)]) vi.doUnmock(module);
    vi.resetModules();
  }
}

function eachOf(titled: Titled): (cases: readonly unknown[]) => Titled {
  return (cases) => (title, body) => {
    for (const values of cases) {
      const list = (Array.isArray(values) ? values : [values]) as never[];
      titled(title.replace('%s', String(list[0])), () => body(...list));
    }
  };
}
