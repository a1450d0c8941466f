/** Every fuzz target: what `npm run fuzz` runs for minutes and the tests for a moment. */

import type { FuzzTarget } from './run-target.js';
import { canonicalJsonTarget } from './targets/canonical-json.js';
import { config, keyResponse, xMatrix } from './targets/headers-and-keys.js';
import { pduBytes, pduSigned } from './targets/pdu.js';
import { splitResponse } from './targets/split-response.js';

export const FUZZ_TARGETS: readonly FuzzTarget[] = [
  splitResponse,
  canonicalJsonTarget,
  pduBytes,
  pduSigned,
  xMatrix,
  keyResponse,
  config,
];
