/**
 * Joining a room that others serve: one candidate after another is asked (ask-to-join.ts) until one makes it possible; then
 * the room is persisted: with partial state (without members) or, when asked so, with full state.
 *
 * Until the last write the room has no row, so that a failure or a crash in between leaves no half-joined room. MSC3902, MSC3706; specification v1.19, server-server API, "Joining Rooms".
 */

import type { RoomId, ServerName, UserId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { RemoteError } from '../../remote/remote-error.js';
import { SplitError } from '../../remote/split-response.js';
import type { RoomServer } from '../room-server.js';
import { askToJoin } from './ask-to-join.js';
import { JoinRefused } from './judge-join-state.js';
import { persistJoin } from './persist-join.js';

/** Candidates that are asked before the join fails. */
export const CANDIDATES_MAX = 20;

export interface JoinRequest {
  readonly roomId: RoomId;
  readonly userId: UserId;
  readonly candidates: readonly ServerName[];
  /** The user's profile in the room, and a reason for joining: what the membership says besides. */
  readonly profile: JsonObject;
  /** Ask for the state without members. */
  readonly partial: boolean;
}

/** Joins a room in which this server is not, through the first candidate that makes it possible. Throws MatrixError. */
export function joinRoom(server: RoomServer, request: JoinRequest): Promise<void> {
  return throughCandidates(server, request, request.candidates, async (candidate) => {
    const { rules, join, received } = await askToJoin(server, request, candidate, server.progressOf(request.roomId));
    await persistJoin(server, request, rules, candidate, join, received);
  });
}

/** Tries candidates one after another until one makes the join possible, or refuses it for good. Throws MatrixError. */
export async function throughCandidates(
  server: RoomServer,
  request: JoinRequest,
  named: readonly ServerName[],
  attempt: (candidate: ServerName) => Promise<void>,
): Promise<void> {
  const candidates = [...new Set(named)].filter((name) => name !== server.serverName).slice(0, CANDIDATES_MAX);
  if (candidates.length === 0) {
    throw new MatrixError(404, 'M_NOT_FOUND', `no server to join ${request.roomId} through: name one in via`);
  }
  const failures: string[] = [];
  for (const candidate of candidates) {
    try {
      await attempt(candidate);
      return;
    } catch (error) {
      const final = finalRefusal(error);
      if (final !== undefined) throw final;
      if (!(error instanceof RemoteError || error instanceof SplitError || error instanceof JoinRefused)) throw error;
      server.log.warn({ room: request.roomId, candidate, error: error.message }, 'join through this server failed');
      failures.push(error.message);
    }
  }
  throw new MatrixError(502, 'M_UNKNOWN', `no server let us join ${request.roomId}: ${failures.join('; ')}`);
}

/** A refusal that no other candidate would lift. */
function finalRefusal(error: unknown): MatrixError | undefined {
  if (error instanceof MatrixError) return error;
  if (!(error instanceof RemoteError) || error.kind !== 'refused') return undefined;
  if (error.status === 403 && error.errcode === 'M_FORBIDDEN')
    return new MatrixError(403, 'M_FORBIDDEN', error.message);
  if (error.status === 400 && error.errcode === 'M_INCOMPATIBLE_ROOM_VERSION') {
    return new MatrixError(400, 'M_INCOMPATIBLE_ROOM_VERSION', error.message);
  }
  return undefined;
}
