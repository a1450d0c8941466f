/**
 * Rule 5.4.1: an invite that redeems an `m.room.third_party_invite`, by a signature of the identity server.
 *
 * The signature check is an argument, so that this stays free of cryptography. Tokens, keys and signatures all come from
 * the wire. Specification v1.19, rooms/v12, "Authorization rules", rule 5.4.1 (v8-v11: 4.4.1; v6, v7: 4.3.1; v1-v5: 5.3.1).
 */

import type { AuthEvent } from '../../matrix/auth-event.js';
import { isJsonObject, type JsonObject } from '../../matrix/json.js';
import { ALLOWED, type AuthVerdict, refused } from '../auth-verdict.js';
import { membershipOf, type StateLookup } from '../state-lookup.js';

/**
 * Whether the ed25519 signature (base64, as on the wire) over the canonical JSON of `signed` without its `signatures`
 * and `unsigned` is that of the public key (unpadded base64, either alphabet). Malformed input is false, never thrown.
 */
export type VerifyInviteSignature = (publicKeyBase64: string, signatureBase64: string, signed: JsonObject) => boolean;

/**
 * Most pairs of a signature and a public key that one invite may make us try: 1,000 are 0.1 s of CPU. An event of
 * 65,536 bytes has room for 600 signatures and its counterpart for 1,000 keys, which would be a minute.
 */
export const INVITE_SIGNATURE_TRIES_MAX = 1_000;

/** Checks an invite of `target` with a `third_party_invite` property. */
export function checkThirdPartyInvite(
  event: AuthEvent,
  target: string,
  state: StateLookup,
  verifySignature: VerifyInviteSignature | undefined,
): AuthVerdict {
  // 1. If target user is banned, reject.
  if (membershipOf(state, target) === 'ban') return refused('third-party-invite-target-banned');
  // 2. If content.third_party_invite does not have a signed property, reject.
  const thirdPartyInvite = event.content.third_party_invite;
  const signed = isJsonObject(thirdPartyInvite) ? thirdPartyInvite.signed : undefined;
  if (signed === undefined) return refused('third-party-invite-no-signed');
  // 3. If signed does not have mxid and token properties, reject.
  if (!isJsonObject(signed)) return refused('third-party-invite-signed-malformed');
  const { mxid, token } = signed;
  if (typeof mxid !== 'string' || typeof token !== 'string') return refused('third-party-invite-signed-malformed');
  // 4. If mxid does not match state_key, reject.
  if (mxid !== target) return refused('third-party-invite-mxid-mismatch');
  // 5. If there is no m.room.third_party_invite event in the current room state with state_key matching token, reject.
  const invitation = state('m.room.third_party_invite', token);
  if (invitation === undefined) return refused('third-party-invite-unknown-token');
  // 6. If sender does not match sender of the m.room.third_party_invite, reject.
  if (invitation.sender !== event.sender) return refused('third-party-invite-sender-mismatch');
  // 7. If any signature in signed matches any public key in the m.room.third_party_invite event, allow.
  if (verifySignature === undefined) return refused('third-party-invite-unverifiable');
  const signatures = signaturesOf(signed);
  const publicKeys = publicKeysOf(invitation);
  if (signatures.length * publicKeys.length > INVITE_SIGNATURE_TRIES_MAX) {
    return refused('third-party-invite-too-many-signatures');
  }
  for (const publicKey of publicKeys) {
    for (const signature of signatures) if (verifySignature(publicKey, signature, signed)) return ALLOWED;
  }
  // 8. Otherwise, reject.
  return refused('third-party-invite-bad-signature');
}

/** Every ed25519 signature of `signed.signatures`, whichever server it names. */
function signaturesOf(signed: JsonObject): readonly string[] {
  const byServer = signed.signatures;
  const found = new Set<string>();
  if (!isJsonObject(byServer)) return [];
  for (const byKeyId of Object.values(byServer)) {
    if (!isJsonObject(byKeyId)) continue;
    for (const [keyId, signature] of Object.entries(byKeyId)) {
      if (keyId.startsWith('ed25519:') && typeof signature === 'string') found.add(signature);
    }
  }
  return [...found];
}

/** "A single public key in the public_key property" and "a list of public keys in the public_keys property". */
function publicKeysOf(invitation: AuthEvent): readonly string[] {
  const found = new Set<string>();
  const single = invitation.content.public_key;
  if (typeof single === 'string') found.add(single);
  const list = invitation.content.public_keys;
  for (const entry of Array.isArray(list) ? list : []) {
    const publicKey = isJsonObject(entry) ? entry.public_key : undefined;
    if (typeof publicKey === 'string') found.add(publicKey);
  }
  return [...found];
}
