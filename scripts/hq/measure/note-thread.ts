/**
 * Loaded into a profiled server before anything else, in each of its JavaScript threads (`node --import`): leaves a file
 * `thread-<number in node>.<number in the kernel>` in the folder of the profiles, so that a thread's profile can be laid
 * beside what the kernel says that the thread has cost. The folder is in the environment variable PROFILE_DIR.
 */

import { readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';

/** The variable that names the folder. */
const PROFILE_DIR = 'JOINERY_HQ_PROFILE_DIR';

const dir = process.env[PROFILE_DIR];
if (dir === undefined) throw new Error(`${PROFILE_DIR} is not set`);
// The link reads `<process>/task/<thread>`.
const kernelThread = readlinkSync('/proc/thread-self').split('/').at(-1);
writeFileSync(join(dir, `thread-${threadId}.${kernelThread}`), '');
