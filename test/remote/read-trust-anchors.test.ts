import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTrustAnchors } from '../../src/remote/connections/read-trust-anchors.js';
import { temporaryFolder } from '../store/temporary-store.js';
import { testAuthority } from '../support/federation-stub.js';

const file = join(temporaryFolder(), 'ca.crt');

describe('federation.ca_file', () => {
  it('gives its certificates, whatever else stands between them', async () => {
    const { cert } = await testAuthority();
    writeFileSync(file, `# ours\n${cert}\n# theirs\n${cert}\n`);
    expect(readTrustAnchors(file).match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  });

  it.each([
    ['is not there', undefined, /cannot be read: ENOENT/],
    ['has no certificate', 'nothing of the kind', /holds no PEM certificate/],
    [
      'has a broken one',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      /holds something else as certificate 1/,
    ],
    ['is far too large', ' '.repeat(5 * 1024 * 1024), /it has more than \d+ bytes/],
  ])('is refused with key, file and reason where it %s', (_what, text, reason) => {
    const path = text === undefined ? `${file}.none` : file;
    if (text !== undefined) writeFileSync(path, text);
    expect(() => readTrustAnchors(path)).toThrow(reason);
    expect(() => readTrustAnchors(path)).toThrow(`federation.ca_file: ${path} `);
  });
});
