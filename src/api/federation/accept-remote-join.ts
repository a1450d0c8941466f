/**
 * Takes another server's join into our room: countersigned where one of our users vouches for it, verified and stored like
 * every event, decided in the room's queue, and queued for the room.
 * Specification v1.19, server-server API, "Joining Rooms", "Restricted rooms".
 */

import type { ServerName } from '../../kernel/matrix/ids.js';
import { serverNameOf } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { addPduSignature } from '../../kernel/signatures/sign-pdu.js';
import { acceptEvent } from '../../room/accept-event.js';
import { ingestPdus } from '../../room/intake/ingest-pdus.js';
import type { RoomServer } from '../../room/room-server.js';
import { storedState } from '../../room/room-state.js';
import type { EventNid, StateGroupNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import { joinedServers } from '../../store/rooms.js';
import { eventContext } from '../../store/timeline.js';
import { queueEvent } from '../../store/transactions.js';
import type { FindAuthChainOutput } from '../../workers/jobs/find-auth-chain.js';
import type { ReceivedJoin } from './check-join.js';
import { checkAllowConditions, needsAuthoriser } from './choose-authoriser.js';
import { residentRoom } from './room-access.js';

export interface AcceptedJoin {
  readonly room: Room;
  readonly nid: EventNid;
  /** The state to answer with, being found. */
  readonly found: Promise<FindAuthChainOutput>;
  /** Servers with a joined member before the join. */
  readonly serversBefore: readonly ServerName[];
  /** Servers that the join is queued for; `onQueued` is still to be told. */
  readonly queuedFor: ReadonlySet<ServerName>;
}

/** Starts looking for the state to answer with: that before the join, in the state group `before`. */
export type FindState = (room: Room, before: StateGroupNid, join: EventNid) => Promise<FindAuthChainOutput>;

/**
 * The join is queued for the room's servers in the write that takes it in, while `findState` runs on a worker.
 * Throws MatrixError: 400 for a join that does not verify, 403 for one that is not allowed.
 */
export async function acceptRemoteJoin(
  server: RoomServer,
  asked: Room,
  origin: ServerName,
  join: ReceivedJoin,
  findState: FindState,
): Promise<AcceptedJoin> {
  const { roomId } = asked;
  const nid = await storeJoin(server, asked, authorised(server, asked, join));
  return server.queues.run(roomId, async () => {
    const serversBefore = [...joinedServers(server.store, residentRoom(server, roomId).nid)].map(([name]) => name);
    const others = new Set(serversBefore.filter((name) => name !== origin && name !== server.serverName));
    const isNew = eventContext(server.store, nid) === undefined;
    let found: Promise<FindAuthChainOutput> | undefined;
    const find = (room: Room, before: StateGroupNid) => {
      found = findState(room, before, nid);
      // It is awaited by who answers; until then nobody else would handle its failure.
      found.catch(() => undefined);
      return found;
    };
    const { verdict, reason } = await acceptEvent(server, roomId, nid, (writer, before) => {
      // First: a worker looks for the state while the queues of thousands of servers are written.
      find(asked, before);
      queueEvent(writer, others, nid);
    });
    const detail = reason === undefined ? '' : `: ${reason}`;
    if (verdict === 'dropped') throw new MatrixError(400, 'M_INVALID_PARAM', `the join cannot be taken in${detail}`);
    if (verdict !== 'accepted') throw new MatrixError(403, 'M_FORBIDDEN', `${join.userId} may not join${detail}`);
    const context = eventContext(server.store, nid);
    if (context === undefined)
      throw new Error(`the join of ${join.userId} to ${roomId} was accepted without a context`);
    const room = residentRoom(server, roomId);
    found ??= find(room, context.before);
    return { room, nid, found, serversBefore, queuedFor: isNew ? others : new Set() };
  });
}

/** The join with our signature where it names one of our users as who vouches for it. */
function authorised(server: RoomServer, room: Room, { event, userId, authoriser }: ReceivedJoin): JsonObject {
  const ours = authoriser !== undefined && serverNameOf(authoriser) === server.serverName;
  if (!ours || !room.rules.restrictedJoins) return event;
  const state = storedState(server.store, room, room.currentGroup);
  // Whether the named user may invite is for the auth rules to say; the conditions are ours alone to check.
  if (needsAuthoriser(room, state, userId)) checkAllowConditions(server, state, userId);
  return addPduSignature(room.rules, event, server.signingKey).json;
}

async function storeJoin(server: RoomServer, room: Room, event: JsonObject): Promise<EventNid> {
  const bytes = Buffer.from(JSON.stringify(event), 'utf8');
  const { nids, dropped } = await ingestPdus(server, room, [bytes], { stateOnly: true });
  const [nid] = nids;
  if (nid !== undefined) return nid;
  throw new MatrixError(400, 'M_INVALID_PARAM', `the join does not verify: ${dropped[0]?.reason ?? 'unknown reason'}`);
}
