/**
 * Hashes and verifies an event straight from its bytes: the members that scan-pdu.ts found are put in order, and content
 * hash, reference hash and signature are computed without an object or a string for any of them.
 *
 * Says that an event is good, or that it cannot tell; what is wrong with one is always said by verify-pdu.ts. Specification
 * v1.19, server-server API, "Validating hashes and signatures on received events".
 */

import { hash } from 'node:crypto';
import type { KeyId, ServerName } from '../matrix/ids.js';
import { PDU_BYTES_MAX } from '../matrix/limits.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { SIGNATURE_BYTES, verifyBytes } from '../signatures/ed25519.js';
import type { KeyNeed, VerifyKey } from '../signatures/verify-pdu.js';
import { decodeBase64 } from './decode-base64.js';
import { CLOSE_BRACE, COMMA, OPEN_BRACE } from './scan-canonical.js';
import { isSame, MEMBERS, MemberNumber, PduScan, type ScanOptions } from './scan-pdu.js';

const M = MemberNumber;
const HASH_BYTES = 32;
const SHA256_CHARS = 43;
const SIGNATURE_CHARS = 86;
/** Up to here a loop copies faster than a call. */
const LOOP_BYTES_MAX = 48;

const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');
const MEMBER_TYPE = bytesOf('m.room.member');
const MEMBERSHIP = bytesOf('membership');
/** In the order of their codes in a record, from 1. */
const MEMBERSHIPS = ['"join"', '"invite"', '"leave"', '"ban"', '"knock"'].map(bytesOf);
/** Content of a membership that asks for another signature than the sender's, or that redaction keeps in part. */
const UNUSUAL = ['join_authorised_via_users_server', 'third_party_invite'].map(bytesOf);
const CONTENT_KEY = bytesOf(',"content":');
/** Bytes from the start of a member, its key's quote, to the value. */
const KEY_BYTES = MEMBERS.map((name) => name.length + 3);

export interface SignerLookup {
  /** The thread's key for a signature. `signer`: server name and key ID as they stand in the event, `name":{"ed25519:id`. */
  signerKey(signer: string): VerifyKey | undefined;
}

/** Server name and key ID in a `signer`. */
export function splitSigner(signer: string): readonly [server: string, keyId: string] {
  const at = signer.indexOf('"');
  return [signer.slice(0, at), signer.slice(at + 4)];
}

/** The `signer` of a server's key. */
export function signerOf(server: string, keyId: string): string {
  return `${server}":{"${keyId}`;
}

/** Whether events of a room version can be verified from their bytes: all their IDs are url-safe hashes. */
export function hasBytesPath(rules: RoomVersionRules): boolean {
  return rules.eventIdForm === 'base64url' && rules.eventReferenceForm === 'id';
}

export class PduBytesVerifier {
  readonly scan = new PduScan();
  /** The reference hash of the last good event, 32 bytes. */
  readonly eventKey = Buffer.alloc(HASH_BYTES);
  /** 1 to 5 as in a record for the five memberships, 0 for any other type of event. */
  membershipCode = 0;
  /** The key without which nothing can be said of the last event, where that is why it was not found good. */
  missingKey: KeyNeed | undefined;
  /** Whether the last good event was known to be good already, so that its signature was not verified. */
  isStored = false;
  readonly #enforceKeyValidity: boolean;
  /** Members of `content` that a redaction keeps, by event type. */
  readonly #keptContent: ReadonlyMap<string, readonly Uint8Array[] | 'all'>;
  /** Whether the member's bytes are covered by content hash and signature, by MemberNumber. */
  readonly #isHashed: readonly boolean[];
  readonly #isSigned: readonly boolean[];
  /** Both forms of one event, one after the other; neither is longer than the event. */
  readonly #forms = Buffer.alloc(2 * PDU_BYTES_MAX + 16);
  readonly #signature = Buffer.alloc(SIGNATURE_BYTES);

