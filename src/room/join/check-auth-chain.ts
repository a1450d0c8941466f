/**
 * A full `send_join` answer must hold what its events rest on: a room that is joined in full is not resynchronised, and what
 * is dropped for an auth event that did not come would be lost without a word.
 * Specification v1.19, server-server API, "Joining Rooms".
 */

import type { EventId } from '../../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { eventNidOf, loadEvent, loadRecord, referencedIds } from '../../store/events.js';
import type { RoomServer } from '../room-server.js';
import type { JudgedJoinState } from './judge-join-state.js';
import { JoinRefused } from './judge-join-state.js';

/** Throws JoinRefused where events of the answer rest on some that were neither in it nor here. */
export function checkAuthChain(
  server: RoomServer,
  rules: RoomVersionRules,
  { judgements, ingest }: JudgedJoinState,
): void {
  const refused = new Set(ingest.dropped.map(({ eventId }) => eventId));
  const unnamed = ingest.dropped.filter(({ eventId }) => eventId === undefined).length;
  const absent = new Set<EventId>();
  for (const { nid, code } of judgements.refusals) {
    if (code !== 'auth-event-missing') continue;
    for (const id of referencedIds(loadEvent(server.store, rules, nid)?.json.auth_events)) {
      const auth = eventNidOf(server.store, id);
      const isHere = auth !== undefined && loadRecord(server.store, auth) !== undefined;
      // One that came and was refused is no fault of the list.
      if (!isHere && !refused.has(id)) absent.add(id);
    }
  }
  // What was refused without a name may be any of them.
  if (absent.size <= unnamed) return;
  const [example] = absent;
  throw new JoinRefused(`send_join: ${absent.size} auth events did not come, such as ${example}`);
}
