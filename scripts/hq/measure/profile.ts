/**
 * Where a profiled process's CPU went: the profiles that node left for its threads, added up by source file and by
 * function. Time in C++ that JavaScript called (libsodium, LMDB, hashes, TLS) counts for the function that called it.
 */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What V8 writes with --cpu-prof; times in microseconds. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const FUNCTIONS_SHOWN = 40;
/** V8's names for a thread that waits. */
const IDLE: ReadonlySet<string> = new Set(['(idle)', '(root)']);

/** Tables of microseconds per event: by file, then by function. Threads are told apart as node numbers them; 0 is main. */
export async function profileTables(dir: string, events: number): Promise<string> {
  const byFile = new Map<string, number>();
  const byFunction = new Map<string, number>();
  for (const name of (await readdir(dir)).filter((name) => name.endsWith('.cpuprofile')).sort()) {
    // CPU.<date>.<time>.<pid>.<thread>.<number>.cpuprofile
    const thread = name.split('.')[4] === '0' ? 'main' : 'pool';
    const profile = JSON.parse(await readFile(join(dir, name), 'utf8')) as CpuProfile;
    const frames = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
    for (const [i, id] of profile.samples.entries()) {
      const frame = frames.get(id);
      if (frame === undefined || IDLE.has(frame.functionName)) continue;
      const us = profile.timeDeltas[i] as number;
      const file = shortUrl(frame.url);
      add(byFile, `${thread} ${file}`, us);
      add(byFunction, `${thread} ${file}:${frame.lineNumber + 1} ${frame.functionName || '(anonymous)'}`, us);
    }
  }
  return `${tableOf(byFile, events)}\n${tableOf(byFunction, events)}`;
}

function shortUrl(url: string): string {
  const at = Math.max(url.lastIndexOf('/dist/'), url.lastIndexOf('/node_modules/'));
  return at < 0 ? url || '(V8)' : url.slice(at + 1);
}

function add(sums: Map<string, number>, name: string, us: number): void {
  sums.set(name, (sums.get(name) ?? 0) + us);
}

function tableOf(sums: ReadonlyMap<string, number>, events: number): string {
  return [...sums]
    .sort(([, a], [, b]) => b - a)
    .slice(0, FUNCTIONS_SHOWN)
    .map(([name, us]) => `${(us / events).toFixed(2).padStart(7)} us  ${name}\n`)
    .join('');
}
