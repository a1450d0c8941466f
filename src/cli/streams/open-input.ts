/**
 * The input of a tool, a file or standard input, as chunks of bytes. What the operating system says against reading it
 * becomes an InputError that names the file.
 */

import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { InputError } from '../input-error.js';

/** Bytes read at once. */
const CHUNK_BYTES = 256 * 1024;

export interface Input {
  /** As errors name it. */
  readonly name: string;
  /** Undefined where it cannot be known. */
  readonly bytesTotal: number | undefined;
  /** To be read once. */
  readonly chunks: AsyncIterable<Buffer>;
}

/** Opens `path`; `-` is `standardInput`. */
export async function openInput(path: string, standardInput: Readable): Promise<Input> {
  if (path === '-') {
    const name = 'standard input';
    return { name, bytesTotal: undefined, chunks: chunksOf(standardInput, name) };
  }
  try {
    const file = await open(path);
    const stat = await file.stat();
    return {
      name: path,
      bytesTotal: stat.isFile() ? stat.size : undefined,
      chunks: chunksOf(file.createReadStream({ highWaterMark: CHUNK_BYTES }), path),
    };
  } catch (error) {
    throw unreadable(path, error);
  }
}

async function* chunksOf(stream: Readable, name: string): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (error) {
    throw unreadable(name, error);
  }
}

/** Errors of the operating system are about the input; others are bugs and stay what they are. */
function unreadable(name: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  const words = error.code === 'ENOENT' ? 'no such file' : error.message;
  return new InputError(`${name}: cannot be read: ${words}`, { cause: error });
}

/** Everything in `input`, or an InputError when it is more than `bytesMax`. */
export async function readWhole(input: Input, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of input.chunks) {
    length += chunk.length;
    if (length > bytesMax) throw new InputError(`${input.name}: larger than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
}
