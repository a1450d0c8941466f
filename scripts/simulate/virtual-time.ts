/**
 * Virtual time: while it is installed every timer of this process (globals, `node:timers/promises`, AbortSignal.timeout,
 * Date.now) is an entry of one ordered list, and the clock jumps from entry to entry. Days pass in milliseconds, and the
 * same calls are made in the same order each time.
 *
 * An entry belongs to the life of a server that made it; the entries of a life that has ended never run, as those of a
 * process that was killed. Between two entries one real turn of the event loop lets every promise settle.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire, syncBuiltinESMExports } from 'node:module';

/** The time from start to end (or crash) of one server. */
export interface Life {
  readonly name: string;
  dead: boolean;
}

interface Entry {
  readonly at: number;
  readonly sequence: number;
  readonly life: Life | undefined;
  readonly run: () => void;
  cancelled: boolean;
}

const realImmediate = globalThis.setImmediate;
// The CommonJS object: its members can be replaced, and ESM importers follow after syncBuiltinESMExports.
const timersPromises = createRequire(import.meta.url)('node:timers/promises') as Record<string, unknown>;

/** One real turn of the event loop: every promise that can settle has settled. */
export function realTurn(): Promise<void> {
  return new Promise((resolve) => {
    realImmediate(resolve);
  });
}

/** What setTimeout gives: enough of NodeJS.Timeout for clearTimeout and unref. */
class VirtualTimer {
  readonly entry: Entry;
  constructor(entry: Entry) {
    this.entry = entry;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }
  hasRef(): boolean {
    return true;
  }
}

export class VirtualTime {
  readonly #lives = new AsyncLocalStorage<Life>();
  /** A binary heap by time, then by order of creation. */
  readonly #heap: Entry[] = [];
  readonly #real: Promise<unknown>[] = [];
  #sequence = 0;
  #now: number;

  constructor(startTs: number) {
    this.#now = startTs;
  }

  readonly now = (): number => this.#now;

  /** Runs something as part of a server's life. */
  within<T>(life: Life, run: () => T): T {
    return this.#lives.run(life, run);
  }

  /** Runs something as part of no server's life. */
  outside<T>(run: () => T): T {
    return this.#lives.run(undefined as never, run);
  }

  /** Time stands still until a promise that real threads settle has settled. */
  standStill(promise: Promise<unknown>): void {
    this.#real.push(promise.catch(() => undefined));
  }

  schedule(delayMs: number, run: () => void): () => void {
    const entry = this.#push(delayMs, run);
    return () => {
      entry.cancelled = true;
    };
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason);
      const onAbort = (): void => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.schedule(delayMs, () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Lets time pass until `done` holds (true), nothing is left to happen, or `untilTs` is reached (false). */
  async runUntil(done: () => boolean, untilTs: number): Promise<boolean> {
    for (;;) {
      await realTurn();
      while (this.#real.length > 0) {
        await this.#real.pop();
        await realTurn();
      }
      if (done()) return true;
      const next = this.#pop(untilTs);
      if (next === undefined) return false;
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
  }

  /** Replaces the process's timers; the result puts them back. */
  install(): () => void {
    const real = {
      setTimeout: globalThis.setTimeout,
      clearTimeout: globalThis.clearTimeout,
      setImmediate: globalThis.setImmediate,
      clearImmediate: globalThis.clearImmediate,
      dateNow: Date.now,
      performanceNow: performance.now,
      abortTimeout: AbortSignal.timeout,
      sleep: timersPromises.setTimeout,
      turn: timersPromises.setImmediate,
    };
    const later = (run: (...values: unknown[]) => void, delayMs = 0, ...values: unknown[]) =>
      new VirtualTimer(this.#push(delayMs, () => run(...values)));
    const clear = (timer: unknown) => {
      if (timer instanceof VirtualTimer) timer.entry.cancelled = true;
      else real.clearTimeout(timer as NodeJS.Timeout);
    };
    globalThis.setTimeout = later as never;
    globalThis.clearTimeout = clear as never;
    globalThis.setImmediate = ((run: () => void, ...values: unknown[]) => later(run, 0, ...values)) as never;
    globalThis.clearImmediate = clear as never;
    Date.now = this.now;
    performance.now = this.now;
    AbortSignal.timeout = (delayMs) => {
      const abort = new AbortController();
      this.schedule(delayMs, () => abort.abort(new DOMException('timed out', 'TimeoutError')));
      return abort.signal;
    };
    timersPromises.setTimeout = async (delayMs = 0, value?: unknown, options?: { signal?: AbortSignal }) => {
      await this.sleep(delayMs, options?.signal);
      return value;
    };
    timersPromises.setImmediate = async (value?: unknown) => {
      await this.sleep(0);
      return value;
    };
    syncBuiltinESMExports();
    return () => {
      globalThis.setTimeout = real.setTimeout;
      globalThis.clearTimeout = real.clearTimeout;
      globalThis.setImmediate = real.setImmediate;
      globalThis.clearImmediate = real.clearImmediate;
      Date.now = real.dateNow;
      performance.now = real.performanceNow;
      AbortSignal.timeout = real.abortTimeout;
      timersPromises.setTimeout = real.sleep;
      timersPromises.setImmediate = real.turn;
      syncBuiltinESMExports();
    };
  }

  #push(delayMs: number, run: () => void): Entry {
    const life = this.#lives.getStore();
    const inLife = life === undefined ? run : () => this.#lives.run(life, run);
    this.#sequence += 1;
    const at = this.#now + Math.max(0, delayMs);
    const entry: Entry = { at, sequence: this.#sequence, life, run: inLife, cancelled: false };
    const heap = this.#heap;
    let place = heap.push(entry) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!isBefore(entry, heap[parent] as Entry)) break;
      heap[place] = heap[parent] as Entry;
      place = parent;
    }
    heap[place] = entry;
    return entry;
  }

  #pop(untilTs: number): Entry | undefined {
    const heap = this.#heap;
    for (let first = heap[0]; first !== undefined; first = heap[0]) {
      const isGone = first.cancelled || first.life?.dead === true;
      if (!isGone && first.at > untilTs) return undefined;
      const last = heap.pop() as Entry;
      if (heap.length > 0) sink(heap, last);
      if (!isGone) return first;
    }
    return undefined;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}

/** Puts an entry at the top of a heap whose top is free. */
function sink(heap: Entry[], entry: Entry): void {
  let place = 0;
  for (;;) {
    let child = 2 * place + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
    if (isBefore(entry, heap[child] as Entry)) break;
    heap[place] = heap[child] as Entry;
    place = child;
  }
  heap[place] = entry;
}
