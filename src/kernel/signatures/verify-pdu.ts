/**
 * Signatures and hashes of one event: the cryptographic part of receiving it. A bad signature drops the event, a bad
 * content hash means that only its redacted form is believed.
 *
 * Pure: keys come through a lookup; a key that the lookup does not have is named in the answer, so that the caller can
 * fetch it and ask again. Specification v1.19, server-server API, "Checks performed on receipt of a PDU", steps 2 and
 * 3, and "Validating hashes and signatures on received events"; rooms/v5.md, "Signing key validity period".
 */

import { CanonicalJsonError } from '../matrix/canonical-json.js';
import { eventKeyOf } from '../matrix/event-key.js';
import type { EventId, KeyId, ServerName } from '../matrix/ids.js';
import { parseUserId, serverNameOf } from '../matrix/ids.js';
import type { JsonObject } from '../matrix/json.js';
import { isJsonObject } from '../matrix/json.js';
import { PDU_BYTES_MAX } from '../matrix/limits.js';
import type { Pdu } from '../matrix/parse-pdu.js';
import { redactContent } from '../matrix/redact.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { verify } from './ed25519.js';
import { contentHashMatches, eventIdOf, pduForms, referenceHash } from './hash-pdu.js';

/** A public key and how long it may be believed. */
export interface VerifyKey {
  /** 32 bytes. */
  readonly publicKey: Buffer;
  /** Milliseconds since 1970; already cut to seven days after it was fetched. For an old key: its `expired_ts`. */
  readonly validUntilTs: number;
}

export type KeyLookup = (server: ServerName, keyId: KeyId) => VerifyKey | undefined;

/** A key that would be needed, and until when it has to be valid (0 where the room version does not ask). */
export interface KeyNeed {
  readonly server: ServerName;
  readonly keyId: KeyId;
  readonly minimumValidUntilTs: number;
}

/** The answer. `eventId` and `eventKey` (32 bytes, see event-key.ts) are undefined only where there is no canonical form. */
export type PduVerification =
  | {
      readonly outcome: 'verified';
      readonly eventId: EventId;
      readonly eventKey: Buffer;
      /** The content does not match its hash: only the redacted form counts. */
      readonly redacted: boolean;
    }
  | {
      readonly outcome: 'stored';
      readonly eventId: EventId;
      readonly eventKey: Buffer;
    }
  | {
      readonly outcome: 'missing-keys';
      readonly eventId: EventId;
      readonly eventKey: Buffer;
      readonly needs: readonly KeyNeed[];
    }
  | {
      readonly outcome: 'dropped';
      readonly eventId: EventId | undefined;
      readonly eventKey: Buffer | undefined;
      readonly code: 'no-signature' | 'bad-signature' | 'no-canonical-form';
      readonly reason: string;
    };

const scratch = Buffer.alloc(PDU_BYTES_MAX * 3 + 1024);

/** Key ID of a policy server's signature (server-server API, "Policy servers"): kept, and never needed here. */
const POLICY_SERVER_KEY_ID = 'ed25519:policy_server';

/**
 * The servers whose signature an event must bear; undefined for a restricted join whose authorising user is no user ID.
 * `content` is what is believed of the event: the redacted content where it does not match its hash, so that nobody
 * makes another's plain invite of an unsigned one by adding a third-party invite that redaction takes away again.
 */
export function requiredSigners(
  rules: RoomVersionRules,
  pdu: Pdu,
  content: JsonObject = pdu.content,
): ServerName[] | undefined {
  const signers: ServerName[] = [];
  const isMember = pdu.type === 'm.room.member';
  const thirdParty = isMember && content.membership === 'invite' && content.third_party_invite !== undefined;
  if (!thirdParty) signers.push(serverNameOf(pdu.sender));
  if (pdu.statedEventId !== undefined) addSigner(signers, serverNameOf(pdu.statedEventId));
  const authorising = content.join_authorised_via_users_server;
  if (rules.restrictedJoins && isMember && content.membership === 'join' && authorising !== undefined) {
    const authoriser = parseUserId(authorising);
    if (authoriser === undefined) return undefined;
    addSigner(signers, serverNameOf(authoriser));
  }
  return signers;
}

function addSigner(signers: ServerName[], server: ServerName | undefined): void {
  if (server !== undefined && !signers.includes(server)) signers.push(server);
}

/** An event with its ID and the bytes its signatures cover, before anything is verified. */
export interface HashedPdu {
  readonly eventId: EventId;
  /** 32 bytes, see event-key.ts. */
  readonly eventKey: Buffer;
  readonly contentMatches: boolean;
  /** Valid until the next event is hashed. */
  readonly message: Buffer;
}

