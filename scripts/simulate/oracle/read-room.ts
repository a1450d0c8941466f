/** What the oracle reads off a store, and how it names events for people. */

import type { EventId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { eventStatus, StatusBit, VERDICT_BITS, Verdict } from '../../../src/store/event-status.js';
import { eventIdOfNid, eventNidOf, loadBody, loadRecord, referencedIds } from '../../../src/store/events.js';
import type { EventNid, StateGroupNid } from '../../../src/store/nids.js';
import type { StoreReader } from '../../../src/store/open-store.js';
import { stateEntries } from '../../../src/store/state-groups.js';
import type { Federation } from '../federation.js';

export type Standing = 'accepted' | 'soft-failed' | 'rejected' | 'not judged';

export function standing(reader: StoreReader, nid: EventNid): Standing {
  const status = eventStatus(reader, nid);
  const verdict = status & VERDICT_BITS;
  if (verdict === Verdict.rejected) return 'rejected';
  if (verdict !== Verdict.accepted) return 'not judged';
  return (status & StatusBit.softFailed) === 0 ? 'accepted' : 'soft-failed';
}

/** The events of a stored state, by type and state key. */
export function stateOf(reader: StoreReader, group: StateGroupNid): Map<string, EventId> {
  const state = new Map<string, EventId>();
  for (const [, nid] of stateEntries(reader, group)) {
    const record = loadRecord(reader, nid);
    if (record !== undefined) state.set(`${record.type} ${record.stateKey}`, eventIdOfNid(reader, nid));
  }
  return state;
}

export function bodyOf(reader: StoreReader, nid: EventNid): JsonObject {
  const bytes = loadBody(reader, nid);
  if (bytes === undefined) throw new Error(`event ${nid} was decided and has no body`);
  return JSON.parse(bytes.toString('utf8')) as JsonObject;
}

/** An event for people. */
export function name(reader: StoreReader, id: EventId): string {
  const nid = eventNidOf(reader, id);
  const record = nid === undefined ? undefined : loadRecord(reader, nid);
  const what =
    record === undefined ? '' : ` (${[record.type, record.stateKey, record.membership].filter(Boolean).join(' ')})`;
  return `${id.slice(0, 8)}${what} of ${record?.sender}`;
}

/** One line on an event of hs2's timeline, for who looks for a bug. */
export function describe({ hs2 }: Federation, nid: EventNid): string {
  const { store } = hs2;
  const short = (ids: readonly EventId[]) => ids.map((id) => id.slice(0, 8)).join(',');
  const json = bodyOf(store, nid);
  const partial = hs2.decidedWhilePartial.has(nid) ? ' while partial' : '';
  return (
    `${name(store, eventIdOfNid(store, nid))}: ${standing(store, nid)}${partial}, after ${short(referencedIds(json.prev_events))}` +
    ` by ${short(referencedIds(json.auth_events))} ${JSON.stringify(json.content)}`
  );
}
