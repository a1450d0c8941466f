/**
 * Turns an event of ours into a signed one: content hash, then the signature over the redacted form, then its ID.
 * Specification v1.19, server-server API, "Adding hashes and signatures to outgoing events".
 */

import type { EventId } from '../matrix/ids.js';
import type { JsonObject } from '../matrix/json.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import type { SigningKey } from './ed25519.js';
import { eventIdOf, pduForms, referenceHash } from './hash-pdu.js';
import { withSignature } from './sign-json.js';

export interface SignedEvent {
  readonly eventId: EventId;
  readonly json: JsonObject;
}

/** Hashes and signs an event that has neither. Throws CanonicalJsonError. */
export function hashAndSignPdu(rules: RoomVersionRules, event: JsonObject, key: SigningKey): SignedEvent {
  const hashed: JsonObject = { ...event, hashes: { sha256: pduForms(rules, event).contentHash } };
  return addPduSignature(rules, hashed, key);
}

/** Adds our signature to an event that is hashed already, as the server that authorises a restricted join does. */
export function addPduSignature(rules: RoomVersionRules, event: JsonObject, key: SigningKey): SignedEvent {
  const message = Buffer.from(pduForms(rules, event).signedText, 'utf8');
  const signatures = withSignature(event.signatures, key, message);
  const stated = typeof event.event_id === 'string' ? (event.event_id as EventId) : undefined;
  return { eventId: eventIdOf(rules, referenceHash(message), stated), json: { ...event, signatures } };
}
