/**
 * What the process costs, for operators and for `npm run hq`: CPU, memory with its peak, event-loop delay, the pool. Memory
 * is sampled, because a peak is over before anybody asks. `anon` is memory of our own; the mapped store is page cache.
 */

import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { JsonObject } from '../../kernel/matrix/json.js';
import type { WorkerPool } from '../../workers/pool.js';

/** Between two samples of memory: 50 us of reading each. */
const SAMPLE_MS = 100;
/** Resolution of the event-loop delay in milliseconds. */
const DELAY_RESOLUTION_MS = 5;

interface Memory {
  readonly rss: number;
  readonly anon: number | null;
}

function memory(): Memory {
  try {
    const status = readFileSync('/proc/self/status', 'utf8');
    const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    return { rss: kilobytes('VmRSS') * 1024, anon: kilobytes('RssAnon') * 1024 };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { rss: process.memoryUsage().rss, anon: null };
  }
}

export interface ProcessSampler {
  report(): JsonObject;
  stop(): void;
}

export function startProcessSampler(pool: WorkerPool): ProcessSampler {
  const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  delay.enable();
  let peakRss = 0;
  let peakAnon = 0;
  const sample = () => {
    const now = memory();
    peakRss = Math.max(peakRss, now.rss);
    peakAnon = Math.max(peakAnon, now.anon ?? 0);
    return now;
  };
  const timer = setInterval(sample, SAMPLE_MS).unref();
  return {
    report: () => {
      const { rss, anon } = sample();
      const cpu = process.cpuUsage();
      return {
        pid: process.pid,
        uptime_ms: Math.round(process.uptime() * 1000),
        cpu_user_us: cpu.user,
        cpu_system_us: cpu.system,
        rss_bytes: rss,
        anon_bytes: anon,
        peak_rss_bytes: peakRss,
        peak_anon_bytes: anon === null ? null : peakAnon,
        event_loop_delay_p99_ms: delay.percentile(99) / 1e6,
        event_loop_delay_max_ms: delay.max / 1e6,
        pool: { ...pool.stats() },
      };
    },
    stop: () => {
      clearInterval(timer);
      delay.disable();
    },
  };
}
