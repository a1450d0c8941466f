/**
 * What every job has at hand in its thread: the store (for reading), room version rules, other servers' keys. Keys are
 * cached as long as the thread lives, within a limit; a key that is missing is asked of the store again each time,
 * because the main thread may have fetched it meanwhile.
 */

import type { AuthEvent } from '../kernel/matrix/auth-event.js';
import type { KeyId, ServerName } from '../kernel/matrix/ids.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import { roomVersionRules } from '../kernel/matrix/room-versions.js';
import type { SignerLookup } from '../kernel/pdu-bytes/verify-pdu-bytes.js';
import { hasBytesPath, PduBytesVerifier, signerOf, splitSigner } from '../kernel/pdu-bytes/verify-pdu-bytes.js';
import type { KeyNeed, VerifyKey } from '../kernel/signatures/verify-pdu.js';
import type { EventNid } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';
import { serverKey } from '../store/server-keys.js';
import { ResolvedRooms } from './resolved-rooms.js';

/** Keys cached in a thread: about 200 bytes each. A renewed `valid_until_ts` is seen when the cache is next emptied. */
const KEYS_CACHED_MAX = 20_000;

/** Parsed events cached in a thread: power levels, join rules, create events; a few KB each. */
const AUTH_EVENTS_CACHED_MAX = 2_000;

export class WorkerContext implements SignerLookup {
  readonly reader: StoreReader;
  readonly resolvedRooms = new ResolvedRooms();
  readonly #authEvents = new Map<EventNid, AuthEvent>();
  readonly #keys = new Map<string, VerifyKey>();
  readonly #signerKeys = new Map<string, VerifyKey>();
  /** By room version. */
  readonly #bytesVerifiers = new Map<string, PduBytesVerifier>();

  constructor(reader: StoreReader) {
    this.reader = reader;
  }

  /** The rules of a version that the main thread has already recognised. */
  rulesOf(version: string): RoomVersionRules {
    const rules = roomVersionRules(version);
    if (rules === undefined) throw new Error(`room version ${version} reached a worker but is not known`);
    return rules;
  }

  /** A key of another server, or undefined when the store has none. */
  serverKey(server: ServerName, keyId: KeyId): VerifyKey | undefined {
    const name = `${server} ${keyId}`;
    const cached = this.#keys.get(name);
    if (cached !== undefined) return cached;
    const stored = serverKey(this.reader, server, keyId);
    if (stored === undefined) return undefined;
    if (this.#keys.size >= KEYS_CACHED_MAX) this.#keys.clear();
    // Own copy: what the store hands out may sit in a larger shared buffer.
    const key: VerifyKey = { publicKey: Buffer.from(stored.publicKey), validUntilTs: stored.validUntilTs };
    this.#keys.set(name, key);
    return key;
  }

  /**
   * A parsed event that other events rest on, as kept by keepAuthEvent. What the auth rules read of an event never changes,
   * a redaction of it included, so that a cached one stays right.
   */
  authEvent(nid: EventNid): AuthEvent | undefined {
    return this.#authEvents.get(nid);
  }

  keepAuthEvent(nid: EventNid, event: AuthEvent): void {
    if (this.#authEvents.size >= AUTH_EVENTS_CACHED_MAX) this.#authEvents.clear();
    this.#authEvents.set(nid, event);
  }

  /** What verifies events of a room version from their bytes; undefined where its events have to be parsed. */
  bytesVerifier(rules: RoomVersionRules): PduBytesVerifier | undefined {
    if (!hasBytesPath(rules)) return undefined;
    let verifier = this.#bytesVerifiers.get(rules.version);
    if (verifier === undefined) {
      verifier = new PduBytesVerifier(rules);
      this.#bytesVerifiers.set(rules.version, verifier);
    }
    return verifier;
  }

  /** serverKey, by name and key ID as they stand together in an event. */
  signerKey(signer: string): VerifyKey | undefined {
    const cached = this.#signerKeys.get(signer);
    if (cached !== undefined) return cached;
    const [server, keyId] = splitSigner(signer);
    const key = this.serverKey(server as ServerName, keyId as KeyId);
    if (key === undefined) return undefined;
    if (this.#signerKeys.size >= KEYS_CACHED_MAX) this.#signerKeys.clear();
    this.#signerKeys.set(signer, key);
    return key;
  }

  /** Forgets keys that were fetched again, so that they are read again. */
  forgetKeys(keys: readonly KeyNeed[]): void {
    for (const { server, keyId } of keys) {
      this.#keys.delete(`${server} ${keyId}`);
      this.#signerKeys.delete(signerOf(server, keyId));
    }
  }
}
