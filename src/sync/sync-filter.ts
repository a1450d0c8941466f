/**
 * The parts of a filter that `/sync` follows: `room.timeline.limit`, `room.state.lazy_load_members`, `room.rooms` and
 * `room.not_rooms`. Others are kept and not followed: the client gets more than it asked for, never less.
 * Specification v1.19, client-server API, "Filtering", "Lazy-loading room members".
 */

import type { JsonObject, JsonValue } from '../kernel/matrix/json.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import { MatrixError } from '../kernel/matrix/matrix-error.js';

/** Events of a room's timeline when the filter does not say. */
export const TIMELINE_LIMIT_DEFAULT = 20;
/** Most events of a room's timeline in one answer: a client pages for more. */
export const TIMELINE_LIMIT_MAX = 100;

export interface SyncFilter {
  readonly timelineLimit: number;
  readonly lazyLoadMembers: boolean;
  /** Undefined: every room. */
  readonly rooms: ReadonlySet<string> | undefined;
  readonly notRooms: ReadonlySet<string>;
}

/** What of a filter counts here. Throws MatrixError 400 where its shape is wrong. */
export function parseSyncFilter(filter: JsonObject): SyncFilter {
  const room = member(filter, 'room');
  const limit = member(room, 'timeline').limit ?? TIMELINE_LIMIT_DEFAULT;
  if (typeof limit !== 'number' || !Number.isInteger(limit) || limit < 0) throw badFilter('room.timeline.limit must be an integer');
  const lazy = member(room, 'state').lazy_load_members ?? member(room, 'timeline').lazy_load_members ?? false;
  if (typeof lazy !== 'boolean') throw badFilter('lazy_load_members must be a boolean');
  return {
    timelineLimit: Math.min(Math.max(limit, 1), TIMELINE_LIMIT_MAX),
    lazyLoadMembers: lazy,
    rooms: room.rooms === undefined ? undefined : new Set(strings(room.rooms, 'room.rooms')),
    notRooms: new Set(strings(room.not_rooms ?? [], 'room.not_rooms')),
  };
}

function member(object: JsonObject, key: string): JsonObject {
  const value = object[key] ?? {};
  if (!isJsonObject(value)) throw badFilter(`${key} must be an object`);
  return value;
}

function strings(value: JsonValue, key: string): string[] {
  const list = Array.isArray(value) ? (value as readonly JsonValue[]) : undefined;
  if (list === undefined || !list.every((item) => typeof item === 'string')) throw badFilter(`${key} must be a list of room IDs`);
  return list as string[];
}

function badFilter(words: string): MatrixError {
  return new MatrixError(400, 'M_INVALID_PARAM', `filter: ${words}`);
}
