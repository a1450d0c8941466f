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
import type { EventId, RoomId } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { verifyInviteSignature } from '../../kernel/signatures/verify-invite-signature.js';
import type { EventRecord } from '../../store/event-record.js';
import { RecordFlag } from '../../store/event-record.js';
import { authEventOf, eventIdOfRecord, loadBody, loadEvent, loadRecord, referencedIds } from '../../store/events.js';
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

/** A stored event as the rules see it; ID and references are made only when asked for. */
class RecordAuthEvent implements AuthEvent {
  readonly #reader: StoreReader;
  readonly #nid: EventNid;
  readonly #record: EventRecord;
  readonly roomId: RoomId;
  readonly content: JsonObject;
  readonly authEventIds: readonly EventId[] = [];
  readonly redacts = undefined;
  readonly rejected = false;

  constructor(reader: StoreReader, nid: EventNid, record: EventRecord, roomId: RoomId) {
    this.#reader = reader;
    this.#nid = nid;
    this.#record = record;
    this.roomId = roomId;
    this.content = { membership: record.membership };
  }
  get eventId(): EventId {
    return eventIdOfRecord(this.#reader, this.#nid, this.#record);
  }
  /** Only the creator's first join is asked for these: read from the body then. */
  get prevEventIds(): readonly EventId[] {
    const body = loadBody(this.#reader, this.#nid);
    return body === undefined ? [] : referencedIds((JSON.parse(body.toString('utf8')) as JsonObject).prev_events);
  }
  get type(): string {
    return this.#record.type;
  }
  get stateKey(): string | undefined {
    return this.#record.stateKey;
  }
  get sender() {
    return this.#record.sender;
  }
  get originServerTs(): number {
    return this.#record.originServerTs;
  }
  get depth(): number {
    return this.#record.depth;
  }
}

export function checkAuthBatch(input: CheckAuthBatchInput, context: WorkerContext): CheckAuthBatchOutput {
  const rules = context.rulesOf(input.roomVersion);
  const { reader } = context;
  const { nids } = input;
  const outcomes = new Uint8Array(nids.length);
  const authOffsets = new Uint32Array(nids.length + 1);
  const authNids: number[] = [];
  const refusals: { number: number; code: string; reason: string }[] = [];

  const view = (nid: EventNid, record: EventRecord): AuthEvent | undefined => {
    const roomId = record.roomNid === input.roomNid ? input.roomId : OTHER_ROOM;
    if ((record.flags & RecordFlag.richContent) === 0) return new RecordAuthEvent(reader, nid, record, roomId);
    return context.authEvent(nid, () => {
      const loaded = loadEvent(reader, rules, nid);
      // Rejections are passed on afterwards: what an earlier judgement said does not count here.
      return loaded === undefined ? undefined : { ...authEventOf(loaded, roomId), rejected: false };
    });
  };
  const viewOf = (nid: EventNid): AuthEvent | undefined => {
    if (nid === NO_EVENT) return undefined;
    const record = loadRecord(reader, nid);
    return record === undefined ? undefined : view(nid, record);
  };

  const create = viewOf(input.createNid);
  for (let i = 0; i < nids.length; i++) {
    const nid = nids[i] as EventNid;
    const record = loadRecord(reader, nid);
    const event = record === undefined ? undefined : view(nid, record);
    if (record === undefined || event === undefined) {
      outcomes[i] = AuthOutcome.noRecord;
      authOffsets[i + 1] = authNids.length;
      continue;
    }
    authNids.push(...record.authNids);
    authOffsets[i + 1] = authNids.length;
    const authEvents: AuthEvent[] = [];
    for (const authNid of record.authNids) {
      const authEvent = viewOf(authNid);
      if (authEvent !== undefined) authEvents.push(authEvent);
    }
    if (authEvents.length < record.authNids.length) {
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
