/** What an operator reads about how long endpoints take. */

import { describe, expect, it } from 'vitest';
import { createAnswerTimes } from '../../../src/api/admin/answer-times.js';
import type { ApiRequest, ApiResponse, Endpoint } from '../../../src/api/endpoint.js';
import { MatrixError } from '../../../src/kernel/matrix/matrix-error.js';

const REQUEST: ApiRequest = {
  method: 'GET',
  rawUri: '/',
  params: {},
  query: new URLSearchParams(),
  header: () => undefined,
  body: Buffer.alloc(0),
  signal: new AbortController().signal,
};

let nowMs = 0;

function endpoint(path: string, answer: () => ApiResponse): Endpoint {
  return { method: 'GET', path, bodyBytesMax: 0, handle: async () => answer() };
}

function streamed(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): ApiResponse {
  return { status: 200, contentType: 'application/json', contentLength: 2, chunks };
}

describe('the times of answers', () => {
  it('are counted by endpoint, with their mean and the longest', async () => {
    const times = createAnswerTimes(() => nowMs);
    let tookMs = 10;
    const timed = times.timed(
      endpoint('/a/{name}', () => {
        nowMs += tookMs;
        return { status: 200, json: {} };
      }),
    );
    await timed.handle(REQUEST);
    tookMs = 30;
    expect(await timed.handle(REQUEST)).toEqual({ status: 200, json: {} });
    times.timed(endpoint('/never', () => ({ status: 200, json: {} })));
    expect(times.report()).toEqual({ 'GET /a/{name}': { answers: 2, mean_ms: 20, max_ms: 30 } });
  });

  it.each(['one after another', 'as they come'])('of a large body end with its last piece (%s)', async (how) => {
    const times = createAnswerTimes(() => nowMs);
    function* pieces() {
      for (const text of ['{', '}']) {
        nowMs += 50;
        yield Buffer.from(text);
      }
    }
    async function* later() {
      yield* pieces();
    }
    const answer = await times
      .timed(endpoint('/large', () => streamed(how === 'as they come' ? later() : pieces())))
      .handle(REQUEST);
    expect(times.report()).toEqual({});
    if (!('chunks' in answer)) throw new Error('the answer was streamed');
    const taken: Uint8Array[] = [];
    for await (const piece of answer.chunks) taken.push(piece);
    expect(Buffer.concat(taken).toString()).toBe('{}');
    expect(times.report()).toEqual({ 'GET /large': { answers: 1, mean_ms: 100, max_ms: 100 } });
  });

  it('leave out what was refused or whose reader has gone', async () => {
    const times = createAnswerTimes(() => nowMs);
    const refusing = times.timed(
      endpoint('/refusing', () => {
        throw new MatrixError(404, 'M_NOT_FOUND', 'no');
      }),
    );
    await expect(refusing.handle(REQUEST)).rejects.toThrow(MatrixError);
    const closed: string[] = [];
    function* pieces() {
      try {
        yield Buffer.from('{');
        yield Buffer.from('}');
      } finally {
        closed.push('closed');
      }
    }
    const answer = await times.timed(endpoint('/left', () => streamed(pieces()))).handle(REQUEST);
    if (!('chunks' in answer)) throw new Error('the answer was streamed');
    for await (const _ of answer.chunks) break;
    expect(closed).toEqual(['closed']);
    expect(times.report()).toEqual({});
  });
});
