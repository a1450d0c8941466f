/**
 * Job: checks stored events against the contents of their own auth events, in any order and before anything is known about
 * whether those auth events are themselves accepted; judge-events.ts passes rejections on afterwards.
 *
 * Works on compact records: a plain membership never has its body parsed. Specification v1.19, server-server API, "Checks
 * performed on receipt of a PDU", step 4; "Authorization rules".
 */

import { checkAuthEvents } from '../../kernel/event-auth/check-auth-events.js';
import { checkAuthRules } from '../../kernel/event-auth/check-auth-rules.js';
import { stateOfAuthEvents } from '../../kernel/event-auth/state-lookup.js';
import type { AuthEvent } from '../../kernel/matrix/auth-event.js';
import type { EventId, RoomId, UserId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { verifyInviteSignature } from '../../kernel/signatures/verify-invite-signature.js';
import type { PlainMembership } from '../../store/event-record.js';
import { readPlainMembership, recordAuthNids, recordRoomNid } from '../../store/event-record.js';
import { authEventOf, eventIdOfNid, loadBody, loadEvent, loadRecord, referencedIds } from '../../store/events.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import { NO_EVENT } from '../../store/nids.js';
import type { StoreReader } from '../../store/open-store.js';
import type { WorkerContext } from '../worker-context.js';

/** Events in one batch: about 10 ms at 8 us each. */
export const AUTH_BATCH_EVENTS_MAX = 1024;

export interface CheckAuthBatchInput {
  readonly roomVersion: string;
  readonly roomId: RoomId;
  readonly roomNid: RoomNid;
  /** The room's create event; NO_EVENT while it is not known. */
  readonly createNid: EventNid;
  readonly nids: Uint32Array<ArrayBuffer>;
}

export const AuthOutcome = { allowed: 0, refused: 1, authEventMissing: 2, noRecord: 3 } as const;

export interface CheckAuthBatchOutput {
  readonly outcomes: Uint8Array<ArrayBuffer>;
  /** Auth NIDs of event i: authNids[authOffsets[i] .. authOffsets[i + 1]]. */
  readonly authNids: Uint32Array<ArrayBuffer>;
  readonly authOffsets: Uint32Array<ArrayBuffer>;
  readonly refusals: readonly { readonly number: number; readonly code: string; readonly reason: string }[];
}

/** Stands for the room of an event that was stored for another one; no room has this ID. */
const OTHER_ROOM = '' as RoomId;

/** An ordinary membership as the rules see it; what they hardly ever ask for is read when they do. */
class MembershipEvent implements AuthEvent {
  readonly #reader: StoreReader;
  readonly #nid: EventNid;
  readonly roomId: RoomId;
  readonly type = 'm.room.member';
  readonly stateKey: string;
  readonly sender: UserId;
  readonly content: JsonObject;
  readonly authEventIds: readonly EventId[] = [];
  readonly redacts = undefined;
  readonly rejected = false;

  constructor(reader: StoreReader, nid: EventNid, roomId: RoomId, { stateKey, sender, membership }: PlainMembership) {
    this.#reader = reader;
    this.#nid = nid;
    this.roomId = roomId;
    this.stateKey = stateKey;
    this.sender = sender;
    this.content = { membership };
  }
  get eventId(): EventId {
    return eventIdOfNid(this.#reader, this.#nid);
  }
  /** Only the creator's first join is asked for these. */
  get prevEventIds(): readonly EventId[] {
    const body = loadBody(this.#reader, this.#nid);
    return body === undefined ? [] : referencedIds((JSON.parse(body.toString('utf8')) as JsonObject).prev_events);
  }
  get originServerTs(): number {
    return loadRecord(this.#reader, this.#nid)?.originServerTs ?? 0;
  }
  get depth(): number {
    return loadRecord(this.#reader, this.#nid)?.depth ?? 0;
  }
}

/** Stored events as the rules see them, whatever room they were stored for. */
class AuthEventReader {
  readonly #input: CheckAuthBatchInput;
  readonly #context: WorkerContext;
  readonly #rules: RoomVersionRules;

  constructor(input: CheckAuthBatchInput, context: WorkerContext, rules: RoomVersionRules) {
    this.#input = input;
    this.#context = context;
    this.#rules = rules;
  }

  /** The event of a NID, or undefined while only its ID is known. */
  at(nid: EventNid): AuthEvent | undefined {
    if (nid === NO_EVENT) return undefined;
    const cached = this.#context.authEvent(nid);
    if (cached !== undefined) return cached;
    const record = this.#context.reader.tables.event_record_by_nid.getBinaryFast(nid);
    return record === undefined ? undefined : this.of(nid, record);
  }

  /** The same for a record that was read already. */
  of(nid: EventNid, record: Buffer): AuthEvent | undefined {
    const { reader } = this.#context;
    const plain = readPlainMembership(record);
    if (plain !== undefined) return new MembershipEvent(reader, nid, this.#roomIdOf(plain.roomNid), plain);
    const roomNid = recordRoomNid(record);
    const loaded = loadEvent(reader, this.#rules, nid);
    if (loaded === undefined) return undefined;
    // Rejections are passed on afterwards: what an earlier judgement said does not count here.
    const event = { ...authEventOf(loaded, this.#roomIdOf(roomNid)), rejected: false };
    // Kept under its own room's ID only: whoever cites it from another room must not change what it is.
    if (roomNid === this.#input.roomNid) this.#context.keepAuthEvent(nid, event);
    return event;
  }

  #roomIdOf(roomNid: RoomNid): RoomId {
    return roomNid === this.#input.roomNid ? this.#input.roomId : OTHER_ROOM;
  }
}

export function checkAuthBatch(input: CheckAuthBatchInput, context: WorkerContext): CheckAuthBatchOutput {
  const rules = context.rulesOf(input.roomVersion);
  const { nids } = input;
  const outcomes = new Uint8Array(nids.length);
  const authOffsets = new Uint32Array(nids.length + 1);
  const authNids: number[] = [];
  const refusals: { number: number; code: string; reason: string }[] = [];
  const read = new AuthEventReader(input, context, rules);
  const records = context.reader.tables.event_record_by_nid;
  const create = read.at(input.createNid);

  for (let i = 0; i < nids.length; i++) {
    const nid = nids[i] as EventNid;
    const record = records.getBinaryFast(nid);
    const citedNids = record === undefined ? [] : recordAuthNids(record);
    const event = record === undefined ? undefined : read.of(nid, record);
    if (event === undefined) {
      outcomes[i] = AuthOutcome.noRecord;
      authOffsets[i + 1] = authNids.length;
      continue;
    }
    const authEvents: AuthEvent[] = [];
    for (const authNid of citedNids) {
      authNids.push(authNid);
      const authEvent = read.at(authNid as EventNid);
      if (authEvent !== undefined) authEvents.push(authEvent);
    }
    authOffsets[i + 1] = authNids.length;
    if (authEvents.length < citedNids.length) {
      outcomes[i] = AuthOutcome.authEventMissing;
      continue;
    }
    let verdict = checkAuthEvents(rules, event, authEvents);
    if (verdict.allowed) {
      verdict = checkAuthRules(rules, event, stateOfAuthEvents(rules, authEvents, create), { verifyInviteSignature });
    }
    if (!verdict.allowed) {
      outcomes[i] = AuthOutcome.refused;
      refusals.push({ number: i, code: verdict.code, reason: verdict.reason });
    }
  }
  return { outcomes, authNids: Uint32Array.from(authNids), authOffsets, refusals };
}
