/**
 * What the federation endpoints work with: the room layer, what was injected, and the caches that live as long as they do.
 */

import type { EventId, RoomId, ServerName } from '../../kernel/matrix/ids.js';
import type { PduAnswer } from '../../room/receive-pdus.js';
import type { RoomServer } from '../../room/room-server.js';
import type { RateLimits } from '../rate-limit.js';
import type { AuthChainCache } from './auth-chain-cache.js';

/**
 * Takes one origin's PDUs of one room, in order, each its JSON as received. The result has an entry
 * for every PDU that has an ID; `error` for those of an unknown room, refused by an ACL, dropped for their form or signature,
 * or whose prev_events cannot be had.
 */
export type ReceivePdus = (
  origin: ServerName,
  roomId: RoomId,
  pdus: readonly Buffer[],
) => Promise<ReadonlyMap<EventId, PduAnswer>>;

export interface FederationOptions {
  /** Told of every authenticated request: the caller is up again. */
  readonly onCaller: (origin: ServerName) => void;
  readonly receivePdus: ReceivePdus;
}

export interface FederationContext {
  readonly server: RoomServer;
  readonly options: FederationOptions;
  readonly chains: AuthChainCache;
  /** How often each origin may call. */
  readonly callers: RateLimits;
}
