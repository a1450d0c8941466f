/**
 * What the room layer works with: this server's identity, its store, pool, keys and connections, and time. Passed as an
 * argument so that tests and the simulator bring their own.
 */

import type { ServerName } from '../kernel/matrix/ids.js';
import type { SigningKey } from '../kernel/signatures/ed25519.js';
import type { FederationClient } from '../remote/federation-client.js';
import type { KeyRing } from '../remote/key-ring.js';
import type { EventNid, RoomNid } from '../store/nids.js';
import type { Store } from '../store/open-store.js';
import type { WorkerPool } from '../workers/pool.js';
import type { RoomProgress } from './room-progress.js';
import type { RoomQueues } from './room-queues.js';

export interface RoomLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface RoomServer {
  readonly serverName: ServerName;
  readonly signingKey: SigningKey;
  readonly store: Store;
  readonly pool: WorkerPool;
  readonly keys: KeyRing;
  readonly client: FederationClient;
  readonly queues: RoomQueues;
  /** The progress of joining and resynchronising a room. */
  readonly progressOf: (roomId: string) => RoomProgress;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: RoomLog;
  /** Told after an event of the timeline was stored: wakes long polls. */
  readonly onTimelineEvent: (room: RoomNid, event: EventNid) => void;
  /** Told after events were queued for these destinations. */
  readonly onQueued: (destinations: Iterable<ServerName>) => void;
}
