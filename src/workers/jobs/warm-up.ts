/**
 * Job: a self-test that also warms the thread up. A small room with real hashes and signatures is made in memory, verified
 * and authorised by the same code as any other; a thread that gets another answer than "all of it is good" must not serve.
 *
 * The first join of a process is what its user waits for, and unoptimised code is slow.
 */

import { eventKeyOf } from '../../kernel/matrix/event-key.js';
import type { ServerName } from '../../kernel/matrix/ids.js';
import { fillRecordNids } from '../../store/event-record.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import type { ReadTable, ReadTables, TableKey, TableName } from '../../store/tables.js';
import { TABLES } from '../../store/tables.js';
import { EventIndexBuilder } from '../event-index.js';
import { MADE_UP_ROOM, makeUpRoom } from '../made-up-room.js';
import { batchOf } from '../pdu-batch.js';
import { WorkerContext } from '../worker-context.js';
import { checkAuthBatch } from './check-auth-batch.js';
import { verifyPdus } from './verify-pdus.js';

export interface WarmUpInput {
  /** Times that the room is verified and authorised. */
  readonly rounds: number;
}

export interface WarmUpOutput {
  readonly events: number;
}

const ROOM_VERSION = '11';
const MEMBERS = 48;
const POWER_LEVEL_CHANGES = 16;
const ROOM = 1 as RoomNid;

/** A store that is a map: no file is touched. */
function memoryReader(rows: ReadonlyMap<TableName, ReadonlyMap<TableKey, unknown>>): StoreReader {
  const tables: Partial<Record<TableName, ReadTable>> = {};
  for (const name of Object.keys(TABLES) as TableName[]) {
    const table = rows.get(name) ?? new Map<TableKey, unknown>();
    tables[name] = {
      get: (key) => table.get(key),
      getBinaryFast: (key) => table.get(key) as Buffer | undefined,
      has: (key) => table.has(key),
      getRange: () => [],
      getKeys: () => [],
    };
  }
  return { tables: tables as ReadTables };
}

export function warmUp(input: WarmUpInput, context: WorkerContext): WarmUpOutput {
  const rules = context.rulesOf(ROOM_VERSION);
  const { events, keys } = makeUpRoom(rules, MEMBERS, POWER_LEVEL_CHANGES);
  const bodies = new Map<TableKey, unknown>(events.map(({ text }, i) => [i + 1, Buffer.from(text)]));
  const records = new Map<TableKey, unknown>();
  const reader = memoryReader(
    new Map([['event_body_by_nid', bodies] as const, ['event_record_by_nid', records] as const]),
  );
  const publicKeys = new Map(keys.map(({ serverName, publicKey }) => [serverName, publicKey]));
  const own = new (class extends WorkerContext {
    override serverKey(server: ServerName) {
      const publicKey = publicKeys.get(server);
      return publicKey === undefined ? undefined : { publicKey, validUntilTs: Number.MAX_SAFE_INTEGER };
    }
  })(reader);
  const nids = Uint32Array.from(events, (_, i) => i + 1);
  const builder = new EventIndexBuilder(1);
  for (const { eventId } of events) builder.add(eventKeyOf(eventId));
  const listed = builder.finish();
  listed.nids.set(nids);
  for (let round = 0; round < input.rounds; round++) {
    // As in a join, without an index, and as in a resync, with one.
    const index = round % 2 === 0 ? undefined : listed;
    const batch = batchOf(events.map(({ text }) => Buffer.from(text)));
    const demands = { roomId: MADE_UP_ROOM, stateOnly: true, pushed: false, final: false };
    const verified = verifyPdus({ roomVersion: ROOM_VERSION, batch, index, ...demands }, own);
    if (verified.signaturesVerified !== events.length) {
      throw new Error(`self-test: ${verified.refusals[0]?.reason ?? 'an event does not verify'}`);
    }
    for (const [i, { auth }] of events.entries()) {
      const record = Buffer.from(verified.records.slice(verified.recordOffsets[i], verified.recordOffsets[i + 1]));
      fillRecordNids(record, 0, ROOM, auth.map((n) => n + 1) as EventNid[]);
      records.set(i + 1, record);
    }
    const judged = checkAuthBatch(
      { roomVersion: ROOM_VERSION, roomId: MADE_UP_ROOM, roomNid: ROOM, createNid: 1 as EventNid, nids },
      own,
    );
    if (judged.refusals[0] !== undefined) throw new Error(`self-test: ${judged.refusals[0].reason}`);
  }
  return { events: events.length };
}
