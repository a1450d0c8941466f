/**
 * A room's stored state as the kernel reads it, and resolution between stored states. What differs is resolved on a
 * worker; equal states are recognised by their group number alone.
 */

import type { StateLookup } from '../kernel/event-auth/state-lookup.js';
import type { AuthEvent } from '../kernel/matrix/auth-event.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import { authEventOf, loadEvent } from '../store/events.js';
import type { EventNid, StateGroupNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { changeStateGroup, internStateKey, stateEvent } from '../store/state-groups.js';
import type { ResolveGroupsOutput, StateSetInput } from '../workers/jobs/resolve-groups.js';
import type { Lane } from '../workers/pool.js';
import type { RoomServer } from './room-server.js';

/** What of a room its events are read by; a room that is being joined has no row yet. */
export type StateRoom = Pick<Room, 'nid' | 'roomId' | 'version' | 'createNid'> & { readonly rules: RoomVersionRules };

/** A stored event as the kernel reads it. */
export function loadAuthEvent(reader: StoreReader, room: StateRoom, nid: EventNid): AuthEvent | undefined {
  const event = nid === NO_EVENT ? undefined : loadEvent(reader, room.rules, nid);
  return event === undefined ? undefined : authEventOf(event, room.roomId);
}

/**
 * The events of a stored state, by (type, state key). In rooms named by their create event, that event is always there.
 * `loaded`: events that were read already, where several states are looked at.
 */
export function storedState(
  reader: StoreReader,
  room: StateRoom,
  group: StateGroupNid,
  loaded = new Map<EventNid, AuthEvent | undefined>(),
): StateLookup {
  return (type, stateKey) => {
    const implied = room.rules.roomIdIsCreateEventHash && type === 'm.room.create' && stateKey === '';
    const nid = implied ? room.createNid : stateEvent(reader, room.nid, group, type, stateKey);
    if (nid === NO_EVENT) return undefined;
    if (!loaded.has(nid)) loaded.set(nid, loadAuthEvent(reader, room, nid));
    return loaded.get(nid);
  };
}

/** A state with changes on top that are not stored. */
export function changedState(
  reader: StoreReader,
  room: StateRoom,
  base: StateLookup,
  changes: ResolveGroupsOutput['changes'],
): StateLookup {
  const byKey = new Map(changes.map(({ type, stateKey, event }) => [`${type}\0${stateKey}`, event] as const));
  return (type, stateKey) => {
    const nid = byKey.get(`${type}\0${stateKey}`);
    return nid === undefined ? base(type, stateKey) : loadAuthEvent(reader, room, nid);
  };
}

/** Runs state resolution on a worker; the answer is changes to the first set. */
export function resolveSets(
  server: RoomServer,
  room: StateRoom,
  sets: readonly StateSetInput[],
  lane: Lane,
): Promise<ResolveGroupsOutput> {
  return server.pool.run(
    'resolveGroups',
    { roomVersion: room.version, roomId: room.roomId, roomNid: room.nid, sets },
    lane,
  );
}

/** The group of the state that several stored states resolve to. */
export async function resolveStoredStates(
  server: RoomServer,
  room: StateRoom,
  groups: readonly StateGroupNid[],
  lane: Lane,
): Promise<StateGroupNid> {
  const distinct = [...new Set(groups)];
  const [first] = distinct;
  if (first === undefined) return 0 as StateGroupNid;
  if (distinct.length === 1) return first;
  const { changes } = await resolveSets(
    server,
    room,
    distinct.map((group) => ({ group, overlay: [] })),
    lane,
  );
  return server.store.write((writer) =>
    changeStateGroup(
      writer,
      first,
      changes.map(({ type, stateKey, event }) => [internStateKey(writer, room.nid, type, stateKey), event] as const),
    ),
  );
}
