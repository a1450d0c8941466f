/**
 * What each stage of the pipeline costs the joiner per event, from the profiles that V8 left for its threads. V8 samples
 * by the wall clock and only threads that run JavaScript; so a thread's samples within the measured time say how its CPU
 * divides among stages, and the kernel says how much CPU it had and what the other threads had (thread-cpu.ts). What the
 * process had besides is "not attributed": the rows add up to the joiner's CPU as the report has it.
 *
 * Cannot show: natives apart from the JavaScript function that calls them; how long a thread that was about to run waited.
 */

import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  NODE_ON_ITS_OWN,
  ON_THEIR_OWN,
  STAGES,
  type StageFiles,
  type StageRow,
  V8_NAMES,
  WAITING,
  WITH_ALL_THEY_CALL,
} from './profile-stages.js';
import type { CpuSnapshot } from './thread-cpu.js';

const NOTE_THREAD = new URL('./note-thread.js', import.meta.url).href;

/**
 * Between two samples of a thread in microseconds: some thousand samples of each thread in a run of 20,000 events. At V8's
 * own 1,000 the profiler's threads alone took 26 us of CPU per event.
 */
const SAMPLE_US = 5_000;
/** What V8 calls the threads that its profiler adds; they are started right after what they belong to. */
const PROFILER_THREAD = 'v8:ProfEvntProc';

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: CallFrame;
  readonly children?: readonly number[];
}

/** What V8 writes with --cpu-prof; times in microseconds. */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  /** Of the monotonic clock. */
  readonly startTime: number;
  readonly samples: readonly number[];
  /** From the sample before, or from `startTime`. */
  readonly timeDeltas: readonly number[];
}

/** A JavaScript thread's profile, and its number in the kernel. */
export interface ThreadProfile {
  readonly thread: number;
  readonly profile: CpuProfile;
}

export interface ProfileRow {
  readonly name: string;
  readonly us: number;
}

/** Empties a folder for the profiles of one run. */
export async function prepareProfileDir(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  // Only what an earlier run has left: the folder may be the user's own.
  for (const name of await readdir(dir)) {
    if (/^(CPU\..*\.cpuprofile|thread-\d+\.\d+)$/.test(name)) await rm(join(dir, name));
  }
}

/** Arguments of node, and the environment, of a process that leaves its profiles in `dir`. */
export function profiledProcess(dir: string): { readonly args: readonly string[]; readonly env: NodeJS.ProcessEnv } {
  return {
    args: [`--import=${NOTE_THREAD}`, '--cpu-prof', `--cpu-prof-interval=${SAMPLE_US}`, `--cpu-prof-dir=${dir}`],
    env: { JOINERY_HQ_PROFILE_DIR: dir },
  };
}

/** The profiles that a process left in a folder. */
export async function readProfiles(dir: string): Promise<ThreadProfile[]> {
  const names = (await readdir(dir)).sort();
  const kernelThreads = new Map<string, number>();
  for (const name of names) {
    const [, thread, kernelThread] = /^thread-(\d+)\.(\d+)$/.exec(name) ?? [];
    if (thread !== undefined) kernelThreads.set(thread, Number(kernelThread));
  }
  const profiles: ThreadProfile[] = [];
  for (const name of names.filter((name) => name.endsWith('.cpuprofile'))) {
    // CPU.<date>.<time>.<process>.<thread>.<number>.cpuprofile
    const thread = kernelThreads.get(name.split('.')[4] ?? '');
    if (thread === undefined) throw new Error(`${join(dir, name)}: its thread left no thread-* file beside it`);
    profiles.push({ thread, profile: JSON.parse(await readFile(join(dir, name), 'utf8')) as CpuProfile });
  }
  if (profiles.length === 0) throw new Error(`${dir}: the process left no profile`);
  return profiles;
}

/** The stage of a stack, innermost frame first; undefined where the thread waited. */
export function stageOfStack(stack: readonly CallFrame[]): StageRow | undefined {
  const [innermost] = stack;
  if (innermost === undefined) return undefined;
  const files = stack.map(({ url }) => fileOfUrl(url));
  const waits = WAITING.some(({ file, functionName }) => {
    return functionName === innermost.functionName && file === files[0];
  });
  if (waits) return undefined;
  const named = innermost.url === '' ? V8_NAMES[innermost.functionName] : undefined;
  return (
    named ??
    firstStage(WITH_ALL_THEY_CALL, [...files].reverse()) ??
    firstStage(ON_THEIR_OWN, files) ??
    firstStage(NODE_ON_ITS_OWN, files) ??
    'other packages and node'
  );
}

function firstStage(lists: readonly StageFiles[], files: readonly string[]): StageRow | undefined {
  for (const file of files) {
    const stage = stageOfFile(lists, file);
    if (stage !== undefined) return stage;
  }
  return undefined;
}

