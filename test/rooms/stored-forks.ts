/** The events of a story in a real store, so that jobs can be asked what the kernel is asked. */

import type { AuthEvent } from '../../src/kernel/matrix/auth-event.js';
import { eventKeyOf, isHashEventId } from '../../src/kernel/matrix/event-key.js';
import type { EventId } from '../../src/kernel/matrix/ids.js';
import type { StateMap } from '../../src/kernel/state-res/state-map.js';
import { splitStateKey } from '../../src/kernel/state-res/state-map.js';
import { RecordFlag } from '../../src/store/event-record.js';
import { StatusBit, setEventStatus, Verdict } from '../../src/store/event-status.js';
import { eventNidOf, internEventIds, putEvent } from '../../src/store/events.js';
import type { EventNid, RoomNid, StateGroupNid } from '../../src/store/nids.js';
import type { Store } from '../../src/store/open-store.js';
import { internRoom } from '../../src/store/rooms.js';
import { internStateKey, putStateGroup } from '../../src/store/state-groups.js';
import type { RoomBuilder } from './room-builder.js';

function textOf(event: AuthEvent): string {
  return JSON.stringify({
    content: event.content,
    auth_events: event.authEventIds,
    prev_events: event.prevEventIds,
  });
}

function isPlainMembership({ type, content }: AuthEvent): boolean {
  return type === 'm.room.member' && Object.keys(content).join() === 'membership';
}

/** Stores every event of the room, in an order that `rank` decides: NIDs are not in the order of the graph. */
export function storeEvents(store: Store, room: RoomBuilder, rank: (event: AuthEvent) => number = () => 0): RoomNid {
  const events = [...room.events.values()].sort((x, y) => rank(x) - rank(y));
  const roomNid = store.write((writer) => {
    const nid = internRoom(writer, room.roomId);
    internEventIds(
      writer,
      events.map(({ eventId }) => eventId),
    );
    for (const event of events) putStory(writer, nid, event);
    return nid;
  });
  store.refresh();
  return roomNid;
}

function putStory(writer: Parameters<typeof putEvent>[0], roomNid: RoomNid, event: AuthEvent): void {
  const [nid] = internEventIds(writer, [event.eventId]);
  const text = textOf(event);
  const draft = {
    bodyBytes: Buffer.byteLength(text),
    depth: event.depth,
    originServerTs: event.originServerTs,
    flags:
      (event.stateKey === undefined ? 0 : RecordFlag.state) |
      (isPlainMembership(event) ? 0 : RecordFlag.richContent) |
      (isHashEventId(event.eventId) ? 0 : RecordFlag.opaqueId),
    membership: event.content.membership,
    type: event.type,
    stateKey: event.stateKey,
    sender: event.sender,
    eventKey: eventKeyOf(event.eventId),
    authCount: event.authEventIds.length,
  };
  putEvent(writer, roomNid, { nid: nid!, text, draft, authNids: internEventIds(writer, event.authEventIds) });
  const verdict = event.rejected ? Verdict.rejected : Verdict.accepted;
  setEventStatus(writer, nid!, verdict | StatusBit.outlier);
}

/** Stores a state; its events must be stored. */
export function storeState(store: Store, roomNid: RoomNid, state: StateMap): StateGroupNid {
  const group = store.write((writer) => {
    const places: number[] = [];
    for (const [key, eventId] of state) {
      places[internStateKey(writer, roomNid, ...splitStateKey(key))] = eventNidOf(writer, eventId)!;
    }
    return putStateGroup(
      writer,
      Uint32Array.from(places, (nid) => nid ?? 0),
    );
  });
  store.refresh();
  return group;
}

export function nidOf(store: Store, eventId: EventId): EventNid {
  return eventNidOf(store, eventId)!;
}
