/** Runs a function over a list with a bounded number in progress; nothing new starts once `signal` is aborted. */
export async function runBounded<T>(
  items: readonly T[],
  inFlightMax: number,
  run: (item: T) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  let next = 0;
  async function lane(): Promise<void> {
    while (next < items.length && signal?.aborted !== true) {
      const item = items[next] as T;
      next += 1;
      await run(item);
    }
  }
  await Promise.all(Array.from({ length: Math.min(inFlightMax, items.length) }, lane));
}
