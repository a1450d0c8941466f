/**
 * What V8 has to be told by a server that is to be quick from its first join on and small in its largest. The optimising
 * compiler works beside the program, on the cores that verify: in the second of a first join it took half of their time.
 */

import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/**
 * Bytes of bytecode that a function runs through before it is compiled anew, once the self-tests have had what is hot in
 * every join compiled: eight times V8's own number, so that a join's second goes to the join.
 */
const INTERRUPT_BUDGET_BYTES = 1_000_000;

/**
 * V8 compiles on the assumption that no buffer of a thread is ever moved away, and throws everything compiled out when the
 * first one is: in a server, in the middle of its first join. So one is moved before anything is compiled. Called once in
 * each thread that moves buffers, first of all.
 */
export function expectMovedBuffers(): void {
  structuredClone(undefined, { transfer: [new ArrayBuffer(1)] });
}

/** From now on, in all threads, only what stays hot is compiled. Called when the self-tests are over. */
export function compileReluctantly(): void {
  setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET_BYTES}`);
}

/** By how much the heap of old objects may grow before they are looked through, in per cent of what was alive the last time. */
const OLD_HEAP_GROWTH_PERCENT = 40;
/** A small heap may grow by so many bytes all the same: looking through it again and again took a twentieth of a resync. */
const OLD_HEAP_GROWTH_BYTES_MIN = 24 * 2 ** 20;

/**
 * From now on, in all threads, old garbage is collected sooner than V8 does by itself: the writes of a resync leave some 100
 * bytes an event there, which came to 100 MB at a million events. Called in the main thread, first of all: V8 collects once
 * while a server starts, and decides then how much may come until the next time.
 */
export function collectOldGarbageSooner(): void {
  setOldHeapGrowth();
  // V8 takes the number at the end of each collection, for the next one.
  new PerformanceObserver(setOldHeapGrowth).observe({ entryTypes: ['gc'] });
}

function setOldHeapGrowth(): void {
  const percent = Math.ceil((100 * OLD_HEAP_GROWTH_BYTES_MIN) / getHeapStatistics().used_heap_size);
  setFlagsFromString(`--heap-growing-percent=${Math.max(OLD_HEAP_GROWTH_PERCENT, percent)}`);
}
