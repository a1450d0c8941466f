/**
 * Finds the members of an event in its bytes, without parsing: where each value is, and that all of it is canonical but
 * for the order of the top level. An event that is unusual in any way is not recognised and is parsed instead.
 *
 * What is recognised passes every check of parse-pdu.ts; the tests compare the two. Room versions 4 and later.
 * Specification v1.19, rooms/v4.md to v12.md, "Event format"; server-server API, "Checks performed on receipt of a PDU".
 */

import { isUtf8 } from 'node:buffer';
import { AUTH_EVENTS_MAX, PDU_BYTES_MAX, PDU_FIELD_BYTES_MAX, PREV_EVENTS_MAX } from '../matrix/limits.js';
import { classOf, HASH_EVENT_ID_BYTES, isHashEventIdAt } from './hash-event-id.js';
import {
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  compareBytes,
  integerEnd,
  NOT_CANONICAL,
  OPEN_BRACE,
  OPEN_BRACKET,
  plainStringEnd,
  QUOTE,
  valueEnd,
} from './scan-canonical.js';

/** The top level, in canonical order; an event with any other member is not recognised. */
export const MEMBERS = [
  'auth_events',
  'content',
  'depth',
  'hashes',
  'origin',
  'origin_server_ts',
  'prev_events',
  'redacts',
  'room_id',
  'sender',
  'signatures',
  'state_key',
  'type',
  'unsigned',
] as const;
export type Member = (typeof MEMBERS)[number];

/** Number of a member in MEMBERS. */
export const MemberNumber = Object.fromEntries(MEMBERS.map((name, i) => [name, i])) as Readonly<Record<Member, number>>;
const M = MemberNumber;

const NAMES = MEMBERS.map((name) => Buffer.from(name, 'latin1'));
/** Members of `content` that are told apart; an event with more is parsed. */
export const CONTENT_MEMBERS_MAX = 64;
/** Unpadded base64 of 32 and of 64 bytes. */
const SHA256_CHARS = 43;
const SIGNATURE_CHARS = 86;
/** Longest server name, see ids.ts. */
const SERVER_NAME_BYTES_MAX = 230;
const PORT_DIGITS_MAX = 5;

const BASE64 = classOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');
const HOST = classOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-');
const DIGIT = classOf('0123456789');

const SHA256_PREFIX = Buffer.from('{"sha256":"', 'latin1');
const ED25519_PREFIX = Buffer.from('ed25519:', 'latin1');

/** What a caller knows of the event before. */
export interface ScanOptions {
  /** The room's ID: an event of another one is not recognised. */
  readonly roomId: Uint8Array;
  /** The limits on prev_events and auth_events apply. */
  readonly pushed: boolean;
}

/** Where everything is in the event last scanned; one object is used for all. Offsets are into `bytes`. */
export class PduScan {
  /** Where the member's value begins and ends, by MemberNumber; 0 when absent. Its key is just before. */
  readonly starts = new Int32Array(MEMBERS.length);
  readonly ends = new Int32Array(MEMBERS.length);
  /** Members of `content` in order: where key (without quotes) and value begin and end. */
  readonly contentKeyStarts = new Int32Array(CONTENT_MEMBERS_MAX);
  readonly contentKeyEnds = new Int32Array(CONTENT_MEMBERS_MAX);
  readonly contentEnds = new Int32Array(CONTENT_MEMBERS_MAX);
  contentCount = 0;
  authCount = 0;
  depth = 0;
  originServerTs = 0;
  /** The sender's server name within the sender. */
  domainStart = 0;
  /** Where the 43 characters of hashes.sha256 begin. */
  sha256Start = 0;
  /** The one signature: its server's name, its key ID, its 86 characters. */
  signerStart = 0;
  keyIdStart = 0;
  keyIdEnd = 0;
  signatureStart = 0;
  /** What to cut out to have the event without `unsigned`: the member and one comma; 0 bytes when there is none. */
  unsignedStart = 0;
  unsignedBytes = 0;

  has(member: number): boolean {
    return this.ends[member] !== 0;
  }

  /** Scans bytes[start .. end]; whether the event is recognised. */
  scan(bytes: Uint8Array, start: number, end: number, options: ScanOptions): boolean {
    if (end - start > PDU_BYTES_MAX || !isUtf8(bytes.subarray(start, end))) return false;
    if (!this.#members(bytes, start, end) || !this.#fields(bytes, options)) return false;
    this.#unsigned(bytes, start);
    return true;
  }

  #unsigned(bytes: Uint8Array, start: number): void {
    this.unsignedBytes = 0;
    if (!this.has(M.unsigned)) return;
    const key = (this.starts[M.unsigned] as number) - '"unsigned":'.length;
    const end = this.ends[M.unsigned] as number;
    const isFirst = key === start + 1;
    this.unsignedStart = isFirst ? key : key - 1;
    this.unsignedBytes = (isFirst && bytes[end] === COMMA ? end + 1 : end) - this.unsignedStart;
  }

