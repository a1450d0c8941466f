/** Every code of the authorization rules, in every room version that has its rule: an event refused with it, and one allowed. */

import { describe, expect, it } from 'vitest';
import { AUTH_CODES } from '../../../src/kernel/event-auth/auth-verdict.js';
import { ROOM_VERSIONS, roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { CODE_CASES, type CodeCase } from './code-cases.js';
import { World } from './world.js';

const versionsOf = (code: CodeCase) =>
  ROOM_VERSIONS.filter((version) => code.in === undefined || code.in(roomVersionRules(version)!));

describe('the codes of the authorization rules', () => {
  it('each have a case, and each case is tried in some room version', () => {
    expect(Object.keys(CODE_CASES).sort()).toEqual([...AUTH_CODES].sort());
    for (const code of AUTH_CODES) expect(versionsOf(CODE_CASES[code]), code).not.toEqual([]);
  });
});

describe.each(AUTH_CODES)('%s', (code) => {
  const { verdicts } = CODE_CASES[code];
  it('is the verdict on an event that breaks the rule', () => {
    for (const version of versionsOf(CODE_CASES[code])) {
      expect(verdicts(new World(version))[0], `version ${version}`).toBe(code);
    }
  });
  it('is not the verdict on the nearest event that keeps to it', () => {
    for (const version of versionsOf(CODE_CASES[code])) {
      expect(verdicts(new World(version))[1], `version ${version}`).toBe('allowed');
    }
  });
  it('is no verdict in versions without the rule', () => {
    const without = ROOM_VERSIONS.filter((version) => !versionsOf(CODE_CASES[code]).includes(version));
    for (const version of without) expect(verdictOrThrow(version), `version ${version}`).not.toBe(code);
    expect(without.length + versionsOf(CODE_CASES[code]).length).toBe(ROOM_VERSIONS.length);
  });

  /** A case may need a room that its version refuses to make, which is as good. */
  function verdictOrThrow(version: string): string {
    try {
      return verdicts(new World(version))[0];
    } catch (error) {
      return String(error);
    }
  }
});
