/**
 * Job: the auth chain of some events, as NIDs, with the number of bytes that serving state and chain takes, so that an
 * answer of 200 MB can state its length before its first byte.
 *
 * Reads auth NIDs straight from the records; the visited set is one byte a NID.
 */

import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { recordAuthNids, recordBodyBytes, recordIsRedacted } from '../../store/event-record.js';
import { eventStatus, StatusBit } from '../../store/event-status.js';
import { servedBody } from '../../store/events.js';
import type { EventNid, StateGroupNid } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import { stateEntries } from '../../store/state-groups.js';
import type { WorkerContext } from '../worker-context.js';

export interface FindAuthChainInput {
  readonly roomVersion: string;
  /** State whose events and chain are wanted; 0 for none. */
  readonly group: StateGroupNid;
  /** Instead of the whole group: only these of its events. */
  readonly stateNids: readonly EventNid[] | undefined;
  /** Further events whose chain is wanted, not part of the state. */
  readonly seeds: readonly EventNid[];
  /** Leave out of the chain what is in the state. */
  readonly withoutState: boolean;
}

export interface FindAuthChainOutput {
  readonly stateNids: Uint32Array<ArrayBuffer>;
  readonly stateBytes: number;
  readonly chainNids: Uint32Array<ArrayBuffer>;
  readonly chainBytes: number;
}

export function findAuthChain(input: FindAuthChainInput, context: WorkerContext): FindAuthChainOutput {
  const { reader } = context;
  const rules = context.rulesOf(input.roomVersion);
  const stateNids: number[] = [];
  if (input.stateNids === undefined) for (const [, nid] of stateEntries(reader, input.group)) stateNids.push(nid);
  else stateNids.push(...input.stateNids);
  const visited = new Uint8Array(((reader.tables.meta.get('next_event_nid') as number | undefined) ?? 1) + 1);
  const toVisit = [...stateNids, ...input.seeds];
  const chain: number[] = [];
  for (let nid = toVisit.pop(); nid !== undefined; nid = toVisit.pop()) {
    const record = reader.tables.event_record_by_nid.getBinaryFast(nid);
    if (record === undefined) continue;
    for (const authNid of recordAuthNids(record)) {
      if (authNid === 0 || visited[authNid] === 1) continue;
      visited[authNid] = 1;
      chain.push(authNid);
      toVisit.push(authNid);
    }
  }
  const inState = new Set(input.withoutState ? stateNids : []);
  // Ascending: the order in which bodies lie in the store, and in which a reader appends them to its own.
  const chainNids = Uint32Array.from(chain.filter((nid) => !inState.has(nid))).sort();
  const sortedState = Uint32Array.from(stateNids).sort();
  return {
    stateNids: sortedState,
    stateBytes: servedBytes(reader, rules, sortedState),
    chainNids,
    chainBytes: servedBytes(reader, rules, chainNids),
  };
}

/** Bytes of the events as served, without separators. Those without a body count 0: they are not served. */
function servedBytes(reader: StoreReader, rules: RoomVersionRules, nids: Uint32Array): number {
  let bytes = 0;
  for (const nid of nids) {
    const record = reader.tables.event_record_by_nid.getBinaryFast(nid);
    if (record === undefined) continue;
    const stored = recordBodyBytes(record);
    const redacted = recordIsRedacted(record) || (eventStatus(reader, nid as EventNid) & StatusBit.redacted) !== 0;
    bytes += redacted ? (servedBody(reader, rules, nid as EventNid)?.length ?? 0) : stored;
  }
  return bytes;
}
