/**
 * Auth chains of whole states, found on a worker and kept for a moment: `/state_ids` is followed by `/state` at the same
 * event, and many joining servers ask for the same states.
 *
 * Only states of full rooms get in here; what is kept are NIDs, never bodies.
 */

import { LRUCache } from 'lru-cache';
import type { RoomServer } from '../../room/room-server.js';
import type { EventNid, StateGroupNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import type { FindAuthChainOutput } from '../../workers/jobs/find-auth-chain.js';

/** Results kept: up to 1 MB each in the largest known rooms. */
const CHAINS_CACHED_MAX = 4;
/** Milliseconds a result is kept: a body that comes later would not be in its byte count. */
const CHAIN_CACHED_MS_MAX = 60_000;

export interface AuthChainCache {
  /** The state of a group and its auth chain. */
  ofState(room: Room, group: StateGroupNid): Promise<FindAuthChainOutput>;
  /** The auth chain of one event; `stateNids` is empty. Not kept. */
  ofEvent(room: Room, event: EventNid): Promise<FindAuthChainOutput>;
  /** These events of a state, and their chain and that of `seed` without them. Not kept. */
  ofPartialState(room: Room, stateNids: readonly EventNid[], seed: EventNid): Promise<FindAuthChainOutput>;
}

/** A cache that runs `findAuthChain` on the server's pool. */
export function createAuthChainCache(server: RoomServer): AuthChainCache {
  const cached = new LRUCache<string, Promise<FindAuthChainOutput>>({
    max: CHAINS_CACHED_MAX,
    ttl: CHAIN_CACHED_MS_MAX,
  });
  const none = 0 as StateGroupNid;
  return {
    ofState: (room, group) => {
      const key = `${room.nid} ${group}`;
      const known = cached.get(key);
      if (known !== undefined) return known;
      const input = { roomVersion: room.version, group, stateNids: undefined, seeds: [], withoutState: false };
      const found = server.pool.run('findAuthChain', input, 'bulk');
      cached.set(key, found);
      found.catch(() => cached.delete(key));
      return found;
    },
    ofEvent: (room, event) =>
      server.pool.run(
        'findAuthChain',
        { roomVersion: room.version, group: none, stateNids: [], seeds: [event], withoutState: false },
        'interactive',
      ),
    ofPartialState: (room, stateNids, seed) =>
      server.pool.run(
        'findAuthChain',
        { roomVersion: room.version, group: none, stateNids, seeds: [seed], withoutState: true },
        'interactive',
      ),
  };
}
