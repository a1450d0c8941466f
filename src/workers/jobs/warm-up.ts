/**
 * Job: a self-test that also warms the thread up. A small room with real hashes and signatures is made in memory, verified
 * and authorised by the same code as any other; a thread that gets another answer than "all of it is good" must not serve.
 *
 * The first join of a process is what its user waits for, and unoptimised code is slow.
 */

import type { EventId, KeyId, RoomId, ServerName } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { SEED_BYTES, signingKeyOfSeed } from '../../kernel/signatures/ed25519.js';
import { hashAndSignPdu } from '../../kernel/signatures/sign-pdu.js';
import { fillRecordNids } from '../../store/event-record.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import type { ReadTable, ReadTables, TableKey, TableName } from '../../store/tables.js';
import { TABLES } from '../../store/tables.js';
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
const MEMBERS = 60;
const SERVER = 'warm-up.invalid' as ServerName;
const ROOM_ID = `!warm-up:${SERVER}` as RoomId;
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

interface MadeEvent {
  readonly text: string;
  readonly authNids: readonly EventNid[];
}

/** Create, the creator's join, power levels, join rules, and members who join and change their names. */
function makeRoom(context: WorkerContext): { readonly events: readonly MadeEvent[]; readonly publicKey: Buffer } {
  const rules = context.rulesOf(ROOM_VERSION);
  const key = signingKeyOfSeed(SERVER, 'ed25519:1' as KeyId, Buffer.alloc(SEED_BYTES, 7));
  const events: MadeEvent[] = [];
  const ids: EventId[] = [];
  const add = (
    type: string,
    stateKey: string,
    sender: string,
    content: JsonObject,
    auth: readonly number[],
  ): number => {
    const signed = hashAndSignPdu(
      rules,
      {
        type,
        room_id: ROOM_ID,
        sender,
        state_key: stateKey,
        content,
        auth_events: auth.map((n) => ids[n - 1] as EventId),
        prev_events: ids.slice(-1),
        depth: ids.length + 1,
        origin_server_ts: 1_600_000_000_000 + ids.length,
      },
      key,
    );
    ids.push(signed.eventId);
    events.push({ text: JSON.stringify(signed.json), authNids: auth as EventNid[] });
    return ids.length;
  };
  const admin = `@admin:${SERVER}`;
  const create = add('m.room.create', '', admin, { room_version: ROOM_VERSION }, []);
  const adminJoin = add('m.room.member', admin, admin, { membership: 'join' }, [create]);
  const levels = add('m.room.power_levels', '', admin, { users: { [admin]: 100 } }, [create, adminJoin]);
  const rule = add('m.room.join_rules', '', admin, { join_rule: 'public' }, [create, levels, adminJoin]);
  for (let n = 0; n < MEMBERS; n++) {
    const user = `@member${n}:${SERVER}`;
    const content = { avatar_url: `mxc://${SERVER}/${n}`, displayname: `Member ${n}`, membership: 'join' };
    const joined = add('m.room.member', user, user, content, [create, levels, rule]);
    add('m.room.member', user, user, { ...content, displayname: `${n} "renamed" é` }, [create, levels, rule, joined]);
  }
  return { events, publicKey: key.publicKey };
}

export function warmUp(input: WarmUpInput, context: WorkerContext): WarmUpOutput {
  const { events, publicKey } = makeRoom(context);
  const bodies = new Map<TableKey, unknown>(events.map(({ text }, i) => [i + 1, Buffer.from(text)]));
  const records = new Map<TableKey, unknown>();
  const reader = memoryReader(
    new Map([['event_body_by_nid', bodies] as const, ['event_record_by_nid', records] as const]),
  );
  const own = new (class extends WorkerContext {
    override serverKey() {
      return { publicKey, validUntilTs: Number.MAX_SAFE_INTEGER };
    }
  })(reader);
  const nids = Uint32Array.from(events, (_, i) => i + 1);
  for (let round = 0; round < input.rounds; round++) {
    const batch = batchOf(events.map(({ text }) => Buffer.from(text)));
    const verified = verifyPdus(
      {
        roomVersion: ROOM_VERSION,
        roomId: ROOM_ID,
        batch,
        stateOnly: true,
        pushed: true,
        final: true,
        index: undefined,
      },
      own,
    );
    if (verified.signaturesVerified !== events.length) {
      throw new Error(`self-test: ${verified.refusals[0]?.reason ?? 'an event does not verify'}`);
    }
    for (const [i, { authNids }] of events.entries()) {
      const record = Buffer.from(verified.records.slice(verified.recordOffsets[i], verified.recordOffsets[i + 1]));
      fillRecordNids(record, 0, ROOM, authNids);
      records.set(i + 1, record);
    }
    const judged = checkAuthBatch(
      { roomVersion: ROOM_VERSION, roomId: ROOM_ID, roomNid: ROOM, createNid: 1 as EventNid, nids },
      own,
    );
    if (judged.refusals[0] !== undefined) throw new Error(`self-test: ${judged.refusals[0].reason}`);
  }
  return { events: events.length };
}
