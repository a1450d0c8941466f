/** Every bench at its smallest: it runs, checks its own answer, and gives the same answer twice. Nothing about speed. */

import { describe, expect, it } from 'vitest';
import { benches } from '../../bench/benches.js';

/** Prefixes of the answers' SHA-256: they change only when a workload or what it measures does. */
const ANSWERS: Readonly<Record<string, string>> = {
  'split-response': '0b9a923e4ff6',
  'canonical-json': 'd67d71d498d5',
  'event-hashes': 'f83ec4ccea0e',
  verify: '1282401f1bb3',
  'auth-checks': '6e96c58b98d9',
  'auth-checks-room': 'b2dbc0384ad6',
  'state-groups': 'a70443461aed',
  'resolve-states': '11084a467902',
  'store-writes': '8e188fec2110',
  'inbound-transactions': '6c81ba2c31dc',
};

/** Benches that start a server of their own, which takes seconds: these run once. */
const WITH_SERVER: ReadonlySet<string> = new Set(['inbound-transactions']);
const RUN_MS_MAX = 120_000;

describe('the benches', () => {
  it.each(Object.keys(benches))(
    '%s gives the recorded answer, twice where it is quick',
    async (name) => {
      const run = benches[name]!;
      const first = await run('smoke');
      const second = WITH_SERVER.has(name) ? first : await run('smoke');
      expect(second.answer).toBe(first.answer);
      expect(first.answer.slice(0, 12)).toBe(ANSWERS[name]);
      expect(first.rows.length).toBeGreaterThan(1);
      expect(first.rows.every(({ runs, meanMs }) => runs > 0 && meanMs > 0)).toBe(true);
    },
    RUN_MS_MAX,
  );
});