  #members(bytes: Uint8Array, start: number, end: number): boolean {
    this.ends.fill(0);
    if (bytes[start] !== OPEN_BRACE) return false;
    for (let i = start + 1; ; i++) {
      if (bytes[i] !== QUOTE) return false;
      const key = i + 1;
      i = plainStringEnd(bytes, key, end);
      if (i === NOT_CANONICAL || bytes[i] !== COLON) return false;
      const member = memberAt(bytes, key, i - 1);
      // Unknown, or there twice.
      if (member < 0 || this.ends[member] !== 0) return false;
      const value = i + 1;
      i = member === M.content ? this.#content(bytes, value, end) : valueEnd(bytes, value, end);
      if (i === NOT_CANONICAL || i >= end) return false;
      this.starts[member] = value;
      this.ends[member] = i;
      if (bytes[i] === CLOSE_BRACE) return i + 1 === end;
      if (bytes[i] !== COMMA) return false;
    }
  }

  /** As objectEnd of scan-canonical.ts, remembering where the members are. */
  #content(bytes: Uint8Array, at: number, end: number): number {
    this.contentCount = 0;
    if (bytes[at] !== OPEN_BRACE) return NOT_CANONICAL;
    if (bytes[at + 1] === CLOSE_BRACE) return at + 2;
    for (let i = at + 1; ; i++) {
      const n = this.contentCount;
      if (n === CONTENT_MEMBERS_MAX || bytes[i] !== QUOTE) return NOT_CANONICAL;
      const key = i + 1;
      i = plainStringEnd(bytes, key, end);
      if (i === NOT_CANONICAL || bytes[i] !== COLON) return NOT_CANONICAL;
      const keyEnd = i - 1;
      if (n > 0) {
        const before = this.contentKeyStarts[n - 1] as number;
        if (compareBytes(bytes, before, this.contentKeyEnds[n - 1] as number, key, keyEnd) >= 0) return NOT_CANONICAL;
      }
      i = valueEnd(bytes, i + 1, end, 2);
      if (i === NOT_CANONICAL || i >= end) return NOT_CANONICAL;
      this.contentKeyStarts[n] = key;
      this.contentKeyEnds[n] = keyEnd;
      this.contentEnds[n] = i;
      this.contentCount = n + 1;
      if (bytes[i] === CLOSE_BRACE) return i + 1;
      if (bytes[i] !== COMMA) return NOT_CANONICAL;
    }
  }

  #fields(bytes: Uint8Array, { roomId, pushed }: ScanOptions): boolean {
    const { starts, ends } = this;
    if (!this.#shortString(bytes, M.type) || !this.#shortString(bytes, M.sender)) return false;
    if (this.has(M.state_key) && !this.#shortString(bytes, M.state_key)) return false;
    if (!this.has(M.room_id) || !this.#shortString(bytes, M.room_id)) return false;
    if (!isSame(bytes, (starts[M.room_id] as number) + 1, (ends[M.room_id] as number) - 1, roomId)) return false;
    if (!this.has(M.content) || !this.#sender(bytes)) return false;
    this.depth = this.#naturalNumber(bytes, M.depth);
    this.originServerTs = this.#naturalNumber(bytes, M.origin_server_ts);
    if (this.depth < 0 || this.originServerTs < 0) return false;
    this.authCount = this.#eventIds(bytes, M.auth_events, pushed ? AUTH_EVENTS_MAX : PDU_BYTES_MAX);
    if (this.authCount < 0) return false;
    if (this.#eventIds(bytes, M.prev_events, pushed ? PREV_EVENTS_MAX : PDU_BYTES_MAX) < 0) return false;
    return this.#hashes(bytes) && this.#signature(bytes);
  }

  /** A string of at most 255 bytes without escapes; its quotes are at both ends of the value. */
  #shortString(bytes: Uint8Array, member: number): boolean {
    const start = this.starts[member] as number;
    const end = this.ends[member] as number;
    if (end === 0 || bytes[start] !== QUOTE || end - start - 2 > PDU_FIELD_BYTES_MAX) return false;
    return plainStringEnd(bytes, start + 1, end) === end;
  }

  /** `@localpart:host` or `@localpart:host:port`; address literals are left to ids.ts. */
  #sender(bytes: Uint8Array): boolean {
    const end = (this.ends[M.sender] as number) - 1;
    let i = (this.starts[M.sender] as number) + 1;
    if (bytes[i] !== 0x40) return false;
    while (i < end && bytes[i] !== COLON) i += 1;
    const domain = i + 1;
    i = domain;
    while (i < end && HOST[bytes[i] as number] === 1) i += 1;
    if (i === domain || end - domain > SERVER_NAME_BYTES_MAX) return false;
    this.domainStart = domain;
    if (i === end) return true;
    const port = i + 1;
    if (bytes[i] !== COLON || port === end || end - port > PORT_DIGITS_MAX) return false;
    for (i = port; i < end; i++) if (DIGIT[bytes[i] as number] === 0) return false;
    return true;
  }

  /** The value of an integer that is not negative, or -1. */
  #naturalNumber(bytes: Uint8Array, member: number): number {
    const start = this.starts[member] as number;
    const end = this.ends[member] as number;
    if (end === 0 || integerEnd(bytes, start, end) !== end) return -1;
    let value = 0;
    for (let i = start; i < end; i++) {
      const digit = (bytes[i] as number) - 0x30;
      if (digit < 0) return -1;
      value = value * 10 + digit;
    }
    return value;
  }

  /** How many IDs a list of hash event IDs has, or -1. ID n begins at its start + 2 + n * EVENT_ID_STRIDE. */
  #eventIds(bytes: Uint8Array, member: number, most: number): number {
    const start = this.starts[member] as number;
    const end = this.ends[member] as number;
    if (end === 0 || bytes[start] !== OPEN_BRACKET) return -1;
    if (end - start === 2) return 0;
    const count = (end - start - 1) / EVENT_ID_STRIDE;
    if (!Number.isInteger(count) || count > most) return -1;
    for (let n = 0; n < count; n++) {
      const at = start + 1 + n * EVENT_ID_STRIDE;
      const after = at + 1 + HASH_EVENT_ID_BYTES;
      if (bytes[at] !== QUOTE || !isHashEventIdAt(bytes, at + 1) || bytes[after] !== QUOTE) return -1;
      if (bytes[after + 1] !== (n === count - 1 ? CLOSE_BRACKET : COMMA)) return -1;
    }
    return count;
  }

  /** `{"sha256":"..."}` and nothing else. */
  #hashes(bytes: Uint8Array): boolean {
    const start = this.starts[M.hashes] as number;
    const end = this.ends[M.hashes] as number;
    if (end - start !== SHA256_PREFIX.length + SHA256_CHARS + 2) return false;
    this.sha256Start = start + SHA256_PREFIX.length;
    return startsWith(bytes, start, SHA256_PREFIX);
  }

  /** `{"server":{"ed25519:id":"..."}}`: one signature, by the sender's server. */
  #signature(bytes: Uint8Array): boolean {
    const start = this.starts[M.signatures] as number;
    const end = this.ends[M.signatures] as number;
    const domainBytes = (this.ends[M.sender] as number) - 1 - this.domainStart;
    const server = start + 2;
    const keyId = server + domainBytes + 4;
    if (end === 0 || keyId + ED25519_PREFIX.length > end || bytes[start] !== OPEN_BRACE) return false;
    if (compareBytes(bytes, server, server + domainBytes, this.domainStart, this.domainStart + domainBytes) !== 0) {
      return false;
    }
    // The walk has been here: after the name come its quote, a colon, and a value; an object with a key is what is meant.
    if (bytes[keyId - 4] !== QUOTE || bytes[keyId - 2] !== OPEN_BRACE || bytes[keyId - 1] !== QUOTE) return false;
    if (!startsWith(bytes, keyId, ED25519_PREFIX)) return false;
    const keyIdEnd = plainStringEnd(bytes, keyId, end) - 1;
    const signature = keyIdEnd + 3;
    if (keyIdEnd < 0 || bytes[signature - 1] !== QUOTE || signature + SIGNATURE_CHARS + 3 !== end) return false;
    if (bytes[end - 3] !== QUOTE || bytes[end - 2] !== CLOSE_BRACE) return false;
    for (let i = 0; i < SIGNATURE_CHARS; i++) if (BASE64[bytes[signature + i] as number] === 0) return false;
    this.signerStart = server;
    this.keyIdStart = keyId;
    this.keyIdEnd = keyIdEnd;
    this.signatureStart = signature;
    return true;
  }
}

/** From one event ID in a list to the next: the ID, two quotes and a comma. */
export const EVENT_ID_STRIDE = HASH_EVENT_ID_BYTES + 3;

function memberAt(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at] as number;
  for (let n = 0; n < NAMES.length; n++) {
    const name = NAMES[n] as Uint8Array;
    if (name[0] === first && name.length === end - at && startsWith(bytes, at, name)) return n;
  }
  return -1;
}

/** Whether `expected` stands at `at`. */
export function startsWith(bytes: Uint8Array, at: number, expected: Uint8Array): boolean {
  for (let i = 0; i < expected.length; i++) if (bytes[at + i] !== expected[i]) return false;
  return true;
}

/** Whether bytes[at .. end] are `expected`. */
export function isSame(bytes: Uint8Array, at: number, end: number, expected: Uint8Array): boolean {
  return end - at === expected.length && startsWith(bytes, at, expected);
}
