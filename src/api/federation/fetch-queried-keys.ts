/**
 * Keys that we are asked for as a notary and do not have, or not for as long as they are wanted: fetched from the servers
 * themselves, never from another notary, which might ask us in turn. Anybody may ask, so that a query makes us call few
 * servers, all queries together a limited number, and waits no longer than its deadline; the rest is answered as stored.
 * Specification v1.19, server-server API, "Querying Keys Through Another Server".
 */

import type { KeyId, ServerName } from '../../kernel/matrix/ids.js';
import type { RoomServer } from '../../room/room-server.js';
import { keyResponse, serverKey } from '../../store/server-keys.js';
import type { RatePolicy } from '../rate-limit.js';
import { TokenBucket } from '../rate-limit.js';

/** Servers that one query makes us call. */
export const SERVERS_FETCHED_A_QUERY_MAX = 50;
/** Servers that all queries together make us call. */
export const NOTARY_FETCH_RATE: RatePolicy = { burst: 200, perSecond: 5 };
/** Longest wait of a query in milliseconds: shorter than others wait for a notary, so that they get what is stored. */
export const NOTARY_DEADLINE_MS = 8_000;
/** A server that answered so lately, in milliseconds, has no other answer now. */
export const FETCHED_LATELY_MS = 60_000;

/** What is asked of one server: key IDs with the time until which each should be valid; `*` stands for all its keys. */
export type KeyCriteria = ReadonlyMap<KeyId | '*', number>;

/** Fetches what is missing, within the limits; resolves when all is here or the deadline is over. */
export type FetchQueriedKeys = (queried: ReadonlyMap<ServerName, KeyCriteria>) => Promise<void>;

export function createQueriedKeysFetch({ store, keys, clock, serverName }: RoomServer): FetchQueriedKeys {
  const rate = new TokenBucket(NOTARY_FETCH_RATE, clock());

  const lacks = (server: ServerName, criteria: KeyCriteria): boolean => {
    const row = keyResponse(store, server);
    if (row === undefined) return true;
    if (row.fetchedTs > clock() - FETCHED_LATELY_MS) return false;
    return [...criteria].some(([keyId, untilTs]) => {
      if (keyId === '*') return row.validUntilTs < untilTs;
      const key = serverKey(store, server, keyId);
      // An old key stays as it is, however long it is wanted.
      return key === undefined || (!key.expired && key.validUntilTs < untilTs);
    });
  };

  return async (queried) => {
    const servers: ServerName[] = [];
    for (const [server, criteria] of queried) {
      if (servers.length >= SERVERS_FETCHED_A_QUERY_MAX) break;
      if (server === serverName || !lacks(server, criteria)) continue;
      if (!rate.take(clock())) break;
      servers.push(server);
    }
    store.refresh();
    if (servers.length === 0) return;
    const deadline = AbortSignal.timeout(NOTARY_DEADLINE_MS);
    try {
      await keys.fetchFromOrigins(servers, deadline);
    } catch (error) {
      if (!deadline.aborted) throw error;
    }
  };
}
