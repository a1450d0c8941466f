/**
 * What each thread of a process has cost so far, as the Linux kernel counts it. The profiler samples by the wall clock;
 * only this says how much of a thread's time was CPU, and what the threads cost that run no JavaScript.
 */

import { readdirSync, readFileSync } from 'node:fs';

export interface ThreadCpu {
  /** The thread's number in the kernel; the main thread's is that of the process. */
  readonly thread: number;
  readonly name: string;
  readonly cpuUs: number;
}

/** A moment of the measured time. */
export interface CpuSnapshot {
  /** Microseconds of the monotonic clock, which V8 stamps its samples with. */
  readonly atUs: number;
  readonly threads: readonly ThreadCpu[];
}

/** Whether this machine tells what a thread costs. */
export function countsThreadCpu(): boolean {
  return process.platform === 'linux';
}

/** All threads of a process, in the order in which they were started. */
export function snapshotCpu(pid: number): CpuSnapshot {
  const folder = `/proc/${pid}/task`;
  const threads = readdirSync(folder).flatMap((thread): ThreadCpu[] => {
    try {
      const name = readFileSync(`${folder}/${thread}/comm`, 'utf8').trim();
      const [onCpuNs] = readFileSync(`${folder}/${thread}/schedstat`, 'utf8').split(' ');
      return [{ thread: Number(thread), name, cpuUs: Number(onCpuNs) / 1000 }];
    } catch (error) {
      // A thread that has just ended; what it cost is in the process's sum alone.
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
      throw error;
    }
  });
  threads.sort((a, b) => a.thread - b.thread);
  return { atUs: Number(process.hrtime.bigint() / 1000n), threads };
}