  constructor(rules: RoomVersionRules) {
    const { contentKeys, topLevelKeys } = rules.redaction;
    this.#enforceKeyValidity = rules.enforceKeyValidity;
    this.#keptContent = new Map(
      [...contentKeys].map(([type, keys]) => [type, keys === 'all' ? keys : keys.map(bytesOf)]),
    );
    const covered = MEMBERS.map((_, n) => n !== M.signatures && n !== M.unsigned);
    this.#isHashed = covered.map((isCovered, n) => isCovered && n !== M.hashes);
    this.#isSigned = covered.map((isCovered, n) => isCovered && topLevelKeys.has(MEMBERS[n] as string));
  }

  /**
   * Whether the event in bytes[start .. end] is good beyond doubt; scan, eventKey and membershipCode then describe it.
   * `isStored`: whether an event with this reference hash was verified before.
   */
  verify(
    bytes: Buffer,
    start: number,
    end: number,
    options: ScanOptions,
    signers: SignerLookup,
    isStored?: (eventKey: Buffer) => boolean,
  ): boolean {
    const { scan } = this;
    this.missingKey = undefined;
    if (!scan.scan(bytes, start, end, options) || !this.#readMembership(bytes)) return false;
    const signer = bytes.toString('latin1', scan.signerStart, scan.keyIdEnd);
    const key = signers.signerKey(signer);
    const minimumValidUntilTs = this.#enforceKeyValidity ? scan.originServerTs : 0;
    if (key === undefined || key.validUntilTs < minimumValidUntilTs) {
      const [server, keyId] = splitSigner(signer);
      this.missingKey = { server: server as ServerName, keyId: keyId as KeyId, minimumValidUntilTs };
      return false;
    }
    const hashedEnd = this.#writeForm(bytes, 0, this.#isHashed, false);
    if (!this.#contentHashIs(bytes, hash('sha256', this.#forms.subarray(0, hashedEnd), 'base64'))) return false;
    const message = this.#forms.subarray(hashedEnd, this.#writeForm(bytes, hashedEnd, this.#isSigned, true));
    this.eventKey.write(hash('sha256', message, 'binary'), 'latin1');
    this.isStored = isStored?.(this.eventKey) ?? false;
    if (this.isStored) return true;
    decodeBase64(bytes, scan.signatureStart, SIGNATURE_CHARS, this.#signature, 0);
    return verifyBytes(message, this.#signature, key.publicKey);
  }

  /** Sets membershipCode; whether the event is one whose only required signature is the sender's. */
  #readMembership(bytes: Buffer): boolean {
    const { starts, ends, contentCount, contentKeyStarts, contentKeyEnds, contentEnds } = this.scan;
    this.membershipCode = 0;
    if (!isSame(bytes, (starts[M.type] as number) + 1, (ends[M.type] as number) - 1, MEMBER_TYPE)) return true;
    for (let n = 0; n < contentCount; n++) {
      const key = contentKeyStarts[n] as number;
      const keyEnd = contentKeyEnds[n] as number;
      for (const name of UNUSUAL) if (isSame(bytes, key, keyEnd, name)) return false;
      if (!isSame(bytes, key, keyEnd, MEMBERSHIP)) continue;
      for (let i = 0; i < MEMBERSHIPS.length; i++) {
        if (isSame(bytes, keyEnd + 2, contentEnds[n] as number, MEMBERSHIPS[i] as Buffer)) this.membershipCode = i + 1;
      }
    }
    return this.membershipCode > 0;
  }

  /** Writes the chosen members in order as one object from `start`; returns where it ends. */
  #writeForm(bytes: Buffer, start: number, isWritten: readonly boolean[], redacted: boolean): number {
    const { scan } = this;
    let at = start;
    for (let n = 0; n < isWritten.length; n++) {
      if (isWritten[n] !== true || scan.ends[n] === 0) continue;
      if (redacted && n === M.content) at = this.#writeRedactedContent(bytes, at);
      else at = this.#write(bytes, (scan.starts[n] as number) - (KEY_BYTES[n] as number), scan.ends[n] as number, at);
    }
    return this.#enclose(start, at);
  }

  #writeRedactedContent(bytes: Buffer, start: number): number {
    const { starts, ends, contentCount, contentKeyStarts, contentKeyEnds, contentEnds } = this.scan;
    const kept = this.#keptContent.get(this.membershipCode > 0 ? 'm.room.member' : this.#type(bytes));
    const forms = this.#forms;
    forms.set(CONTENT_KEY, start);
    const open = start + CONTENT_KEY.length;
    if (kept === 'all') {
      bytes.copy(forms, open, starts[M.content] as number, ends[M.content] as number);
      return open + (ends[M.content] as number) - (starts[M.content] as number);
    }
    let at = open;
    for (let n = 0; kept !== undefined && n < contentCount; n++) {
      const key = contentKeyStarts[n] as number;
      if (isOneOf(bytes, key, contentKeyEnds[n] as number, kept)) {
        at = this.#write(bytes, key - 1, contentEnds[n] as number, at);
      }
    }
    return this.#enclose(open, at);
  }

  /** Writes one member with a comma before it. */
  #write(bytes: Buffer, from: number, end: number, at: number): number {
    const forms = this.#forms;
    forms[at] = COMMA;
    const length = end - from;
    if (length > LOOP_BYTES_MAX) bytes.copy(forms, at + 1, from, end);
    else for (let i = 0; i < length; i++) forms[at + 1 + i] = bytes[from + i] as number;
    return at + 1 + length;
  }

  /** Makes an object of members from `start` to `end`: the first one's comma becomes the brace. */
  #enclose(start: number, end: number): number {
    this.#forms[start] = OPEN_BRACE;
    const close = Math.max(end, start + 1);
    this.#forms[close] = CLOSE_BRACE;
    return close + 1;
  }

  #type(bytes: Buffer): string {
    const { starts, ends } = this.scan;
    return bytes.toString('utf8', (starts[M.type] as number) + 1, (ends[M.type] as number) - 1);
  }

  #contentHashIs(bytes: Buffer, base64: string): boolean {
    const { sha256Start } = this.scan;
    for (let i = 0; i < SHA256_CHARS; i++) if (base64.charCodeAt(i) !== bytes[sha256Start + i]) return false;
    return true;
  }
}

function isOneOf(bytes: Uint8Array, at: number, end: number, names: readonly Uint8Array[]): boolean {
  for (let i = 0; i < names.length; i++) if (isSame(bytes, at, end, names[i] as Uint8Array)) return true;
  return false;
}