/** Hashes one event. Throws CanonicalJsonError where it has no canonical form. */
export function hashPdu(rules: RoomVersionRules, pdu: Pdu): HashedPdu {
  const forms = pduForms(rules, pdu.hashedJson);
  const message = scratch.subarray(0, scratch.write(forms.signedText, 0, 'utf8'));
  const reference = referenceHash(message);
  const eventId = eventIdOf(rules, reference, pdu.statedEventId);
  const eventKey = rules.eventIdForm === 'base64url' ? reference : eventKeyOf(eventId);
  return { eventId, eventKey, contentMatches: contentHashMatches(pdu.json, forms.contentHash), message };
}

/**
 * Verifies one event. Throws nothing on bad input. `isStored`: whether an event with this key was verified before; only for
 * room versions whose event IDs are hashes.
 */
export function verifyPdu(
  rules: RoomVersionRules,
  pdu: Pdu,
  keys: KeyLookup,
  isStored?: (eventKey: Buffer) => boolean,
): PduVerification {
  let hashed: HashedPdu;
  try {
    hashed = hashPdu(rules, pdu);
  } catch (error) {
    if (!(error instanceof CanonicalJsonError)) throw error;
    return {
      outcome: 'dropped',
      eventId: undefined,
      eventKey: undefined,
      code: 'no-canonical-form',
      reason: error.message,
    };
  }
  const { eventId, eventKey } = hashed;
  if (isStored?.(eventKey) === true) return { outcome: 'stored', eventId, eventKey };
  return verifyHashedPdu(rules, pdu, hashed, keys);
}

/** The signature part of verifyPdu. */
export function verifyHashedPdu(
  rules: RoomVersionRules,
  pdu: Pdu,
  hashed: HashedPdu,
  keys: KeyLookup,
): PduVerification {
  const { eventId, eventKey } = hashed;
  const needs: KeyNeed[] = [];
  const content = hashed.contentMatches ? pdu.content : redactContent(rules.redaction, pdu.type, pdu.content);
  const signers = requiredSigners(rules, pdu, content);
  if (signers === undefined) {
    const reason = 'join_authorised_via_users_server is not a user ID: no server can have signed for it';
    return { outcome: 'dropped', eventId, eventKey, code: 'no-signature', reason };
  }
  for (const signer of signers) {
    const failure = checkSigner(rules, pdu, signer, hashed.message, keys, needs);
    if (failure !== undefined) return { outcome: 'dropped', eventId, eventKey, ...failure };
  }
  if (needs.length > 0) return { outcome: 'missing-keys', eventId, eventKey, needs };
  return { outcome: 'verified', eventId, eventKey, redacted: !hashed.contentMatches };
}

interface SignatureFailure {
  readonly code: 'no-signature' | 'bad-signature';
  readonly reason: string;
}

/**
 * Every signature of `signer` under a key that is known and valid must be good, and one must be. Others are skipped; where
 * there are only those, their keys go to `needs`. Appendices, "Checking for a Signature".
 */
function checkSigner(
  rules: RoomVersionRules,
  pdu: Pdu,
  signer: ServerName,
  message: Buffer,
  keys: KeyLookup,
  needs: KeyNeed[],
): SignatureFailure | undefined {
  const signatures = (pdu.json.signatures as JsonObject)[signer];
  if (!isJsonObject(signatures)) return { code: 'no-signature', reason: `no signature of ${signer}` };
  const missing: KeyNeed[] = [];
  let good = 0;
  for (const keyId in signatures) {
    const signature = signatures[keyId];
    if (!keyId.startsWith('ed25519:') || keyId === POLICY_SERVER_KEY_ID || typeof signature !== 'string') continue;
    const minimumValidUntilTs = rules.enforceKeyValidity ? pdu.originServerTs : 0;
    const key = keys(signer, keyId as KeyId);
    if (key === undefined || key.validUntilTs < minimumValidUntilTs) {
      missing.push({ server: signer, keyId: keyId as KeyId, minimumValidUntilTs });
    } else if (verify(message, signature, key.publicKey)) {
      good += 1;
    } else {
      return { code: 'bad-signature', reason: `the signature of ${signer} with ${keyId} does not verify` };
    }
  }
  if (good > 0) return undefined;
  if (missing.length === 0) return { code: 'no-signature', reason: `no ed25519 signature of ${signer}` };
  needs.push(...missing);
  return undefined;
}
