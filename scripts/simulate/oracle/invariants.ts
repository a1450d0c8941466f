/** What must hold of a room with full state by itself, whatever another server makes of the same events. */

import type { UserId } from '../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../src/kernel/matrix/ids.js';
import { eventIdOfNid, loadRecord } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import { NO_EVENT } from '../../../src/store/nids.js';
import type { StoreReader } from '../../../src/store/open-store.js';
import type { Room } from '../../../src/store/rooms.js';
import { clearedEvents, joinedServers, loadPartialState, partialStateEvents } from '../../../src/store/rooms.js';
import { stateEntries, stateEvent } from '../../../src/store/state-groups.js';
import { eventContext, localMembership, roomTimeline } from '../../../src/store/timeline.js';
import type { Federation } from '../federation.js';
import { BEA, BOB } from '../federation.js';
import { name, standing } from './read-room.js';

/** What does not hold of hs2's room. */
export function invariants({ hs2 }: Federation, room: Room): string[] {
  const { store } = hs2;
  const wrong: string[] = [];
  if (loadPartialState(store, room.nid) !== undefined) wrong.push('the row of the partial state is still there');
  if (partialStateEvents(store, room.nid).length + clearedEvents(store, room.nid).length > 0)
    wrong.push('events are still marked as of partial state');
  const counts = new Map<string, number>();
  for (const [, nid] of stateEntries(store, room.currentGroup)) {
    const record = loadRecord(store, nid);
    if (record?.membership !== 'join' || record.stateKey === undefined) continue;
    const server = serverNameOf(record.stateKey as UserId);
    counts.set(server, (counts.get(server) ?? 0) + 1);
  }
  const stored = new Map<string, number>(joinedServers(store, room.nid));
  for (const server of new Set([...counts.keys(), ...stored.keys()])) {
    if (counts.get(server) !== stored.get(server))
      wrong.push(`${server} has ${counts.get(server)} joined members and is counted ${stored.get(server)}`);
  }
  for (const user of [BOB, BEA]) {
    const nid = stateEvent(store, room.nid, room.currentGroup, 'm.room.member', user);
    const membership = nid === NO_EVENT ? undefined : loadRecord(store, nid)?.membership;
    const kept = localMembership(store, user, room.nid)?.membership;
    // Who never joined through us has no membership here, whatever others have decided about them; who did and is not in the
    // state any more has left.
    if ((membership ?? 'leave') !== kept && kept !== undefined)
      wrong.push(`${user} is told ${kept} where the state has ${membership}`);
  }
  const shown = new Map<EventNid, number>();
  for (const { event } of roomTimeline(store, room.nid, { after: 0, upTo: 2 ** 31, limit: 100_000 }))
    shown.set(event, (shown.get(event) ?? 0) + 1);
  for (const nid of hs2.decided) {
    const record = loadRecord(store, nid);
    const stands = standing(store, nid);
    // A redaction is shown when it applies; a rejected event may have been shown before it was known to be one.
    if (record === undefined || record.type === 'm.room.redaction' || stands === 'rejected') continue;
    const times = shown.get(nid) ?? 0;
    if (times !== (stands === 'accepted' ? 1 : 0))
      wrong.push(`${name(store, eventIdOfNid(store, nid))} is ${stands} and is shown ${times} times`);
  }
  wrong.push(...sentFromOutside(store, room, hs2.decided));
  return wrong;
}

/**
 * Events that were accepted though nobody who is not in the room may send them: the two joins might agree on a wrong rule.
 * Specification v1.19, room version 11, authorization rules 5 and 6, read off the stored states, without the kernel.
 */
function sentFromOutside(reader: StoreReader, room: Room, events: Iterable<EventNid>): string[] {
  const wrong: string[] = [];
  for (const nid of events) {
    const record = loadRecord(reader, nid);
    const before = eventContext(reader, nid)?.before;
    if (record === undefined || before === undefined || standing(reader, nid) === 'rejected') continue;
    const isOwnMembership = record.type === 'm.room.member' && record.stateKey === record.sender;
    if (record.type === 'm.room.create' || isOwnMembership) continue;
    const member = stateEvent(reader, room.nid, before, 'm.room.member', record.sender);
    const membership = member === NO_EVENT ? undefined : loadRecord(reader, member)?.membership;
    if (membership !== 'join')
      wrong.push(`${name(reader, eventIdOfNid(reader, nid))} is accepted, its sender being ${membership ?? 'unknown'}`);
  }
  return wrong;
}
