/**
 * V8 compiles on the assumption that no buffer of a thread is ever moved away, and throws everything compiled out when the
 * first one is: in a server, in the middle of its first join. So one is moved before anything is compiled.
 */

/** Called once in each thread that moves buffers, first of all. */
export function expectMovedBuffers(): void {
  structuredClone(undefined, { transfer: [new ArrayBuffer(1)] });
}
