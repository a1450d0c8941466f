/**
 * The room as it is held by whoever accepted some of its events: where its graph ends, the current state there, which new
 * event is soft-failed on it, what its redactions redact. Two servers that were given the same events hold the same room as
 * long as they accept the same ones; where they do not, this says what must follow from that and what must not.
 *
 * Worked out on the full join's store, which has every event with its full state.
 */

import { namedLevel, userPowerLevel } from '../../../src/kernel/event-auth/power-levels.js';
import type { EventId } from '../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { checkAgainst } from '../../../src/room/accept-event.js';
import type { RoomServer } from '../../../src/room/room-server.js';
import { resolveStoredStates, storedState } from '../../../src/room/room-state.js';
import { loadEvent, loadRecord } from '../../../src/store/events.js';
import type { EventNid, StateGroupNid } from '../../../src/store/nids.js';
import type { Room } from '../../../src/store/rooms.js';
import { eventContext, eventPrevs } from '../../../src/store/timeline.js';
import { bodyOf } from './read-room.js';

export class HeldRoom {
  readonly #server: RoomServer;
  readonly #room: Room;
  readonly #accepted = new Set<EventNid>();
  /** What has come by now: nothing is known of what an event follows upon that comes later. */
  readonly #received = new Set<EventNid>();

  constructor(server: RoomServer, room: Room) {
    this.#server = server;
    this.#room = room;
  }

  /** An event has come. */
  take(nid: EventNid, isAccepted: boolean): void {
    this.#received.add(nid);
    if (isAccepted) this.#accepted.add(nid);
  }

  accepts(nid: EventNid): boolean {
    return this.#accepted.has(nid);
  }

  /** Accepted events that no accepted one follows upon, also not through what was refused. */
  ends(): ReadonlySet<EventNid> {
    const { store } = this.#server;
    const ends = new Set(this.#accepted);
    for (const nid of this.#accepted) {
      const behind = new Set(eventPrevs(store, nid));
      for (const prev of behind) {
        ends.delete(prev);
        if (this.#accepted.has(prev) || !this.#received.has(prev)) continue;
        for (const further of eventPrevs(store, prev)) behind.add(further);
      }
    }
    return ends;
  }

  /** The current state: the states after the ends, resolved. */
  currentGroup(): Promise<StateGroupNid> {
    const groups = [...this.ends()].map((nid) => eventContext(this.#server.store, nid)?.after ?? (0 as StateGroupNid));
    return resolveStoredStates(this.#server, this.#room, groups, 'bulk');
  }

  /** Whether the current state does not allow an event that comes now. Specification v1.19, server-server API, "Soft failure". */
  async softFails(nid: EventNid): Promise<boolean> {
    const { store } = this.#server;
    const event = loadEvent(store, this.#room.rules, nid);
    if (event === undefined) throw new Error(`event ${nid} was decided and has no body`);
    const state = storedState(store, this.#room, await this.currentGroup());
    return checkAgainst(this.#room, event, state, 'soft-failed') !== undefined;
  }

  /** What a redaction names. */
  redacts(nid: EventNid): EventId | undefined {
    const { store } = this.#server;
    if (loadRecord(store, nid)?.type !== 'm.room.redaction') return undefined;
    const body = bodyOf(store, nid);
    const holder = this.#room.rules.redactsInContent ? (body.content as JsonObject) : body;
    return holder.redacts as EventId | undefined;
  }

  /** Whether a redaction that is accepted may redact its target. Specification v1.19, rooms/v3.md, "Handling redactions". */
  mayRedact(nid: EventNid, target: EventNid): boolean {
    const { store } = this.#server;
    const [redaction, redacted] = [loadRecord(store, nid), loadRecord(store, target)];
    const before = eventContext(store, nid)?.before;
    if (redaction === undefined || redacted === undefined || before === undefined) return false;
    if (serverNameOf(redaction.sender) === serverNameOf(redacted.sender)) return true;
    const { rules } = this.#room;
    const state = storedState(store, this.#room, before);
    return userPowerLevel(rules, state, redaction.sender) >= namedLevel(rules, state, 'redact');
  }
}
