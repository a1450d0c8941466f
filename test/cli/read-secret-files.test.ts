import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readAdminToken, readSigningKey } from '../../src/cli/read-secret-files.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-secrets-'));
afterAll(() => rmSync(folder, { recursive: true }));

const file = join(folder, 'secret');
function fileWith(text: string): string {
  writeFileSync(file, text);
  return file;
}

const SEED = 'YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1';

describe('the signing key file', () => {
  it("is read in the reference homeserver's format, unpadded or padded", () => {
    const { keyId, seed } = readSigningKey(fileWith(`ed25519 a_abcd ${SEED}\n`));
    expect(keyId).toBe('ed25519:a_abcd');
    expect(seed).toEqual(Buffer.from(SEED, 'base64'));
    expect(seed).toHaveLength(32);
    expect(readSigningKey(fileWith(`\n  ed25519\t1 ${SEED}=\r\n\n`)).keyId).toBe('ed25519:1');
  });

  it.each([
    ['', ': the file is empty'],
    [`\n${SEED}\n`, ':2: expected three words'],
    [`ed25519 a ${SEED} x`, ':1: expected three words'],
    [`rsa a ${SEED}`, ':1: the only algorithm known is ed25519'],
    [`ed25519 a-b ${SEED}`, ':1: the version may hold letters, digits and underscores only'],
    ['ed25519 a not!base64', ':1: the seed is not base64'],
    ['ed25519 a YWJj', ':1: the seed has 3 bytes instead of 32'],
    [`ed25519 a ${SEED}\ned25519 b ${SEED}`, ':2: a second signing key; keep one line'],
    ['x'.repeat(20_000), ': the signing key cannot be read: it has more than 16384 bytes'],
  ])('that is wrong is named with its line and never quoted: %#', (text, expected) => {
    let message = '';
    try {
      readSigningKey(fileWith(text));
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain(`${file}${expected}`);
    expect(message).not.toContain(SEED);
  });

  it('that is missing is named', () => {
    expect(() => readSigningKey(join(folder, 'none'))).toThrow(/none: the signing key cannot be read: ENOENT/);
  });
});

describe('the admin token file', () => {
  it('holds one token', () => {
    expect(readAdminToken(fileWith('0123456789abcdef\n'))).toBe('0123456789abcdef');
  });

  it.each([
    ['\n', ': the file is empty'],
    ['short', ':1: the token is shorter than 16 characters'],
    ['0123456789 abcdef', ':1: a token has no spaces and only ASCII characters'],
    ['0123456789abcdef\n\nmore', ':3: a second admin token; keep one line'],
  ])('that is wrong is named with its line: %#', (text, expected) => {
    expect(() => readAdminToken(fileWith(text))).toThrow(`${file}${expected}`);
  });
});
