/**
 * Rule 10: `m.room.power_levels`: its form, and that nobody grants or takes more than they have.
 *
 * A property that the event or its predecessor does not state has no value to compare, whatever its default would be:
 * the specification does not say, the reference homeserver does it so.
 * Specification v1.19, rooms/v12, "Authorization rules", rule 10 (rule 9 in v6-v11; v1-v9 check only the form of `users`).
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import { parseUserId } from '../matrix/ids.js';
import { isJsonObject, type JsonValue } from '../matrix/json.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { ALLOWED, type AuthCode, type AuthVerdict, refused } from './auth-verdict.js';
import { roomCreation } from './creators.js';
import { LEVEL_NAMES, parseLevel, powerLevelsOf } from './power-levels.js';
import { readOnce } from './read-once.js';
import type { StateLookup } from './state-lookup.js';

/** Checks an `m.room.power_levels` event whose sender may send one. */
export function checkPowerLevels(
  rules: RoomVersionRules,
  event: AuthEvent,
  state: StateLookup,
  create: AuthEvent,
  senderLevel: number,
): AuthVerdict {
  const { malformed } = formOf(rules, event);
  if (malformed !== undefined) return refused(malformed);
  const wanted = powerLevelsOf(rules, event);
  // 10.4. v12: If users contains a creator of the room, reject.
  if (rules.privilegedCreators) {
    for (const userId of roomCreation(rules, create).privileged) {
      if (wanted.users.has(userId)) return refused('power-levels-names-creator');
    }
  }
  // 10.5. If there is no previous m.room.power_levels event in the room, allow.
  const currentEvent = state('m.room.power_levels', '');
  if (currentEvent === undefined) return ALLOWED;
  const current = powerLevelsOf(rules, currentEvent);
  // 10.6. For each level added, changed or removed: neither the current nor the new one may be above the sender's.
  for (const name of LEVEL_NAMES) {
    if (isAlterationAbove(current.levels.get(name), wanted.levels.get(name), senderLevel)) {
      return refused('power-levels-level-above-sender');
    }
  }
  // 10.7. and 10.8. The same for each entry of events and notifications.
  if (hasAlterationAbove(current.events, wanted.events, senderLevel)) return refused('power-levels-event-above-sender');
  if (rules.checkNotificationLevels && hasAlterationAbove(current.notifications, wanted.notifications, senderLevel)) {
    return refused('power-levels-notification-above-sender');
  }
  // 10.9. For each entry changed in, or removed from, users, other than the sender's own: below the sender's level.
  for (const [userId, level] of current.users) {
    if (level < senderLevel) break;
    if (userId !== event.sender && wanted.users.get(userId) !== level) {
      return refused('power-levels-user-not-below-sender');
    }
  }
  // 10.10. For each entry added to, or changed in, users: not above the sender's level.
  for (const [userId, level] of wanted.users) {
    if (level <= senderLevel) break;
    if (current.users.get(userId) !== level) return refused('power-levels-user-above-sender');
  }
  // 10.11. Otherwise, allow.
  return ALLOWED;
}

/** The form of an event, looked at once however often it is checked: state resolution asks for thousands of them. */
const formOf = readOnce((rules, event) => ({ malformed: malformedPart(rules, event) }));

/** The code of the first part that is not of the form that rules 10.1 to 10.3 ask for. */
function malformedPart(rules: RoomVersionRules, event: AuthEvent): AuthCode | undefined {
  const content = event.content;
  if (rules.integerPowerLevels) {
    // 10.1. If any of the levels is present and not an integer, reject.
    for (const name of LEVEL_NAMES) {
      if (content[name] !== undefined && parseLevel(rules, content[name]) === undefined) {
        return 'power-levels-level-malformed';
      }
    }
    // 10.2. If events or notifications is present and not an object with values that are integers, reject.
    if (!isLevelMap(rules, content.events)) return 'power-levels-events-malformed';
    if (!isLevelMap(rules, content.notifications)) return 'power-levels-notifications-malformed';
  }
  // v1-v5, "values as floats": those outside the range of a double "cause the powerlevel event to be rejected".
  if (LEVEL_NAMES.some((name) => isBeyondDouble(content[name]))) return 'power-levels-level-malformed';
  if (hasBeyondDouble(content.events)) return 'power-levels-events-malformed';
  if (hasBeyondDouble(content.notifications)) return 'power-levels-notifications-malformed';
  // 10.3. If users is not an object with keys that are valid user IDs with values that are integers, reject.
  const users = content.users;
  if (!isLevelMap(rules, users)) return 'power-levels-users-malformed';
  for (const userId of Object.keys(users ?? {})) {
    if (parseUserId(userId) === undefined) return 'power-levels-users-malformed';
  }
  return undefined;
}

function isBeyondDouble(value: JsonValue | undefined): boolean {
  return typeof value === 'number' && !Number.isFinite(value);
}

function hasBeyondDouble(value: JsonValue | undefined): boolean {
  return isJsonObject(value) && Object.values(value).some(isBeyondDouble);
}

function isLevelMap(rules: RoomVersionRules, value: JsonValue | undefined): boolean {
  if (value === undefined) return true;
  return isJsonObject(value) && Object.values(value).every((entry) => parseLevel(rules, entry) !== undefined);
}

function isAlterationAbove(current: number | undefined, wanted: number | undefined, senderLevel: number): boolean {
  if (current === wanted) return false;
  return (current !== undefined && current > senderLevel) || (wanted !== undefined && wanted > senderLevel);
}

function hasAlterationAbove(
  current: ReadonlyMap<string, number>,
  wanted: ReadonlyMap<string, number>,
  senderLevel: number,
): boolean {
  for (const [key, level] of current) if (isAlterationAbove(level, wanted.get(key), senderLevel)) return true;
  for (const [key, level] of wanted) if (isAlterationAbove(current.get(key), level, senderLevel)) return true;
  return false;
}
