/**
 * Power levels: read from `m.room.power_levels`, with the defaults of the specification where the event or a value is
 * missing. Infinity stands for the infinite power of creators (v12+).
 *
 * v1-v9 take strings that hold an integer and (v1-v5) floats, cut at the point; v10+ take integers only. A value that
 * cannot be read counts as missing: rules refuse events with such values where they are sent (check-power-levels.ts),
 * and old rooms hold some. Read once per event object and remembered: a room's 200,000 checks share few such events.
 * Specification v1.19, client-server API, "m.room.power_levels"; rooms/v1, "values as strings", "as floats".
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import { isJsonObject, type JsonValue } from '../matrix/json.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { roomCreation } from './creators.js';
import { readOnce } from './read-once.js';
import type { StateLookup } from './state-lookup.js';

/** The properties of `m.room.power_levels` that hold one level, with the level where they are missing. */
export const LEVEL_DEFAULTS = {
  users_default: 0,
  events_default: 0,
  state_default: 50,
  ban: 50,
  redact: 50,
  kick: 50,
  invite: 0,
} as const;
export type LevelName = keyof typeof LEVEL_DEFAULTS;
export const LEVEL_NAMES = Object.keys(LEVEL_DEFAULTS) as readonly LevelName[];

/** The creator's level in a room without `m.room.power_levels` (v1-v11). */
export const CREATOR_LEVEL_DEFAULT = 100;

/** The levels that an `m.room.power_levels` event states; what it does not state is missing here too. */
export interface PowerLevels {
  readonly levels: ReadonlyMap<LevelName, number>;
  /** From the highest level down: who compares with one level need not look at those below it. */
  readonly users: ReadonlyMap<string, number>;
  readonly events: ReadonlyMap<string, number>;
  readonly notifications: ReadonlyMap<string, number>;
}

const STRING_LEVEL = /^\s*[+-]?[0-9]+\s*$/;

/** The level that a JSON value stands for in this room version, or undefined where it stands for none. */
export function parseLevel(rules: RoomVersionRules, value: JsonValue | undefined): number | undefined {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return value;
    return !rules.strictCanonicalJson && Number.isFinite(value) ? Math.trunc(value) : undefined;
  }
  if (rules.integerPowerLevels || typeof value !== 'string' || !STRING_LEVEL.test(value)) return undefined;
  const level = Number(value);
  return Number.isFinite(level) ? level : undefined;
}

function readMap(rules: RoomVersionRules, value: JsonValue | undefined): ReadonlyMap<string, number> {
  const levels = new Map<string, number>();
  if (!isJsonObject(value)) return levels;
  for (const [key, entry] of Object.entries(value)) {
    const level = parseLevel(rules, entry);
    if (level !== undefined) levels.set(key, level);
  }
  return levels;
}

function readPowerLevels(rules: RoomVersionRules, event: AuthEvent): PowerLevels {
  const levels = new Map<LevelName, number>();
  for (const name of LEVEL_NAMES) {
    const level = parseLevel(rules, event.content[name]);
    if (level !== undefined) levels.set(name, level);
  }
  return {
    levels,
    users: new Map([...readMap(rules, event.content.users)].sort(([, x], [, y]) => y - x)),
    events: readMap(rules, event.content.events),
    notifications: readMap(rules, event.content.notifications),
  };
}

/** What an `m.room.power_levels` event states. */
export const powerLevelsOf = readOnce(readPowerLevels);

/** The level that the room requires for `name` (to ban, to invite, ...). */
export function namedLevel(rules: RoomVersionRules, state: StateLookup, name: LevelName): number {
  const event = state('m.room.power_levels', '');
  const level = event === undefined ? undefined : powerLevelsOf(rules, event).levels.get(name);
  return level ?? LEVEL_DEFAULTS[name];
}

/**
 * The power level of a user by these two events: Infinity for creators (v12+); without `m.room.power_levels` 100 for the
 * creator (v1-v11) and 0 for everyone else.
 */
export function powerLevelIn(
  rules: RoomVersionRules,
  create: AuthEvent | undefined,
  powerLevelsEvent: AuthEvent | undefined,
  userId: string,
): number {
  const creation = create === undefined ? undefined : roomCreation(rules, create);
  if (rules.privilegedCreators && creation?.privileged.has(userId)) return Number.POSITIVE_INFINITY;
  if (powerLevelsEvent === undefined) return creation?.creator === userId ? CREATOR_LEVEL_DEFAULT : 0;
  const { users, levels } = powerLevelsOf(rules, powerLevelsEvent);
  return users.get(userId) ?? levels.get('users_default') ?? LEVEL_DEFAULTS.users_default;
}

/** The power level of a user in the room state. */
export function userPowerLevel(rules: RoomVersionRules, state: StateLookup, userId: string): number {
  return powerLevelIn(rules, state('m.room.create', ''), state('m.room.power_levels', ''), userId);
}

/** The required power level of an event type: to send it as a state event, or as a message event. */
export function requiredPowerLevel(
  rules: RoomVersionRules,
  state: StateLookup,
  type: string,
  stateEvent: boolean,
): number {
  const event = state('m.room.power_levels', '');
  const named = event === undefined ? undefined : powerLevelsOf(rules, event).events.get(type);
  return named ?? namedLevel(rules, state, stateEvent ? 'state_default' : 'events_default');
}
