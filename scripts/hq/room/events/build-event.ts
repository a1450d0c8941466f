/**
 * Makes one event of the rehearsal room as its origin would have: auth_events by the auth events selection, content
 * hash, signature, event ID; and its compact record. Planted damage is done last, as a liar or a broken disk would do it.
 *
 * Specification v1.19, server-server API, "Auth events selection", "Signing events".
 */

import { authEventTypes } from '../../../../src/kernel/event-auth/auth-event-types.js';
import type { EventId, UserId } from '../../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../../src/kernel/matrix/json.js';
import type { RoomVersionRules } from '../../../../src/kernel/matrix/room-versions.js';
import type { SigningKey } from '../../../../src/kernel/signatures/ed25519.js';
import { addPduSignature, hashAndSignPdu } from '../../../../src/kernel/signatures/sign-pdu.js';
import { fillRecordNids, RecordFlag, recordBytesMax, writeRecord } from '../../../../src/store/event-record.js';
import type { EventNid, RoomNid } from '../../../../src/store/nids.js';

/** The rehearsal room in the resident's store, which has no other. */
export const ROOM_NID = 1 as RoomNid;

/** What later events need of one that they refer to. */
export interface EventRef {
  readonly id: EventId;
  readonly nid: number;
  readonly depth: number;
}

/** Damage that a planted event suffers after its origin signed it. */
export type Tampering = 'content' | 'signature';

/** An event still to be made. */
export interface EventPlan {
  readonly nid: number;
  readonly type: string;
  /** Undefined for a message. */
  readonly stateKey: string | undefined;
  readonly sender: string;
  readonly content: JsonObject;
  readonly originServerTs: number;
  readonly prevs: readonly EventRef[];
  readonly tampering?: Tampering | undefined;
}

/** The state before an event, as far as the auth events selection asks for it. */
export type RefLookup = (type: string, stateKey: string) => EventRef | undefined;

export interface BuiltEvent extends EventRef {
  /** 32 bytes. */
  readonly key: Buffer;
  readonly text: string;
  readonly record: Buffer;
}

export interface EventBuilder {
  readonly rules: RoomVersionRules;
  readonly roomNid: RoomNid;
  /** Undefined until the create event is made where its hash is the room ID. */
  readonly roomId: string | undefined;
  readonly keyOf: (server: string) => SigningKey;
}

/** Makes an event. */
export function buildEvent(builder: EventBuilder, plan: EventPlan, state: RefLookup): BuiltEvent {
  const { rules } = builder;
  const { type, stateKey, sender, content, prevs } = plan;
  const selected = authEventTypes(rules, { type, stateKey, sender: sender as UserId, content });
  const authRefs = selected.map(([t, key]) => state(t, key)).filter((ref) => ref !== undefined);
  const depth = 1 + prevs.reduce((deepest, prev) => Math.max(deepest, prev.depth), 0);
  // The order of members in which the reference homeserver writes events.
  const event: JsonObject = {
    auth_events: authRefs.map((ref) => ref.id),
    prev_events: prevs.map((ref) => ref.id),
    type,
    ...(builder.roomId === undefined ? {} : { room_id: builder.roomId }),
    sender,
    ...(stateKey === undefined ? {} : { state_key: stateKey }),
    content,
    depth,
    origin_server_ts: plan.originServerTs,
  };
  const signed = hashAndSignPdu(rules, event, builder.keyOf(serverNameOf(sender as UserId)));
  const text = JSON.stringify(tampered(builder, plan, signed.json));
  const key = Buffer.from(signed.eventId.slice(1), 'base64url');
  return {
    id: signed.eventId,
    nid: plan.nid,
    depth,
    key,
    text,
    record: recordOf(builder.roomNid, plan, text, depth, key, authRefs),
  };
}

function tampered(builder: EventBuilder, plan: EventPlan, json: JsonObject): JsonObject {
  if (plan.tampering === undefined) return json;
  if (plan.tampering === 'content') return { ...json, content: { ...plan.content, displayname: 'changed on the way' } };
  // A well-formed signature under the right name and key ID, made with another key.
  const right = builder.keyOf(serverNameOf(plan.sender as UserId));
  const { secretKey } = builder.keyOf(`not.${right.serverName}`);
  return addPduSignature(builder.rules, { ...json, signatures: {} }, { ...right, secretKey }).json;
}

/** The event with the signature that its origin would have made. */
export function withRightSignature(rules: RoomVersionRules, json: JsonObject, key: SigningKey): JsonObject {
  return addPduSignature(rules, { ...json, signatures: {} }, key).json;
}

function recordOf(
  roomNid: RoomNid,
  plan: EventPlan,
  text: string,
  depth: number,
  key: Buffer,
  authRefs: readonly EventRef[],
): Buffer {
  const isMember = plan.type === 'm.room.member';
  const draft = {
    bodyBytes: Buffer.byteLength(text, 'utf8'),
    depth,
    originServerTs: plan.originServerTs,
    flags: (plan.stateKey === undefined ? 0 : RecordFlag.state) | (isMember ? 0 : RecordFlag.richContent),
    membership: isMember ? plan.content.membership : undefined,
    type: plan.type,
    stateKey: plan.stateKey,
    sender: plan.sender,
    eventKey: key,
    authCount: authRefs.length,
  };
  const record = Buffer.alloc(recordBytesMax(draft));
  const length = writeRecord(record, 0, draft);
  fillRecordNids(
    record,
    0,
    roomNid,
    authRefs.map((ref) => ref.nid as EventNid),
  );
  return record.subarray(0, length);
}