/** The stage of a file by the longest path that fits it; `file` as fileOfUrl names it. */
export function stageOfFile(lists: readonly StageFiles[], file: string): StageRow | undefined {
  let best: { readonly stage: StageRow; readonly length: number } | undefined;
  for (const { stage, files } of lists) {
    for (const path of files) {
      const fits = path.endsWith('/') || path === 'node:' ? file.startsWith(path) : file === path;
      if (fits && path.length > (best?.length ?? 0)) best = { stage, length: path.length };
    }
  }
  return best?.stage;
}

/** `src/kernel/...ts` for what was compiled from it, `node_modules/...`, `node:...`; empty for V8's own. */
function fileOfUrl(url: string): string {
  const packageAt = url.lastIndexOf('/node_modules/');
  if (packageAt >= 0) return url.slice(packageAt + 1);
  const own = /\/dist\/(src\/.+)\.js$/.exec(url)?.[1];
  return own === undefined ? url : `${own}.ts`;
}

/** Samples by stage between two moments; those of a waiting thread are left out. */
function countSamples(profile: CpuProfile, fromUs: number, toUs: number): Map<StageRow, number> {
  const stages = stagesOfNodes(profile);
  const counts = new Map<StageRow, number>();
  let atUs = profile.startTime;
  for (const [i, id] of profile.samples.entries()) {
    atUs += profile.timeDeltas[i] as number;
    const stage = stages.get(id);
    // Each sample is one, however long after the one before it came: a thread that was not on a core was not sampled.
    if (stage !== undefined && atUs >= fromUs && atUs < toUs) counts.set(stage, (counts.get(stage) ?? 0) + 1);
  }
  return counts;
}

function stagesOfNodes({ nodes }: CpuProfile): Map<number, StageRow | undefined> {
  const parents = new Map<number, number>();
  const frames = new Map<number, CallFrame>();
  for (const { id, callFrame, children } of nodes) {
    frames.set(id, callFrame);
    for (const child of children ?? []) parents.set(child, id);
  }
  const stages = new Map<number, StageRow | undefined>();
  for (const { id } of nodes) {
    const stack: CallFrame[] = [];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      stack.push(frames.get(at) as CallFrame);
    }
    stages.set(id, stageOfStack(stack));
  }
  return stages;
}

/**
 * The table's rows. `totalUs`: the CPU of the whole process between the two snapshots; the rows add up to it.
 * `profilerUs` of it are the profiler's own threads.
 */
export function profileRows(
  profiles: readonly ThreadProfile[],
  before: CpuSnapshot,
  after: CpuSnapshot,
  totalUs: number,
): ProfileRow[] {
  const sums = new Map<string, number>();
  const add = (name: string, us: number): void => {
    sums.set(name, (sums.get(name) ?? 0) + us);
  };
  const profileByThread = new Map(profiles.map(({ thread, profile }) => [thread, profile]));
  const earlier = new Map(before.threads.map(({ thread, cpuUs }) => [thread, cpuUs]));
  // V8 starts its helpers before the profiler, and libuv its threads when there is work for them.
  const firstProfiler = Math.min(...after.threads.filter(isProfiler).map(({ thread }) => thread));
  let attributedUs = 0;
  for (const counted of after.threads) {
    const { thread } = counted;
    const us = counted.cpuUs - (earlier.get(thread) ?? 0);
    const profile = profileByThread.get(thread);
    const counts = profile === undefined ? undefined : countSamples(profile, before.atUs, after.atUs);
    const samples = [...(counts?.values() ?? [])].reduce((sum, count) => sum + count, 0);
    if (counts !== undefined && samples === 0) continue;
    attributedUs += us;
    if (counts !== undefined) for (const [stage, count] of counts) add(stage, (us * count) / samples);
    else if (isProfiler(counted)) add(PROFILER_ROW, us);
    else
      add(
        thread < firstProfiler ? "V8's helper threads: compiling, collecting" : "libuv's threads: LMDB's commits",
        us,
      );
  }
  add(NOT_ATTRIBUTED_ROW, totalUs - attributedUs);
  return [...STAGES, PROFILER_ROW, NOT_ATTRIBUTED_ROW].map((name) => ({ name, us: sums.get(name) ?? 0 }));
}

const PROFILER_ROW = "the profiler's own threads";
const NOT_ATTRIBUTED_ROW = 'not attributed';

function isProfiler({ name }: { readonly name: string }): boolean {
  return name === PROFILER_THREAD;
}

/** The rows as a table of microseconds per event and shares, and their sum. */
export function profileTable(rows: readonly ProfileRow[], events: number): string {
  const total = rows.reduce((sum, { us }) => sum + us, 0);
  const line = (name: string, us: number): string => {
    return `${name.padEnd(46)} ${(us / events).toFixed(2).padStart(8)} ${((100 * us) / total).toFixed(1).padStart(6)} %\n`;
  };
  const head = `${'CPU of the joiner by stage'.padEnd(46)} us/event    share\n`;
  return `${head}${rows.map(({ name, us }) => line(name, us)).join('')}${line('sum', total)}`;
}
