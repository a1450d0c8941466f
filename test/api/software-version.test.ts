import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { SOFTWARE_VERSION } from '../../src/api/software-version.js';
import { ServedRoom } from './federation/served-room.js';

it('states the version of package.json to other servers', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(SOFTWARE_VERSION).toBe(version);
  const served = new ServedRoom();
  try {
    const { body } = await served.call('GET', '/_matrix/federation/v1/version');
    expect(body).toEqual({ server: { name: 'Joinery', version } });
  } finally {
    await served.close();
  }
});
