/**
 * How many are joined to a room and invited to it: counted once a process, then carried on by what differs between states,
 * a few thousand entries between two turns of the event loop.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { membershipBits, recordMembershipCode } from '../store/event-record.js';
import type { EventNid, RoomNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { differingEntries, EMPTY_STATE_GROUP } from '../store/state-groups.js';

export interface MemberCounts {
  readonly joined: number;
  readonly invited: number;
}

/** Rooms whose counts are kept: some hundred bytes each. */
export const ROOMS_COUNTED_MAX = 10_000;
/** State entries looked at between two turns of the event loop: about 3 ms. */
export const ENTRIES_A_TURN = 2_000;

const JOINED = membershipBits((membership) => membership === 'join');
const INVITED = membershipBits((membership) => membership === 'invite');

interface Counted {
  readonly group: StateGroupNid;
  readonly counts: Promise<MemberCounts>;
}

export class MemberCounter {
  readonly #reader: StoreReader;
  /** The longest unused first. */
  readonly #byRoom = new Map<RoomNid, Counted>();

  constructor(reader: StoreReader) {
    this.#reader = reader;
  }

  /** The counts of the room's current state, as given; the same state is counted once, however many ask. */
  countsOf(room: Pick<Room, 'nid' | 'currentGroup'>): Promise<MemberCounts> {
    const { nid, currentGroup: group } = room;
    const known = this.#byRoom.get(nid);
    this.#byRoom.delete(nid);
    const counts = known?.group === group ? known.counts : this.#carryOn(known, group);
    this.#byRoom.set(nid, { group, counts });
    const [oldest] = this.#byRoom.keys();
    if (this.#byRoom.size > ROOMS_COUNTED_MAX && oldest !== undefined) this.#byRoom.delete(oldest);
    // One that failed is no start for the next.
    counts.catch(() => {
      if (this.#byRoom.get(nid)?.counts === counts) this.#byRoom.delete(nid);
    });
    return counts;
  }

  async #carryOn(from: Counted | undefined, to: StateGroupNid): Promise<MemberCounts> {
    let { joined, invited } = (await from?.counts) ?? { joined: 0, invited: 0 };
    let seen = 0;
    for (const [, [before, after]] of differingEntries(this.#reader, [from?.group ?? EMPTY_STATE_GROUP, to])) {
      const was = membershipBit(this.#reader, before);
      const is = membershipBit(this.#reader, after);
      joined += Number((is & JOINED) !== 0) - Number((was & JOINED) !== 0);
      invited += Number((is & INVITED) !== 0) - Number((was & INVITED) !== 0);
      seen += 1;
      if (seen % ENTRIES_A_TURN === 0) await nextTurn();
    }
    return { joined, invited };
  }
}

/** The bit of a member event's membership; that of code 0 for every other event. */
export function membershipBit(reader: StoreReader, nid: EventNid | undefined): number {
  const record =
    nid === undefined || nid === NO_EVENT ? undefined : reader.tables.event_record_by_nid.getBinaryFast(nid);
  return 1 << (record === undefined ? 0 : recordMembershipCode(record));
}
