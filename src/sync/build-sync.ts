/**
 * One answer of `/sync`: what happened in a user's rooms since a position of the stream. With lazy loading a room with
 * partial state is there at once; without, it is absent until its state is full and then arrives as newly joined.
 *
 * What the answer covers is read in one turn; the rooms follow one after another, so that the event loop goes on, and large
 * states are written by the workers. MSC3902; specification v1.19, client-server API, "Syncing".
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { JsonObject } from '../kernel/matrix/json.js';
import type { EventNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import type { Room } from '../store/rooms.js';
import { loadRoomByNid } from '../store/rooms.js';
import type { LocalMembership } from '../store/timeline.js';
import { localMemberships, roomTimeline, streamPosition } from '../store/timeline.js';
import type { MemberCounter } from './count-members.js';
import type { RoomSection, SectionRequest } from './room-section.js';
import { roomSection } from './room-section.js';
import { roomSummary } from './room-summary.js';
import type { SyncServer } from './shape-events.js';
import { clientForm, shapeEvents } from './shape-events.js';
import { strippedState } from './stripped-state.js';
import { syncToken } from './sync-token.js';

export interface SyncRequest extends SectionRequest {
  /** Position of the `since` token; undefined for the first sync. */
  readonly since: number | undefined;
}

export interface SyncAnswer {
  /** The body as JSON, in pieces. */
  readonly chunks: readonly Uint8Array[];
  /** Whether there is nothing to tell. */
  readonly isEmpty: boolean;
}

type SectionName = 'join' | 'leave' | 'invite' | 'knock';
const SECTIONS: readonly SectionName[] = ['join', 'leave', 'invite', 'knock'];

/** The position of the stream at which a room's state became full; 0 where it always was. */
function completedPosition(reader: StoreReader, room: Room): number {
  return (reader.tables.meta.get(`completed_position:${room.nid}`) as number | undefined) ?? 0;
}

export async function buildSync(server: SyncServer, counter: MemberCounter, request: SyncRequest): Promise<SyncAnswer> {
  const { store } = server;
  const upTo = streamPosition(store);
  const standings: (readonly [Room, LocalMembership])[] = [];
  for (const [nid, membership] of localMemberships(store, request.userId)) {
    const room = loadRoomByNid(store, nid);
    if (room !== undefined && request.filter.wantsRoom(room.roomId)) standings.push([room, membership]);
  }
  const sections: Record<SectionName, Uint8Array[]> = { join: [], leave: [], invite: [], knock: [] };
  for (const [room, membership] of standings) {
    const built = await roomPart(server, counter, request, room, membership, upTo);
    if (built === undefined) continue;
    const [name, chunks] = built;
    const list = sections[name];
    list.push(text(`${list.length === 0 ? '' : ','}${JSON.stringify(room.roomId)}:`), ...chunks);
    await nextTurn();
  }
  const chunks = [text(`{"next_batch":"${syncToken(upTo)}","rooms":{`)];
  for (const [i, name] of SECTIONS.entries())
    chunks.push(text(`${i === 0 ? '' : ','}"${name}":{`), ...sections[name], text('}'));
  chunks.push(text('}}'));
  return { chunks, isEmpty: SECTIONS.every((name) => sections[name].length === 0) };
}

function text(json: string): Uint8Array {
  return Buffer.from(json, 'utf8');
}

/** One room's section and the name of the list that it belongs to; undefined where there is nothing to tell. */
async function roomPart(
  server: SyncServer,
  counter: MemberCounter,
  request: SyncRequest,
  room: Room,
  membership: LocalMembership,
  upTo: number,
): Promise<readonly [SectionName, readonly Uint8Array[]] | undefined> {
  const isNew = request.since === undefined || membership.position > request.since;
  switch (membership.membership) {
    case 'join':
      return inList('join', await joinedPart(server, counter, request, room, membership, upTo));
    case 'leave':
    case 'ban':
      if (!isNew || (request.since === undefined && !request.filter.includeLeave)) return undefined;
      return inList('leave', await leftPart(server, request, room, membership));
    case 'invite':
    case 'knock': {
      if (!isNew) return undefined;
      const { membership: name } = membership;
      const events = strippedState(server.store, room, membership.event);
      return [name, [text(JSON.stringify({ [`${name}_state`]: { events } }))]];
    }
    default:
      return undefined;
  }
}

function inList(name: SectionName, chunks: readonly Uint8Array[] | undefined) {
  return chunks === undefined ? undefined : ([name, chunks] as const);
}

async function joinedPart(
  server: SyncServer,
  counter: MemberCounter,
  request: SyncRequest,
  room: Room,
  membership: LocalMembership,
  upTo: number,
): Promise<readonly Uint8Array[] | undefined> {
  const { store } = server;
  const { since, userId, filter } = request;
  const lazy = filter.lazyLoadMembers;
  if (room.residency !== 'full-state' && !lazy) return undefined;
  const completed = completedPosition(store, room);
  const joinedAt = membership.joinedAt ?? membership.position;
  const firstSeen = lazy ? joinedAt : Math.max(joinedAt, completed);
  const isFirst = since === undefined || firstSeen > since;
  const completedSince = since !== undefined && completed > since;
  const hasNews = isFirst || completedSince || hasEvents(store, room, since, upTo);
  if (!hasNews) return undefined;
  const range = { since: isFirst ? undefined : since, upTo, correct: completedSince };
  const section = await roomSection(store, request, room, membership, range);
  if (!isFirst && !completedSince && section.isEmpty) return undefined;
  let summary: JsonObject = {};
  if (isFirst || completedSince || section.hasMembers) {
    const { json, heroes } = await roomSummary(store, counter, room, userId);
    summary = json;
    for (const nid of lazy ? heroes : [])
      if (!section.shown.has(nid) && filter.state.matches(store, room, nid)) section.state.add(nid);
  }
  return sectionChunks(server, room, { state: section.state, json: { ...section.json, summary } });
}

function hasEvents(reader: StoreReader, room: Room, after: number, upTo: number): boolean {
  return roomTimeline(reader, room.nid, { after, upTo, limit: 1 }).length > 0;
}

/** A room that the user has left: up to the end of the stay; where nothing of a stay is new, the membership alone. */
async function leftPart(
  server: SyncServer,
  request: SyncRequest,
  room: Room,
  membership: LocalMembership,
): Promise<readonly Uint8Array[]> {
  const { joinedAt, left, event, position } = membership;
  const { since } = request;
  if (joinedAt === undefined || left === undefined || (since !== undefined && left.position <= since)) {
    const events = [clientForm(server.store, room, event)].filter((found) => found !== undefined);
    const timeline = { events, limited: false, prev_batch: syncToken(position - 1) };
    return [text(JSON.stringify({ timeline, state: { events: [] } }))];
  }
  const range = {
    since: since === undefined || joinedAt > since ? undefined : since,
    upTo: left.position,
    correct: false,
  };
  return sectionChunks(server, room, await roomSection(server.store, request, room, membership, range));
}

async function sectionChunks(
  server: SyncServer,
  room: Room,
  { json, state }: Pick<RoomSection, 'json' | 'state'>,
): Promise<readonly Uint8Array[]> {
  const events = await shapeEvents(
    server,
    room,
    Uint32Array.from<EventNid>(state, (nid) => nid),
  );
  return [text('{"state":{"events":['), ...events, text(`]},${JSON.stringify(json).slice(1)}`)];
}
