/**
 * How long endpoints take, for operators and for `npm run hq`: from the whole request being here to the last piece of its
 * answer being handed over, for each endpoint that was called. An answer whose reader has gone does not count.
 */

import type { JsonObject } from '../../kernel/matrix/json.js';
import type { ApiResponse, Endpoint } from '../endpoint.js';

interface Times {
  answers: number;
  totalMs: number;
  maxMs: number;
}

export interface AnswerTimes {
  /** The endpoint, with its answers timed. */
  timed(endpoint: Endpoint): Endpoint;
  report(): JsonObject;
}

/** `now`: milliseconds of a clock that never goes back. */
export function createAnswerTimes(now: () => number): AnswerTimes {
  const byEndpoint = new Map<string, Times>();
  return {
    timed: (endpoint) => {
      const name = `${endpoint.method} ${endpoint.path}`;
      const count = (startMs: number): void => {
        const times = byEndpoint.get(name) ?? { answers: 0, totalMs: 0, maxMs: 0 };
        byEndpoint.set(name, times);
        const ms = now() - startMs;
        times.answers += 1;
        times.totalMs += ms;
        times.maxMs = Math.max(times.maxMs, ms);
      };
      return {
        ...endpoint,
        handle: async (request) => {
          const startMs = now();
          const answer = await endpoint.handle(request);
          if ('chunks' in answer) return { ...answer, chunks: thenCall(answer.chunks, () => count(startMs)) };
          count(startMs);
          return answer;
        },
      };
    },
    report: () =>
      Object.fromEntries(
        [...byEndpoint].map(([name, { answers, totalMs, maxMs }]) => {
          return [name, { answers, mean_ms: totalMs / answers, max_ms: maxMs }];
        }),
      ),
  };
}

type Chunks = Extract<ApiResponse, { readonly chunks: unknown }>['chunks'];

/** The same pieces; `done` is called when the last has been taken. */
function thenCall(chunks: Chunks, done: () => void): Chunks {
  if (Symbol.iterator in chunks) {
    return (function* () {
      yield* chunks;
      done();
    })();
  }
  return (async function* () {
    yield* chunks;
    done();
  })();
}
