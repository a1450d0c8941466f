/**
 * Restricted joins: whether a user may join because of a membership elsewhere, and which of our users vouches for it.
 * Specification v1.19, server-server API, "Restricted rooms"; client-server API, "Restricted rooms".
 */

import { roomCreation } from '../../kernel/event-auth/creators.js';
import { namedLevel, powerLevelsOf, userPowerLevel } from '../../kernel/event-auth/power-levels.js';
import type { StateLookup } from '../../kernel/event-auth/state-lookup.js';
import { joinRuleOf, membershipOf } from '../../kernel/event-auth/state-lookup.js';
import type { UserId } from '../../kernel/matrix/ids.js';
import { parseRoomId, parseUserId, serverNameOf } from '../../kernel/matrix/ids.js';
import type { JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import type { RoomServer } from '../../room/room-server.js';
import { storedState } from '../../room/room-state.js';
import type { Room } from '../../store/rooms.js';
import { isServerJoined, loadRoom } from '../../store/rooms.js';

/** Conditions of a join rule that are looked at; what comes beyond is as if it were not met. */
const ALLOW_CONDITIONS_MAX = 1000;
/** Local users that are tried as authorisers where anybody may invite. */
const LOCAL_USERS_TRIED_MAX = 10_000;

/** Whether this user can join only by the `allow` conditions of a restricted room. */
export function needsAuthoriser(room: Room, state: StateLookup, userId: UserId): boolean {
  const membership = membershipOf(state, userId);
  if (membership === 'join' || membership === 'invite' || membership === 'ban') return false;
  const joinRule = joinRuleOf(state);
  return (
    (room.rules.restrictedJoins && joinRule === 'restricted') ||
    (room.rules.knockRestricted && joinRule === 'knock_restricted')
  );
}

/**
 * Throws where no `allow` condition is met: 403 M_FORBIDDEN when we know them all, 400 M_UNABLE_TO_AUTHORISE_JOIN when
 * another server may know more.
 */
export function checkAllowConditions(server: RoomServer, state: StateLookup, userId: UserId): void {
  const allow = state('m.room.join_rules', '')?.content.allow;
  let unknown = false;
  for (const condition of Array.isArray(allow) ? (allow as readonly JsonValue[]).slice(0, ALLOW_CONDITIONS_MAX) : []) {
    if (!isJsonObject(condition) || condition.type !== 'm.room_membership') continue;
    const roomId = parseRoomId(condition.room_id);
    if (roomId === undefined) continue;
    const other = loadRoom(server.store, roomId);
    if (other?.residency !== 'full-state' || !isServerJoined(server.store, other.nid, server.serverName))
      unknown = true;
    else if (membershipOf(storedState(server.store, other, other.currentGroup), userId) === 'join') return;
  }
  if (unknown) {
    throw new MatrixError(
      400,
      'M_UNABLE_TO_AUTHORISE_JOIN',
      `this server cannot tell whether ${userId} may join: ask another`,
    );
  }
  throw new MatrixError(403, 'M_FORBIDDEN', `${userId} is in none of the rooms whose members may join`);
}

/** One of our users who is joined and may invite. Throws 400 M_UNABLE_TO_GRANT_JOIN where there is none. */
export function chooseAuthoriser(server: RoomServer, room: Room, state: StateLookup): UserId {
  const level = namedLevel(room.rules, state, 'invite');
  for (const userId of localCandidates(server, room, state)) {
    if (membershipOf(state, userId) === 'join' && userPowerLevel(room.rules, state, userId) >= level) return userId;
  }
  throw new MatrixError(
    400,
    'M_UNABLE_TO_GRANT_JOIN',
    `no user of this server may invite to ${room.roomId}: ask another`,
  );
}

/** Our users by falling likelihood: creators, those with a level of their own, everybody. */
function* localCandidates(server: RoomServer, room: Room, state: StateLookup): Generator<UserId> {
  const create = state('m.room.create', '');
  const powerLevels = state('m.room.power_levels', '');
  const named: string[] = create === undefined ? [] : [create.sender, ...roomCreation(room.rules, create).privileged];
  if (powerLevels !== undefined) named.push(...powerLevelsOf(room.rules, powerLevels).users.keys());
  for (const name of named) {
    const userId = parseUserId(name);
    if (userId !== undefined && serverNameOf(userId) === server.serverName) yield userId;
  }
  for (const key of [...server.store.tables.users.getKeys({ limit: LOCAL_USERS_TRIED_MAX })]) yield key as UserId;
}
