/**
 * A room's summary: counts of its members, and for a room without a name the members that name it. Only of full state: a
 * count that is false is worse than none. Specification v1.19, client-server API, GET /sync, "RoomSummary"; MSC3902.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { UserId } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import { membershipBits } from '../store/event-record.js';
import { loadEvent, loadRecord } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { stateEntries, stateEvent } from '../store/state-groups.js';
import type { MemberCounter } from './count-members.js';
import { ENTRIES_A_TURN, membershipBit } from './count-members.js';

/** Members that name a room, as the specification has it. */
const HEROES = 5;

const PRESENT = membershipBits((membership) => membership === 'join' || membership === 'invite');
const DEPARTED = membershipBits((membership) => membership === 'leave' || membership === 'ban');

export interface RoomSummary {
  readonly json: JsonObject;
  /** The memberships of the heroes, which a client that loads members lazily needs. */
  readonly heroes: readonly EventNid[];
}

const NOTHING_KNOWN: RoomSummary = { json: {}, heroes: [] };

/** The summary for one of the room's users; empty while the room has partial state. */
export async function roomSummary(
  reader: StoreReader,
  counter: MemberCounter,
  room: Room,
  userId: UserId,
): Promise<RoomSummary> {
  if (room.residency !== 'full-state') return NOTHING_KNOWN;
  const { joined, invited } = await counter.countsOf(room);
  const counts = { 'm.joined_member_count': joined, 'm.invited_member_count': invited };
  if (hasName(reader, room)) return { json: counts, heroes: [] };
  const present = await firstMembers(reader, room, userId, PRESENT);
  const heroes = present.length > 0 ? present : await firstMembers(reader, room, userId, DEPARTED);
  const names = heroes.map((nid) => loadRecord(reader, nid)?.stateKey ?? '');
  return { json: { 'm.heroes': names, ...counts }, heroes };
}

function hasName(reader: StoreReader, room: Room): boolean {
  return [
    ['m.room.name', 'name'],
    ['m.room.canonical_alias', 'alias'],
  ].some(([type = '', key = '']) => {
    const nid = stateEvent(reader, room.nid, room.currentGroup, type, '');
    const content = nid === NO_EVENT ? undefined : loadEvent(reader, room.rules, nid)?.json.content;
    const value = isJsonObject(content) ? content[key] : undefined;
    return typeof value === 'string' && value !== '';
  });
}

/** The first other members with one of `memberships`, in the order in which this server came to know them. */
async function firstMembers(reader: StoreReader, room: Room, userId: UserId, memberships: number): Promise<EventNid[]> {
  const found: EventNid[] = [];
  let seen = 0;
  for (const [, nid] of stateEntries(reader, room.currentGroup)) {
    if ((membershipBit(reader, nid) & memberships) !== 0 && loadRecord(reader, nid)?.stateKey !== userId)
      found.push(nid);
    if (found.length === HEROES) break;
    seen += 1;
    if (seen % ENTRIES_A_TURN === 0) await nextTurn();
  }
  return found;
}
