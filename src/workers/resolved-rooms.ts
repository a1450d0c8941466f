/**
 * What a thread keeps of rooms whose states it has resolved: the auth graph, built when a resolution first needs it (about
 * 2 us for each event of the room) and moved from state to state by what differs, and the events that were read.
 *
 * Nothing is written for it when events are stored: a resync of 206,479 events pays nothing for an index it does not need.
 * Auth events and contents of stored events never change, so that only verdicts are read anew for each resolution; a graph
 * that met an unknown event is made anew once that event is known.
 */

import { createEventIdOf } from '../kernel/event-auth/creators.js';
import type { RoomId } from '../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import { AuthGraph } from '../kernel/state-res/auth-graph.js';
import { recordAuthNids } from '../store/event-record.js';
import { eventNidOf } from '../store/events.js';
import type { EventNid, RoomNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import { differingEntries, EMPTY_STATE_GROUP } from '../store/state-groups.js';
import { StoredEvents } from './stored-events.js';

/**
 * Bytes that a thread keeps between resolutions: the graphs of two million events, or one of Matrix HQ with 80,000 events.
 * Beyond it rooms unused for longest are forgotten, at last the one just used: its next resolution reads everything again.
 */
export const KEPT_BYTES_MAX = 96 * 1024 * 1024;
/** The graph's part of it, for each event of the room. */
const GRAPH_EVENT_BYTES = 45;

export interface RoomToResolve {
  readonly roomNid: RoomNid;
  readonly roomId: RoomId;
  readonly rules: RoomVersionRules;
}

/** One room: its events, and its auth graph with the state group whose auth chain that counts. */
export class ResolvedRoom {
  readonly events: StoredEvents;
  readonly graph: AuthGraph;
  readonly #reader: StoreReader;
  #group = EMPTY_STATE_GROUP;

  constructor(reader: StoreReader, { rules, roomId }: RoomToResolve) {
    this.#reader = reader;
    this.events = new StoredEvents(reader, rules, roomId);
    const records = reader.tables.event_record_by_nid;
    const implied = rules.roomIdIsCreateEventHash ? eventNidOf(reader, createEventIdOf(roomId)) : undefined;
    this.graph = new AuthGraph((nid) => {
      const record = records.getBinaryFast(nid);
      if (record === undefined) return undefined;
      const authNids = recordAuthNids(record).filter((authNid) => authNid !== NO_EVENT);
      if (implied !== undefined && nid !== implied) authNids.push(implied);
      return authNids;
    });
  }

  get bytes(): number {
    return GRAPH_EVENT_BYTES * this.graph.size + this.events.bytes;
  }

  /** The state group whose auth chain the graph counts. */
  get group(): StateGroupNid {
    return this.#group;
  }

  /** Moves the graph to a state group; costs what the two differ in. */
  moveTo(group: StateGroupNid): void {
    if (group === this.#group) return;
    const added: EventNid[] = [];
    const removed: EventNid[] = [];
    for (const [, [before, after]] of differingEntries(this.#reader, [this.#group, group])) {
      if (after !== undefined && after !== NO_EVENT) added.push(after);
      if (before !== undefined && before !== NO_EVENT) removed.push(before);
    }
    this.graph.changeState(added, removed);
    this.#group = group;
  }
}

export class ResolvedRooms {
  readonly #bytesMax: number;
  /** The one used last stands last. */
  readonly #byNid = new Map<RoomNid, ResolvedRoom>();

  constructor(bytesMax = KEPT_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** Bytes that are kept now, by estimate. */
  get bytes(): number {
    let bytes = 0;
    for (const room of this.#byNid.values()) bytes += room.bytes;
    return bytes;
  }

  /**
   * Runs `use` with what is kept of a room. `use` may change the graph's state if it changes it back; when it throws the room
   * is forgotten.
   */
  use<T>(reader: StoreReader, wanted: RoomToResolve, use: (room: ResolvedRoom) => T): T {
    const kept = this.#byNid.get(wanted.roomNid);
    this.#byNid.delete(wanted.roomNid);
    const isStale = kept?.graph.unknownEvents.some((nid) => reader.tables.event_record_by_nid.has(nid)) ?? true;
    const room = kept === undefined || isStale ? new ResolvedRoom(reader, wanted) : kept;
    room.events.forgetVerdicts();
    const result = use(room);
    this.#byNid.set(wanted.roomNid, room);
    this.#forgetOldest();
    return result;
  }

  #forgetOldest(): void {
    let { bytes } = this;
    for (const [nid, room] of this.#byNid) {
      if (bytes <= this.#bytesMax) return;
      this.#byNid.delete(nid);
      bytes -= room.bytes;
    }
  }
}
