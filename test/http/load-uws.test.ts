import { describe, expect, it } from 'vitest';
import { loadUws, UWS_CANDIDATES, UwsLoadError } from '../../src/http/load-uws.js';

const HERE = { platform: process.platform, arch: process.arch, abi: process.versions.modules };

function messageOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof UwsLoadError) return error.message;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('loadUws', () => {
  it('loads the first native binary that this machine can load, with TLS', () => {
    const uws = loadUws();
    expect(typeof uws.SSLApp).toBe('function');
    expect(typeof uws.us_socket_local_port).toBe('function');
  });

  it('names platform, architecture, ABI, what was tried, and what to do, where no binary exists', () => {
    const message = messageOf(() => loadUws(UWS_CANDIDATES, { platform: 'plan9', arch: 'mips', abi: '1' }));
    expect(message).toContain(`no native binary loads on plan9 mips, Node ${process.versions.node} (ABI 1)`);
    expect(message).toContain('uWebSockets.js/uws_plan9_mips_1.node (needs');
    expect(message).toContain('uWebSockets.js-glibc-2.27/binaries/uws_plan9_mips_1.node (needs');
    expect(message).toContain('What to do:');
    expect(message).toContain('glibc 2.38');
  });

  it('says that a package is not installed', () => {
    const absent = { packageName: 'no-such-package', folder: '', needs: 'nothing' };
    expect(messageOf(() => loadUws([absent], HERE))).toContain('not installed');
  });

  it('refuses a binary that is another library', () => {
    const other = { packageName: 'yaml', folder: 'dist/', needs: 'nothing' };
    expect(messageOf(() => loadUws([other], HERE))).toContain('yaml/dist/uws_');
  });
});
