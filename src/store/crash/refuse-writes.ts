/**
 * A disk that is full, for a test on a machine where it may not mount a small one: while the file exists that the environment
 * variable JOINERY_DISK_FULL_FILE names, no transaction is committed. Off, and nothing but an empty call, unless that is set
 * when the process starts. Never set it in production.
 */

import { existsSync } from 'node:fs';

const { JOINERY_DISK_FULL_FILE: file = '' } = process.env;

/** Called at the end of each transaction, which is undone when it throws. */
export const refuseWhereFull: () => void =
  file === ''
    ? () => undefined
    : () => {
        if (existsSync(file)) throw new Error(`No space left on device: ${file} exists`);
      };
