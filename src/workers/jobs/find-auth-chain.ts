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
import { stateNids } from '../../store/state-groups.js';
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
  const records = reader.tables.event_record_by_nid;
  // Ascending, the state and in the end the chain: the order in which bodies lie in the store.
  const state =
    input.stateNids === undefined ? stateNids(reader, input.group) : Uint32Array.from(input.stateNids).sort();
  const visited = new Uint8Array(((reader.tables.meta.get('next_event_nid') as number | undefined) ?? 1) + 1);
  const chain: number[] = [];
  /** Adds an event's auth events to the chain; the bytes that the event itself takes. */
  const visit = (nid: number): number => {
    const record = records.getBinaryFast(nid);
    if (record === undefined) return 0;
    for (const authNid of recordAuthNids(record)) {
      if (authNid === 0 || visited[authNid] === 1) continue;
      visited[authNid] = 1;
      chain.push(authNid);
    }
    return servedBytes(reader, rules, nid as EventNid, record);
  };
  let stateBytes = 0;
  let chainBytes = 0;
  for (const nid of state) stateBytes += visit(nid);
  for (const nid of input.seeds) visit(nid);
  const inState = new Set<number>(input.withoutState ? state : []);
  for (let i = 0; i < chain.length; i++) {
    const nid = chain[i] as number;
    const bytes = visit(nid);
    if (!inState.has(nid)) chainBytes += bytes;
  }
  return {
    stateNids: state,
    stateBytes,
    chainNids: Uint32Array.from(chain.filter((nid) => !inState.has(nid))).sort(),
    chainBytes,
  };
}

/** Bytes of an event as served. Those without a body count 0: they are not served. */
function servedBytes(reader: StoreReader, rules: RoomVersionRules, nid: EventNid, record: Buffer): number {
  const stored = recordBodyBytes(record);
  const redacted = recordIsRedacted(record) || (eventStatus(reader, nid) & StatusBit.redacted) !== 0;
  return redacted ? (servedBody(reader, rules, nid)?.length ?? 0) : stored;
}
