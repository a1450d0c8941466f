import sodium from 'sodium-native';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HASHES_AT_ONCE_MAX, HASHES_WAITING_MAX, Passwords } from '../../../src/api/client/passwords.js';

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a password', () => {
  it('is the one that was hashed, and no other', async () => {
    const passwords = new Passwords();
    const stored = await passwords.hash('correct horse');
    expect(stored).toMatch(/^\$argon2id\$/);
    expect([await passwords.matches(stored, 'correct horse'), await passwords.matches(stored, 'other')]).toEqual([
      true,
      false,
    ]);
  });

  it('of nobody is hashed with the same effort, and is none', async () => {
    const hash = vi.spyOn(sodium, 'crypto_pwhash_str_async');
    const passwords = new Passwords();
    await passwords.hash('correct horse');
    expect(await passwords.matches(undefined, 'correct horse')).toBe(false);
    const efforts = hash.mock.calls.map(([, , operations, memory]) => [operations, memory]);
    expect(efforts).toHaveLength(2);
    expect(efforts[1]).toEqual(efforts[0]);
  });
});

describe('hashing', () => {
  /** Ends the hashes that run, oldest first. */
  let end: ((error: Error | null) => void)[];

  beforeEach(() => {
    end = [];
    vi.spyOn(sodium, 'crypto_pwhash_str_async').mockImplementation((_output, _password, _ops, _memory, done) => {
      end.push(done as (error: Error | null) => void);
    });
  });

  it('runs few at once and keeps the others in order, also after one that failed', async () => {
    const passwords = new Passwords();
    const ended: string[] = [];
    const hashes = ['a', 'b', 'c', 'd'].map((name) =>
      passwords.hash(name).then(
        () => ended.push(name),
        () => ended.push(`${name} failed`),
      ),
    );
    expect(end).toHaveLength(HASHES_AT_ONCE_MAX);
    end[0]?.(new Error('no memory'));
    await hashes[0];
    await vi.waitFor(() => expect(end).toHaveLength(HASHES_AT_ONCE_MAX + 1));
    for (let n = 1; n < 4; n++) {
      await vi.waitFor(() => expect(end.length).toBeGreaterThan(n));
      end[n]?.(null);
      await hashes[n];
    }
    expect(ended).toEqual(['a failed', 'b', 'c', 'd']);
  });

  it('is refused with M_LIMIT_EXCEEDED where too many wait, until one has ended', async () => {
    const passwords = new Passwords();
    const first = passwords.hash('first');
    for (let n = 1; n < HASHES_AT_ONCE_MAX + HASHES_WAITING_MAX; n++) passwords.hash(`${n}`);
    await expect(passwords.matches(undefined, 'one more')).rejects.toMatchObject({
      status: 429,
      errcode: 'M_LIMIT_EXCEEDED',
      extra: { retry_after_ms: expect.any(Number) },
    });
    end[0]?.(null);
    await first;
    const outcome = await Promise.race([passwords.hash('again'), Promise.resolve('waits')]);
    expect(outcome).toBe('waits');
  });
});
