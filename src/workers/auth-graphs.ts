/**
 * The auth graphs of rooms whose states were resolved in this thread: built when a resolution first needs one (about
 * 1.5 us for each event of the room), kept while memory allows, and moved from state to state by what differs.
 *
 * Nothing is written for them when events are stored: a resync of 206,479 events pays nothing for an index it does not need.
 * A graph holds accepted events, whose auth events never change; one that met an unknown event is made anew once that is known.
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

/**
 * Events in all graphs of a thread that are kept between resolutions: 45 bytes each, so 90 MB. Beyond it the graphs unused for
 * longest go, at last the one just used: its next resolution builds it again.
 */
export const GRAPH_EVENTS_MAX = 2_000_000;

export interface GraphRoom {
  readonly roomNid: RoomNid;
  readonly roomId: RoomId;
  readonly rules: RoomVersionRules;
}

/** One room's graph, with the state group whose auth chain it counts. */
export interface RoomAuthGraph {
  readonly graph: AuthGraph;
  group: StateGroupNid;
}

export class AuthGraphs {
  readonly #eventsMax: number;
  /** The one used last stands last. */
  readonly #byRoom = new Map<RoomNid, RoomAuthGraph>();

  constructor(eventsMax = GRAPH_EVENTS_MAX) {
    this.#eventsMax = eventsMax;
  }

  /** How many events the kept graphs have. */
  get size(): number {
    let size = 0;
    for (const { graph } of this.#byRoom.values()) size += graph.size;
    return size;
  }

  /**
   * Runs `use` on the graph of a room, at the state group that it asks for. `use` may change the graph's state if it changes
   * it back; when it throws the graph is forgotten.
   */
  use<T>(reader: StoreReader, room: GraphRoom, use: (graph: RoomAuthGraph) => T): T {
    const kept = this.#byRoom.get(room.roomNid);
    this.#byRoom.delete(room.roomNid);
    const isStale = kept?.graph.unknownEvents.some((nid) => reader.tables.event_record_by_nid.has(nid)) ?? true;
    const current = kept === undefined || isStale ? newGraph(reader, room) : kept;
    const result = use(current);
    this.#byRoom.set(room.roomNid, current);
    this.#forgetOldest();
    return result;
  }

  #forgetOldest(): void {
    let { size } = this;
    for (const [room, { graph }] of this.#byRoom) {
      if (size <= this.#eventsMax) return;
      this.#byRoom.delete(room);
      size -= graph.size;
    }
  }
}

/** Moves the state whose auth chain the graph counts to a state group; costs what the two differ in. */
export function moveToGroup(reader: StoreReader, current: RoomAuthGraph, group: StateGroupNid): void {
  if (group === current.group) return;
  const added: EventNid[] = [];
  const removed: EventNid[] = [];
  for (const [, [before, after]] of differingEntries(reader, [current.group, group])) {
    if (after !== undefined && after !== NO_EVENT) added.push(after);
    if (before !== undefined && before !== NO_EVENT) removed.push(before);
  }
  current.graph.changeState(added, removed);
  current.group = group;
}

function newGraph(reader: StoreReader, room: GraphRoom): RoomAuthGraph {
  const records = reader.tables.event_record_by_nid;
  const implied = room.rules.roomIdIsCreateEventHash ? eventNidOf(reader, createEventIdOf(room.roomId)) : undefined;
  const graph = new AuthGraph((nid) => {
    const record = records.getBinaryFast(nid);
    if (record === undefined) return undefined;
    const authNids = recordAuthNids(record).filter((authNid) => authNid !== NO_EVENT);
    if (implied !== undefined && nid !== implied) authNids.push(implied);
    return authNids;
  });
  return { graph, group: EMPTY_STATE_GROUP };
}
