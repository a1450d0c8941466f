/**
 * One line of a file to the report on its PDU: format, content hash, and every signature there is. All of it is the kernel's
 * judgement; what is decided here is only what makes a PDU bad.
 *
 * From the user: room version and keys. From wherever the file comes: every byte. Specification v1.19, server-server API,
 * "Checks performed on receipt of a PDU", steps 1 to 3; rooms/v5.md, "Signing key validity period".
 */

import { isUtf8 } from 'node:buffer';
import { CanonicalJsonError } from '../../kernel/matrix/canonical-json.js';
import { eventIdOfHash } from '../../kernel/matrix/event-key.js';
import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { Pdu } from '../../kernel/matrix/parse-pdu.js';
import { parsePdu } from '../../kernel/matrix/parse-pdu.js';
import { redactContent } from '../../kernel/matrix/redact.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { hasBytesPath, PduBytesVerifier, splitSigner } from '../../kernel/pdu-bytes/verify-pdu-bytes.js';
import { verify } from '../../kernel/signatures/ed25519.js';
import type { VerifyKey } from '../../kernel/signatures/verify-pdu.js';
import { hashPdu, requiredSigners } from '../../kernel/signatures/verify-pdu.js';
import { LINE_BYTES_MAX } from './line-batches.js';

/** Keys by server name, then key ID. */
export type KeysByServer = ReadonlyMap<string, ReadonlyMap<string, VerifyKey>>;

export type SignatureResult = 'ok' | 'bad' | 'unknown_key' | 'expired_key';

/** What is printed of a PDU, member by member. */
export interface PduReport {
  readonly event_id: string | null;
  readonly format: string;
  readonly content_hash: 'ok' | 'mismatch' | 'missing' | null;
  readonly signatures: readonly {
    readonly server: string;
    readonly key_id: string;
    readonly result: SignatureResult;
  }[];
  /** Servers that had to sign and did not; absent when there are none. */
  readonly missing_signatures?: readonly string[];
  readonly redacted: boolean;
  /** Where the format is not ok: the line in the file, and what is wrong. */
  readonly line?: number;
  readonly reason?: string;
}

export interface Inspection {
  readonly report: PduReport;
  readonly good: boolean;
}

/** Both limits of pushed events apply: a file is judged as if each event were sent to us today. */
const PUSHED = { pushed: true };

export class PduInspector {
  readonly #rules: RoomVersionRules;
  readonly #keys: KeysByServer | undefined;
  readonly #bytesVerifier: PduBytesVerifier | undefined;
  /** Of the event before: most files are of one room, and the quick way wants to know which. */
  #roomId: Buffer = Buffer.alloc(0);

  /** Without keys no signature is judged, and none makes a PDU bad. */
  constructor(rules: RoomVersionRules, keys: KeysByServer | undefined) {
    this.#rules = rules;
    this.#keys = keys;
    this.#bytesVerifier = keys !== undefined && hasBytesPath(rules) ? new PduBytesVerifier(rules) : undefined;
  }

  /** The report on the line in bytes[start .. end]; undefined for one of white space. Throws nothing on bad input. */
  inspect(bytes: Buffer, start: number, end: number, line: number): Inspection | undefined {
    return this.#inspectQuickly(bytes, start, end) ?? this.#inspectByParsing(bytes.subarray(start, end), line);
  }

  /** Says only that a PDU is good, or nothing: the kernel's quick way knows events with the one signature they need. */
  #inspectQuickly(bytes: Buffer, start: number, end: number): Inspection | undefined {
    const verifier = this.#bytesVerifier;
    let signer = '';
    const options = { roomId: this.#roomId, pushed: true };
    const signers = {
      signerKey: (name: string) => {
        signer = name;
        const [server, keyId] = splitSigner(name);
        return this.#keys?.get(server)?.get(keyId);
      },
    };
    const isGood = verifier?.verify(bytes, start, end, options, signers);
    if (verifier === undefined || isGood !== true) return undefined;
    const [server, key_id] = splitSigner(signer);
    return {
      good: true,
      report: {
        event_id: eventIdOfHash(verifier.eventKey),
        format: 'ok',
        content_hash: 'ok',
        signatures: [{ server, key_id, result: 'ok' }],
        redacted: false,
      },
    };
  }

  #inspectByParsing(bytes: Buffer, line: number): Inspection | undefined {
    if (bytes.length > LINE_BYTES_MAX) return malformed(line, 'line-too-long', `longer than ${LINE_BYTES_MAX} bytes`);
    if (!isUtf8(bytes)) return malformed(line, 'not-utf-8', 'not UTF-8');
    const text = bytes.toString('utf8');
    if (text.trim() === '') return undefined;
    const parsed = parsePdu(this.#rules, text, PUSHED);
    if (!parsed.ok) return malformed(line, parsed.code, parsed.reason);
    try {
      return this.#inspectPdu(parsed.pdu);
    } catch (error) {
      if (!(error instanceof CanonicalJsonError)) throw error;
      return malformed(line, error.code, error.message);
    }
  }

  #inspectPdu(pdu: Pdu): Inspection {
    if (pdu.roomId !== undefined) this.#roomId = Buffer.from(pdu.roomId, 'utf8');
    const { eventId, contentMatches, message } = hashPdu(this.#rules, pdu);
    const signatures = this.#checkSignatures(pdu, message);
    const content = contentMatches ? pdu.content : redactContent(this.#rules.redaction, pdu.type, pdu.content);
    const required = requiredSigners(this.#rules, pdu, content);
    const missing = (required ?? []).filter((server) => !signatures.some((signature) => signature.server === server));
    const contentHash = contentMatches ? 'ok' : statesHash(pdu.json) ? 'mismatch' : 'missing';
    const isSignedBy = (server: string) => {
      const results = signatures.filter((signature) => signature.server === server).map(({ result }) => result);
      return results.includes('ok') && !results.includes('bad');
    };
    const isSigned = this.#keys === undefined || required?.every(isSignedBy) === true;
    return {
      good: contentMatches && isSigned,
      report: {
        event_id: eventId,
        format: 'ok',
        content_hash: contentHash,
        signatures,
        ...(missing.length > 0 ? { missing_signatures: missing } : {}),
        redacted: !contentMatches,
      },
    };
  }

  #checkSignatures(pdu: Pdu, message: Buffer): PduReport['signatures'] {
    const results: PduReport['signatures'][number][] = [];
    for (const [server, signatures] of Object.entries(pdu.json.signatures as JsonObject)) {
      for (const [key_id, signature] of Object.entries(signatures as JsonObject)) {
        const key = this.#keys?.get(server)?.get(key_id);
        results.push({ server, key_id, result: this.#checkSignature(pdu, message, signature, key) });
      }
    }
    return results;
  }

  #checkSignature(
    pdu: Pdu,
    message: Buffer,
    signature: JsonValue | undefined,
    key: VerifyKey | undefined,
  ): SignatureResult {
    if (key === undefined) return 'unknown_key';
    if (this.#rules.enforceKeyValidity && key.validUntilTs < pdu.originServerTs) return 'expired_key';
    return typeof signature === 'string' && verify(message, signature, key.publicKey) ? 'ok' : 'bad';
  }
}

function statesHash(json: JsonObject): boolean {
  return isJsonObject(json.hashes) && typeof json.hashes.sha256 === 'string';
}

function malformed(line: number, format: string, reason: string): Inspection {
  return {
    good: false,
    report: { event_id: null, format, content_hash: null, signatures: [], redacted: false, line, reason },
  };
}
