/** What the command lines of the tools have in common: `--room-version V` and one FILE. */

import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import { ROOM_VERSIONS, roomVersionRules } from '../kernel/matrix/room-versions.js';
import { UsageError } from './usage-error.js';

/** The rules that the option names. */
export function rulesOfOption(command: string, version: string | undefined): RoomVersionRules {
  if (version === undefined) throw new UsageError(`${command} needs --room-version V`);
  const rules = roomVersionRules(version);
  if (rules !== undefined) return rules;
  throw new UsageError(`room version ${JSON.stringify(version)} is not known; known are ${ROOM_VERSIONS.join(', ')}`);
}

/** The one FILE of a command line; undefined when there is none. */
export function oneFile(command: string, positionals: readonly string[]): string | undefined {
  if (positionals.length > 1) throw new UsageError(`${command} takes one FILE, not ${positionals.length}`);
  return positionals[0];
}
