/**
 * The part of a state that a `send_join` with `omit_members=true` brings: everything but memberships, the joiner's own
 * previous one, and heroes where the room has no name. Never touches the other memberships: the index of state keys is
 * read around them, so that a room of 85,000 members costs what a small one does.
 * Specification v1.19, server-server API, "Joining Rooms", PUT send_join v2; MSC3706, MSC3943.
 */

import type { StateLookup } from '../../kernel/event-auth/state-lookup.js';
import type { UserId } from '../../kernel/matrix/ids.js';
import { storedState } from '../../room/room-state.js';
import { loadRecord } from '../../store/events.js';
import type { EventNid, StateGroupNid } from '../../store/nids.js';
import { NO_EVENT } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import type { Room } from '../../store/rooms.js';
import { nonMemberEntries, stateEntries, stateEvent } from '../../store/state-groups.js';

const MEMBER = 'm.room.member';
/** Heroes of a room summary (client-server API, "Room summary"). */
const HEROES_MAX = 5;
/** State entries looked at for heroes: some 5 ms; a room whose first thousands all left has none. */
const HERO_ENTRIES_MAX = 4000;

/** The events of the state that a partial join gets, each once. */
export function partialJoinState(reader: StoreReader, room: Room, group: StateGroupNid, joiner: UserId): EventNid[] {
  const nids = new Set<EventNid>();
  for (const [, nid] of nonMemberEntries(reader, room.nid, group)) nids.add(nid);
  const previous = stateEvent(reader, room.nid, group, MEMBER, joiner);
  if (previous !== NO_EVENT) nids.add(previous);
  if (needsHeroes(storedState(reader, room, group))) for (const nid of heroes(reader, group, joiner)) nids.add(nid);
  return [...nids];
}

function needsHeroes(state: StateLookup): boolean {
  const name = state('m.room.name', '')?.content.name;
  const alias = state('m.room.canonical_alias', '')?.content.alias;
  return !(typeof name === 'string' && name !== '') && !(typeof alias === 'string' && alias !== '');
}

/** Joined and invited members first, else departed ones, in the order in which their keys came into the room. */
function heroes(reader: StoreReader, group: StateGroupNid, joiner: UserId): EventNid[] {
  const present: EventNid[] = [];
  const departed: EventNid[] = [];
  let looked = 0;
  for (const [, nid] of stateEntries(reader, group)) {
    if (present.length >= HEROES_MAX || looked >= HERO_ENTRIES_MAX) break;
    looked += 1;
    const record = loadRecord(reader, nid);
    if (record?.type !== MEMBER || record.stateKey === joiner) continue;
    if (record.membership === 'join' || record.membership === 'invite') present.push(nid);
    else if (departed.length < HEROES_MAX) departed.push(nid);
  }
  return present.length > 0 ? present : departed;
}
