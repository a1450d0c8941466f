/**
 * Loads uWebSockets.js: the first of the installed packages whose native binary loads on this machine.
 *
 * Each package names its binaries by platform, architecture and Node's ABI. The binary is loaded directly, never through
 * the package's own entry, because one of them falls back to a slow JavaScript imitation that has no TLS. Where none
 * loads, the error says what was tried, why each failed and what to do.
 */

import { createRequire } from 'node:module';
import type { Uws } from './uws-types.js';

/** One place to look for a binary: a package's alias in package.json, and the folder in it. */
export interface UwsCandidate {
  readonly packageName: string;
  /** Folder inside of the package with a trailing slash, or empty for its root. */
  readonly folder: string;
  /** What the operator should know about its needs. */
  readonly needs: string;
}

/** In order of preference: the newer build first, then the one that runs with an older C library. */
export const UWS_CANDIDATES: readonly UwsCandidate[] = [
  { packageName: 'uWebSockets.js', folder: '', needs: 'Node 20, 22, 24 or 25; on Linux glibc 2.38' },
  { packageName: 'uWebSockets.js-glibc-2.27', folder: 'binaries/', needs: 'Node 16, 18 or 20; on Linux glibc 2.27' },
];

/** The machine's part of a binary's name. Argument of `loadUws` so that a test can name a machine nobody has. */
export interface UwsTarget {
  readonly platform: string;
  readonly arch: string;
  readonly abi: string;
}

const THIS_MACHINE: UwsTarget = { platform: process.platform, arch: process.arch, abi: process.versions.modules };

/** No installed package has a uWebSockets.js binary that loads here. */
export class UwsLoadError extends Error {
  override readonly name = 'UwsLoadError';
}

function isUws(loaded: unknown): loaded is Uws {
  if (typeof loaded !== 'object' || loaded === null) return false;
  return 'App' in loaded && 'SSLApp' in loaded && 'LIBUS_LISTEN_EXCLUSIVE_PORT' in loaded;
}

function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] ?? '';
}

/**
 * The native library.
 *
 * @throws UwsLoadError naming the machine, each binary tried with its reason, and the remedy
 */
export function loadUws(candidates: readonly UwsCandidate[] = UWS_CANDIDATES, target: UwsTarget = THIS_MACHINE): Uws {
  const require = createRequire(import.meta.url);
  const failures: string[] = [];
  for (const { packageName, folder, needs } of candidates) {
    const binary = `${packageName}/${folder}uws_${target.platform}_${target.arch}_${target.abi}.node`;
    try {
      const loaded: unknown = require(resolveInPackage(require, packageName, binary));
      if (isUws(loaded)) return loaded;
      failures.push(`  ${binary}: loaded, but has no App, SSLApp and exclusive listening`);
    } catch (error) {
      failures.push(`  ${binary} (needs ${needs}): ${reasonOf(error)}`);
    }
  }
  throw new UwsLoadError(
    [
      `uWebSockets.js: no native binary loads on ${target.platform} ${target.arch}, Node ${process.versions.node} (ABI ${target.abi}). Tried:`,
      ...failures,
      'What to do: run `npm ci` again if a package is missing; use Node 20 with glibc 2.27 or newer, or Node 22 or newer with glibc 2.38;',
      'or point the alias `uWebSockets.js` in package.json at the upstream release for this machine (see README.md).',
    ].join('\n'),
  );
}

/** The binary's file: past the `exports` of a package, which do not list it. */
function resolveInPackage(require: NodeJS.Require, packageName: string, binary: string): string {
  for (const folder of require.resolve.paths(packageName) ?? []) {
    const file = `${folder}/${binary}`;
    try {
      return require.resolve(file);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND')) throw error;
    }
  }
  throw new Error('not installed, or it has no binary for this machine');
}
