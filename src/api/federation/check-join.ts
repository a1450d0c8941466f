/**
 * What another server sends as its user's join: the right shape, the right names, the ID that the path names. Signatures are
 * verified where it is stored.
 * Specification v1.19, server-server API, "Joining Rooms", PUT send_join.
 */

import { CanonicalJsonError } from '../../kernel/matrix/canonical-json.js';
import type { EventId, RoomId, ServerName, UserId } from '../../kernel/matrix/ids.js';
import { parseEventId, parseUserId, serverNameOf } from '../../kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { contentHashMatches, eventIdOf, pduForms, referenceHash } from '../../kernel/signatures/hash-pdu.js';

export interface ReceivedJoin {
  readonly event: JsonObject;
  readonly userId: UserId;
  /** The user who vouches for a restricted join, if one is named. */
  readonly authoriser: UserId | undefined;
}

/** Throws MatrixError 400 for a body that is not this join. */
export function checkJoin(
  rules: RoomVersionRules,
  body: JsonValue | undefined,
  asked: { readonly roomId: RoomId; readonly eventId: EventId; readonly origin: ServerName },
): ReceivedJoin {
  const wrong = (reason: string) => new MatrixError(400, 'M_INVALID_PARAM', `the join: ${reason}`);
  if (!isJsonObject(body)) throw new MatrixError(400, 'M_BAD_JSON', 'the body is not an object');
  const content = body.content;
  const userId = parseUserId(body.sender);
  if (body.type !== 'm.room.member') throw wrong('type is not m.room.member');
  if (!isJsonObject(content) || content.membership !== 'join') throw wrong('content.membership is not join');
  if (userId === undefined || body.state_key !== userId) throw wrong('state_key and sender are not one user ID');
  if (serverNameOf(userId) !== asked.origin) throw wrong(`${userId} is not a user of ${asked.origin}`);
  if (body.room_id !== asked.roomId) throw wrong(`room_id is not ${asked.roomId}`);
  const { eventId, hashMatches } = identify(rules, body);
  if (eventId !== asked.eventId) throw wrong(`its event ID is ${eventId}, not the one in the path`);
  if (!hashMatches) throw wrong('hashes.sha256 is not its content hash');
  const named = content.join_authorised_via_users_server;
  const authoriser = named === undefined ? undefined : parseUserId(named);
  if (named !== undefined && authoriser === undefined) throw wrong('join_authorised_via_users_server is not a user ID');
  return { event: body, userId, authoriser };
}

function identify(rules: RoomVersionRules, event: JsonObject): { eventId: EventId; hashMatches: boolean } {
  try {
    const { signedText, contentHash } = pduForms(rules, event);
    const stated = parseEventId(event.event_id);
    return {
      eventId: eventIdOf(rules, referenceHash(signedText), stated),
      hashMatches: contentHashMatches(event, contentHash),
    };
  } catch (error) {
    if (!(error instanceof CanonicalJsonError)) throw error;
    throw new MatrixError(400, 'M_BAD_JSON', `the join has no canonical form: ${error.message}`);
  }
}
