/** What the harness calls a difference, and which command lines it refuses. */

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { compareRefusals, compareStates, outcomeText } from '../../scripts/hq/check-outcome.js';
import { OptionError, parseOptions } from '../../scripts/hq/options.js';
import { type Manifest, splitStateKey, stateKeyText } from '../../scripts/hq/room/manifest.js';
import { HQ_EVENTS } from '../../scripts/hq/room/plan/room-shape.js';
import { stateHash } from '../../scripts/hq/room/state-hash.js';

const NAME = stateKeyText('m.room.name', '');
const MEMBER = stateKeyText('m.room.member', '@a:b');

describe('the outcome of a run', () => {
  it('names each state key that is missing, different or too many', () => {
    const wanted = new Map([
      [NAME, '$1'],
      [MEMBER, '$2'],
    ]);
    expect(compareStates(new Map(wanted), wanted, 'manifest')).toEqual([]);
    const differences = compareStates(new Map([[MEMBER, '$3']]), wanted, 'manifest');
    expect(differences.length).toBe(2);
    expect(differences.join()).toContain('joiner $3, manifest $2');
    expect(compareStates(new Map(wanted), new Map([[NAME, '$1']]), 'resident')).toEqual([
      '(m.room.member, "@a:b"): joiner $2, resident has none',
    ]);
  });

  it('wants every planted event refused with its verdict and code, and no other', () => {
    const planted = {
      event_id: '$p',
      verdict: 'dropped',
      code: 'no-key',
      type: 't',
      state_key: '',
      in_state: true,
      nid: 1,
    };
    const manifest = { planted: [planted] } as unknown as Manifest;
    const refusal = { event_id: '$p', verdict: 'dropped', code: 'no-key', reason: '' };
    expect(compareRefusals([refusal], manifest)).toEqual([]);
    expect(compareRefusals([], manifest)).toEqual(['$p: joiner accepted, manifest dropped (no-key)']);
    expect(compareRefusals([{ ...refusal, code: 'bad-signature' }], manifest).length).toBe(1);
    expect(compareRefusals([refusal, { ...refusal, event_id: '$q' }], manifest).length).toBe(1);
  });

  it('is told with the first ten differences and no more', () => {
    expect(outcomeText([])).toBe('All holds.');
    expect(outcomeText(['a', 'b'])).toBe('2 differences, the first of them:\n  a\n  b');
    const wanted = new Map(Array.from({ length: 12 }, (_, n) => [stateKeyText('t', `${n}`), `$${n}`] as const));
    const [first, ...shown] = outcomeText(compareStates(new Map(), wanted, 'manifest')).split('\n');
    expect(first).toBe('12 differences, the first of them:');
    expect(shown).toEqual(
      [...wanted].slice(0, 10).map(([, id], n) => `  (t, "${n}"): joiner has none, manifest ${id}`),
    );
  });

  it('hashes a state as SHA-256 over its sorted lines: type, state key, event ID', () => {
    const lines = ['m.room.member\0@a:b\0$2\n', 'm.room.name\0\0$1\n'];
    const state = new Map([
      [NAME, '$1'],
      [MEMBER, '$2'],
    ]);
    expect(stateHash(state)).toBe(createHash('sha256').update(lines.join('')).digest('hex'));
  });

  it('hashes a state without regard to its order', () => {
    const entries: [string, string][] = [
      [NAME, '$1'],
      [MEMBER, '$2'],
    ];
    expect(stateHash(new Map(entries))).toBe(stateHash(new Map(entries.reverse())));
    expect(stateHash(new Map(entries))).not.toBe(stateHash(new Map([[NAME, '$1']])));
    expect(splitStateKey(MEMBER)).toEqual(['m.room.member', '@a:b']);
  });
});

describe('the command line of hq', () => {
  it('joins a room of the size of Matrix HQ in room version 11 unless told otherwise', () => {
    expect(parseOptions([])).toMatchObject({ events: HQ_EVENTS, roomVersion: '11', full: false, sabotage: false });
    expect(parseOptions(['--events', '5000', '--room-version', '12', '--full'])).toMatchObject({
      events: 5000,
      roomVersion: '12',
      full: true,
    });
  });

  it('is refused where it has no number or an unknown option', () => {
    expect(() => parseOptions(['--events', '5k'])).toThrow(OptionError);
    expect(() => parseOptions(['--threads', '0'])).toThrow(OptionError);
    expect(() => parseOptions(['--size', '5'])).toThrow();
  });
});
