/** What the client-server API works with beside the room server; room actions are given as functions. */

import type { EventId, RoomId, UserId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import type { JoinRequest } from '../../room/join-room.js';
import type { FullStateWaiters } from '../../sync/full-state-waiters.js';
import type { SyncNotifier } from '../../sync/sync-notifier.js';

export interface ClientOptions {
  readonly registrationEnabled: boolean;
  /** Whether joins ask for the state without members. */
  readonly partialJoins: boolean;
  /** For `/capabilities`; "11" when it is not given. */
  readonly defaultRoomVersion?: string;
  readonly waiters: FullStateWaiters;
  readonly sync: SyncNotifier;
  readonly rooms: RoomActions;
}

/** What users do in rooms. Each throws MatrixError when it is refused. */
export interface RoomActions {
  join(request: JoinRequest): Promise<void>;
  send(roomId: RoomId, sender: UserId, intent: SendIntent): Promise<EventId>;
  leave(roomId: RoomId, userId: UserId): Promise<EventId>;
}

export interface SendIntent {
  readonly type: string;
  readonly stateKey?: string | undefined;
  readonly content: JsonObject;
}
