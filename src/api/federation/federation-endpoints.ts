/**
 * The federation API as data: every endpoint that other servers may call, in the order of the specification.
 * All but those for keys and version are behind X-Matrix authentication. Specification v1.19, server-server API.
 */

import type { RoomServer } from '../../room/room-server.js';
import type { Endpoint } from '../endpoint.js';
import { RateLimits } from '../rate-limit.js';
import { createAuthChainCache } from './auth-chain-cache.js';
import { ORIGIN_RATE, ORIGINS_LIMITED_MAX } from './authenticate.js';
import { backfill } from './backfill.js';
import { event } from './event.js';
import { eventAuth } from './event-auth.js';
import type { FederationContext, FederationOptions } from './federation-context.js';
import { getMissingEvents } from './get-missing-events.js';
import { makeJoin } from './make-join.js';
import { queryKeys } from './query-keys.js';
import { send } from './send.js';
import { sendJoin } from './send-join.js';
import { serveKeys } from './serve-keys.js';
import { state } from './state.js';
import { stateIds } from './state-ids.js';
import { version } from './version.js';

export type { ReceivePdus } from './federation-context.js';

/** The federation endpoints of a server. */
export function federationEndpoints(server: RoomServer, options: FederationOptions): readonly Endpoint[] {
  const context: FederationContext = {
    server,
    options,
    chains: createAuthChainCache(server),
    callers: new RateLimits(ORIGIN_RATE, ORIGINS_LIMITED_MAX),
  };
  return [
    version(),
    serveKeys(context),
    ...queryKeys(context),
    send(context),
    eventAuth(context),
    backfill(context),
    getMissingEvents(context),
    event(context),
    state(context),
    stateIds(context),
    makeJoin(context),
    ...sendJoin(context),
  ];
}
