/**
 * Positive controls: with one rule or comparison of the kernel broken on purpose, the stories, the properties and the tables
 * of verdicts must fail, each where it speaks of that rule; with nothing broken they pass, run in the same way.
 */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AuthEvent } from '../../src/kernel/matrix/auth-event.js';
import { failuresOf, type Replacements } from './collect-tests.js';

const FORKS = 'test/rooms/forks.test.ts';
const RESETS = 'test/rooms/state-resets.test.ts';
const PROPERTIES = 'test/kernel/state-res/resolve-state.test.ts';
const CODES = 'test/kernel/event-auth/every-code.test.ts';

type AnyFunction = (...values: never[]) => unknown;

/** Replaces one export of a module of the kernel. */
function broken(module: string, name: string, replace: (original: AnyFunction) => AnyFunction): Replacements {
  return {
    [`src/kernel/${module}.ts`]: (original) => {
      if (typeof original[name] !== 'function') throw new Error(`${module} has no ${name}`);
      return { ...original, [name]: replace(original[name] as AnyFunction) };
    },
  };
}

const allowed = () => ({ allowed: true });
const reversed =
  (original: AnyFunction) =>
  (...values: never[]) =>
    [...(original(...values) as AuthEvent[])].reverse();

/** What is broken, in which file that must show, and a word of the titles that must be among those that fail. */
const CONTROLS: readonly (readonly [title: string, file: string, failing: string, replacements: Replacements])[] = [
  [
    'every ban is allowed',
    FORKS,
    'the demotion of a moderator wins over the ban',
    broken('event-auth/member/check-member-ban', 'checkMemberBan', () => allowed),
  ],
  [
    'every room is public',
    FORKS,
    'closed join rules win',
    broken('event-auth/state-lookup', 'joinRuleOf', () => () => 'public'),
  ],
  [
    'a moderator may do what the admin may',
    FORKS,
    'the power levels of the admin win',
    broken('event-auth/power-levels', 'requiredPowerLevel', () => () => 0),
  ],
  [
    'the power ordering begins with the weakest',
    FORKS,
    'the ban by the stronger moderator wins',
    broken('state-res/reverse-topological-power-ordering', 'reverseTopologicalPowerOrdering', reversed),
  ],
  [
    'the mainline ordering is the other way round',
    FORKS,
    'a topic on newer power levels wins',
    broken('state-res/mainline-ordering', 'mainlineOrdering', reversed),
  ],
  [
    'event IDs are compared as a locale does',
    FORKS,
    'with the same origin_server_ts the greater event ID wins',
    broken('matrix/canonical-json', 'compareCodePoints', () => (x: string, y: string) => x.localeCompare(y, 'en')),
  ],
  [
    'state resolution v1 takes the oldest of all',
    FORKS,
    'the newest of the conflicting topics that is allowed wins',
    broken('state-res/resolve-v1', 'resolveContendersV1', () => () => undefined),
  ],
  [
    'version 12 resolves as version 11 does',
    RESETS,
    'in version 12 the newer join rule wins',
    broken('matrix/room-versions', 'roomVersionRules', (original) => (version: string) => {
      const rules = original(version as never) as object;
      return version === '12' ? { ...rules, stateResolution: 'v2' } : rules;
    }),
  ],
  [
    'the conflicted state subgraph is left out',
    RESETS,
    'in version 12 the newer power levels win',
    broken('state-res/auth-chain', 'conflictedStateSubgraphOf', () => () => new Set()),
  ],
  [
    'version 11 has the conflicted state subgraph',
    RESETS,
    'in version 11 the older power levels win',
    broken('matrix/room-versions', 'roomVersionRules', (original) => (version: string) => {
      const rules = original(version as never) as object;
      return version === '11' ? { ...rules, stateResolution: 'v2.1' } : rules;
    }),
  ],
  [
    'creators have no more power than others',
    RESETS,
    'a creator wins over an admin',
    broken('event-auth/creators', 'roomCreation', (original) => (...values: never[]) => {
      return { ...(original(...values) as object), privileged: new Set() };
    }),
  ],
  [
    'events that tie stay in the order in which they came',
    PROPERTIES,
    'does not depend on the order',
    broken('matrix/canonical-json', 'compareCodePoints', () => () => 0),
  ],
  [
    'normal events are taken in the order in which they came',
    PROPERTIES,
    'does not depend on the order',
    broken('state-res/mainline-ordering', 'mainlineOrdering', () => (_rules: never, events: never) => [
      ...(events as AuthEvent[]),
    ]),
  ],
];

/** Properties run twice and more here, beside whatever else the machine does. */
const CONTROL_MS = 180_000;
// The same cases in each run, and no search for the smallest that fails.
fc.configureGlobal({ seed: 20_240_601, endOnFailure: true });

describe('the suite', { timeout: CONTROL_MS }, () => {
  it.each([FORKS, RESETS, PROPERTIES, CODES])('passes with nothing broken: %s', async (file) => {
    expect(await failuresOf(file, {})).toEqual([]);
  });

  it.each(CONTROLS)('fails when %s', async (_title, file, failing, replacements) => {
    const failures = await failuresOf(file, replacements);
    expect(failures.filter((title) => title.includes(failing))).not.toEqual([]);
  });

  it('fails for each verdict code when no rule refuses anything', async () => {
    const failures = await failuresOf(
      CODES,
      broken('event-auth/auth-verdict', 'refused', () => allowed),
    );
    const { AUTH_CODES } = await import('../../src/kernel/event-auth/auth-verdict.js');
    const unnoticed = AUTH_CODES.filter(
      (code) => !failures.includes(`${code}, is the verdict on an event that breaks the rule`),
    );
    expect(unnoticed).toEqual([]);
  });
});
