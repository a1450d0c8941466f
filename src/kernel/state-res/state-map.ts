/**
 * State maps and their keys: (type, state_key) as one string, type + NUL + state_key.
 *
 * Types and state keys come from the wire and may hold any character, NUL too. The type's own NUL and SOH characters are
 * escaped, so that two pairs never share a key and the first NUL always ends the type.
 * Specification v1.19, rooms/v2, "State resolution", "state map".
 */

import type { EventId } from '../matrix/ids.js';

/** type + NUL + state_key; made by stateKeyOf, taken apart by splitStateKey. */
export type StateKey = string;

/** The room state, or a part of it: which event stands at each (type, state_key). */
export type StateMap = ReadonlyMap<StateKey, EventId>;

const SEPARATOR = '\0';
const ESCAPE = '\u0001';

/** The state map's key of a pair. */
export function stateKeyOf(type: string, stateKey: string): StateKey {
  if (!type.includes(SEPARATOR) && !type.includes(ESCAPE)) return type + SEPARATOR + stateKey;
  return type.replaceAll(ESCAPE, `${ESCAPE}1`).replaceAll(SEPARATOR, `${ESCAPE}0`) + SEPARATOR + stateKey;
}

/** The pair of a state map's key. */
export function splitStateKey(key: StateKey): readonly [type: string, stateKey: string] {
  const end = key.indexOf(SEPARATOR);
  const type = key.slice(0, end);
  const stateKey = key.slice(end + 1);
  if (!type.includes(ESCAPE)) return [type, stateKey];
  return [type.replaceAll(`${ESCAPE}0`, SEPARATOR).replaceAll(`${ESCAPE}1`, ESCAPE), stateKey];
}

export const CREATE_KEY: StateKey = stateKeyOf('m.room.create', '');
export const POWER_LEVELS_KEY: StateKey = stateKeyOf('m.room.power_levels', '');
