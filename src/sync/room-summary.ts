/**
 * Member counts and heroes of a room with full state. Joined members are counted in the store; the invited ones are
 * counted once and then followed from state to state. Specification v1.19, client-server API, "RoomSummary".
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { UserId } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import { loadEvent, loadRecord } from '../store/events.js';
import type { EventNid, RoomNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { joinedServers } from '../store/rooms.js';
import { differingEntries, EMPTY_STATE_GROUP, stateEntries, stateEvent } from '../store/state-groups.js';

/** As the specification says. */
const HEROES_MAX = 5;
/** Rooms whose invited members are remembered: a few numbers each. */
const INVITED_COUNTS_CACHED_MAX = 10_000;
/** State entries read between two turns of the event loop: about 5 ms. */
const ENTRIES_A_TURN = 2_000;

interface InvitedCount {
  readonly group: StateGroupNid;
  readonly invited: number;
}

export class RoomSummaries {
  readonly #reader: StoreReader;
  readonly #invitedByRoom = new Map<RoomNid, InvitedCount>();

  constructor(reader: StoreReader) {
    this.#reader = reader;
  }

  /** The `summary` of a room for one of its members. */
  async summaryOf(room: Room, user: UserId): Promise<JsonObject> {
    let joined = 0;
    for (const [, count] of joinedServers(this.#reader, room.nid)) joined += count;
    const invited = await this.#invited(room);
    const summary = { 'm.joined_member_count': joined, 'm.invited_member_count': invited };
    if (this.#isNamed(room)) return summary;
    return { ...summary, 'm.heroes': this.#heroes(room, user) };
  }

  async #invited(room: Room): Promise<number> {
    const known = this.#invitedByRoom.get(room.nid) ?? { group: EMPTY_STATE_GROUP, invited: 0 };
    let { invited } = known;
    let read = 0;
    for (const [, [before, after]] of differingEntries(this.#reader, [known.group, room.currentGroup])) {
      invited += this.#isInvite(after as EventNid) - this.#isInvite(before as EventNid);
      read += 1;
      if (read % ENTRIES_A_TURN === 0) await nextTurn();
    }
    if (this.#invitedByRoom.size >= INVITED_COUNTS_CACHED_MAX) this.#invitedByRoom.clear();
    this.#invitedByRoom.set(room.nid, { group: room.currentGroup, invited });
    return invited;
  }

  #isInvite(event: EventNid): number {
    return event !== NO_EVENT && loadRecord(this.#reader, event)?.membership === 'invite' ? 1 : 0;
  }

  #isNamed(room: Room): boolean {
    const says = (type: string, key: string) => {
      const nid = stateEvent(this.#reader, room.nid, room.currentGroup, type, '');
      const content = nid === NO_EVENT ? undefined : loadEvent(this.#reader, room.rules, nid)?.json.content;
      return isJsonObject(content) && typeof content[key] === 'string' && content[key] !== '';
    };
    return says('m.room.name', 'name') || says('m.room.canonical_alias', 'alias');
  }

  /** The first members by place; those who left only where nobody else is there. */
  #heroes(room: Room, user: UserId): string[] {
    const present: string[] = [];
    const departed: string[] = [];
    for (const [, nid] of stateEntries(this.#reader, room.currentGroup)) {
      const record = loadRecord(this.#reader, nid);
      if (record?.type !== 'm.room.member' || record.stateKey === undefined || record.stateKey === user) continue;
      if (record.membership === 'join' || record.membership === 'invite') present.push(record.stateKey);
      else if (departed.length < HEROES_MAX) departed.push(record.stateKey);
      if (present.length === HEROES_MAX) break;
    }
    return present.length > 0 ? present : departed;
  }
}
