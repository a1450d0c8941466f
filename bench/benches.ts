/** Every bench by name: what `npm run bench` runs and what the smoke test runs small. */

import { run as authChecks } from './auth-checks.js';
import { run as authChecksRoom } from './auth-checks-room.js';
import { run as canonicalJson } from './canonical-json.js';
import { run as eventHashes } from './event-hashes.js';
import { run as inboundTransactions } from './inbound-transactions.js';
import type { BenchReport, BenchSize } from './measure.js';
import { run as resolveStates } from './resolve-states.js';
import { run as splitResponse } from './split-response.js';
import { run as stateGroups } from './state-groups.js';
import { run as storeWrites } from './store-writes.js';
import { run as verify } from './verify.js';

export const benches: Readonly<Record<string, (size: BenchSize) => Promise<BenchReport>>> = {
  'split-response': splitResponse,
  'canonical-json': canonicalJson,
  'event-hashes': eventHashes,
  verify,
  'auth-checks': authChecks,
  'auth-checks-room': authChecksRoom,
  'state-groups': stateGroups,
  'resolve-states': resolveStates,
  'store-writes': storeWrites,
  'inbound-transactions': inboundTransactions,
};
