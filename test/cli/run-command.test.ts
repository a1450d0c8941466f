import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../src/cli/run-command.js';

const folder = mkdtempSync(join(tmpdir(), 'joinery-command-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function run(...argv: string[]): Promise<{ code: number; out: string; error: string }> {
  const written = { out: '', error: '' };
  const code = await runCommand(argv, {
    out: (text) => {
      written.out += text;
    },
    error: (text) => {
      written.error += text;
    },
    streams: { input: new PassThrough(), output: new PassThrough(), errors: new PassThrough() },
    startServer: () => Promise.reject(new Error('no server is started here')),
  });
  return { code, ...written };
}

describe('the joinery command', () => {
  it('prints its help and its version', async () => {
    expect(await run('--help')).toMatchObject({ code: 0, error: '', out: expect.stringContaining('joinery generate') });
    expect(await run('serve', '--help')).toMatchObject({ code: 0, out: expect.stringContaining('joinery serve') });
    for (const command of ['verify', 'check-auth', 'resolve']) {
      expect((await run('--help')).out).toContain(`joinery ${command} --room-version V`);
      expect((await run(command, '--help')).out).toMatch(new RegExp(`^joinery ${command} [^]*Example:`));
    }
    const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
    expect(await run('--version')).toEqual({ code: 0, out: `${version}\n`, error: '' });
  });

  it.each([
    [[], 'joinery: expected a command'],
    [['fly'], 'joinery: unknown command fly'],
    [['toString'], 'joinery: unknown command toString'],
    [['generate'], 'joinery: generate needs --server-name NAME and --dir DIR'],
    [['generate', '--server-name', 'a', '--dirr', 'b'], "joinery: Unknown option '--dirr'"],
    [['generate', '--server-name', 'a b', '--dir', 'b'], 'joinery: "a b" is not a server name'],
  ])('answers the wrong use %j with exit code 2, the reason and the help', async (argv, reason) => {
    const { code, error } = await run(...argv);
    expect(code).toBe(2);
    expect(error.startsWith(reason)).toBe(true);
    expect(error).toContain('Exit codes:');
  });

  it('generates once, and fails with exit code 1 and one line the second time', async () => {
    const argv = ['generate', '--server-name', 'hs1', '--dir', join(folder, 'new')];
    const first = await run(...argv);
    expect(first.code).toBe(0);
    expect(first.out).toContain(`joinery serve --config ${join(folder, 'new', 'joinery.yaml')}`);
    const second = await run(...argv);
    expect(second.code).toBe(1);
    expect(second.error).toMatch(/^joinery: Will not overwrite .*joinery\.yaml.*\n$/);
  });
});
