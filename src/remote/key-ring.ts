/**
 * The signing keys of other servers: what is stored, and how what is missing is fetched: notaries in batches, then the
 * origins in parallel under one deadline. Verification asks for everything it needs beforehand and never waits on the
 * network for one event.
 *
 * Concurrent requests for one server are one fetch; what could not be had is not asked again for a while. A key that
 * cannot be had is not an error. Specification v1.19, server-server API, "Retrieving server keys".
 */

import type { KeyId, ServerName } from '../kernel/matrix/ids.js';
import type { SigningKey } from '../kernel/signatures/ed25519.js';
import type { KeyNeed } from '../kernel/signatures/verify-pdu.js';
import type { Store } from '../store/open-store.js';
import type { StoredKey } from '../store/server-keys.js';
import { keyResponse, serverKey } from '../store/server-keys.js';
import type { BackOffPolicy } from './back-off.js';
import type { FederationClient } from './federation-client.js';
import { KEY_VALIDITY_MAX_MS } from './keys/check-key-response.js';
import type { KeySources } from './keys/fetch-keys.js';
import { fetchFromNotary, fetchFromOrigin } from './keys/fetch-keys.js';
import { createHolds } from './keys/holds.js';
import { createKeyWriter } from './keys/key-writer.js';
import { runBounded } from './keys/run-bounded.js';
import { RemoteError } from './remote-error.js';
import type { RemoteLog } from './remote-log.js';

/** Servers in one query to a notary: about 0.5 MB of answer, 5 ms to parse. */
export const SERVERS_PER_NOTARY_QUERY_MAX = 500;
/** Queries to one notary at one time: hides its latency, leaves connections for others. */
export const NOTARY_QUERIES_IN_FLIGHT_MAX = 3;
/** Origins asked at one time by one `ensureKeys`. */
export const ORIGINS_IN_FLIGHT_MAX = 20;
/** How long one `ensureKeys` asks origins, in milliseconds: the events of those that have not answered wait no longer. */
export const ORIGINS_DEADLINE_MS = 10_000;
/** Servers being fetched at one time, all callers together; what comes beyond is not fetched. */
export const SERVERS_FETCHING_MAX = 50_000;
/** Failures remembered, of each kind: names come from the wire. */
export const HOLDS_MAX = 50_000;

/** A server or notary that gave no answer. */
const NO_ANSWER_HOLD: BackOffPolicy = { firstMs: 30_000, maxMs: 60 * 60 * 1000, factor: 2 };
/**
 * A server that answered without the key that was needed. Short and not growing: anybody can name a key ID that does not
 * exist, and must not keep us from seeing a server's new key for long.
 */
const NO_KEY_HOLD: BackOffPolicy = { firstMs: 2 * 60 * 1000, maxMs: 2 * 60 * 1000, factor: 1 };

export interface KeyRing {
  /** Stores every key of `needs` that can be had. Rejects only with the signal's reason. */
  ensureKeys(needs: readonly KeyNeed[], signal?: AbortSignal): Promise<void>;
  /** Stores what the notaries have of these servers, all their keys; asks no origin. Rejects only with the signal's reason. */
  prefetch(servers: readonly ServerName[], signal?: AbortSignal): Promise<void>;
  /**
   * Stores what these servers say of their keys, asked themselves; no notary is asked. Those that did not answer lately
   * are not asked again. Rejects only with the signal's reason.
   */
  fetchFromOrigins(servers: readonly ServerName[], signal?: AbortSignal): Promise<void>;
  /** Servers that did not answer, or had no key, are asked again when they are needed; so are all notaries. */
  forgetFailures(servers: Iterable<ServerName>): void;
  /** A stored key, ours included; it may be lapsed or an old one. */
  lookup(server: ServerName, keyId: KeyId): StoredKey | undefined;
  /** A key that is good for a request now, fetched when it is missing. */
  keyForRequest(server: ServerName, keyId: KeyId): Promise<StoredKey | undefined>;
}

export interface KeyRingOptions {
  readonly store: Store;
  readonly client: FederationClient;
  /** Asked in this order. */
  readonly notaries: readonly ServerName[];
  readonly own: SigningKey;
  readonly clock: () => number;
  readonly random?: (() => number) | undefined;
  readonly log?: RemoteLog | undefined;
  readonly originsDeadlineMs?: number | undefined;
}

/** Who is asked, in this order. */
type Sources = 'notaries' | 'notaries, then origins' | 'origins';

/** One server in one fetch: what is wanted of it, and who waits. */
interface Fetching {
  readonly server: ServerName;
  /** Empty: all keys. */
  readonly keyIds: Map<KeyId, number>;
  readonly done: Promise<void>;
  readonly finish: () => void;
}

function fetchingOf(server: ServerName): Fetching {
  let finish = (): void => undefined;
  const done = new Promise<void>((resolve) => {
    finish = resolve;
  });
  return { server, keyIds: new Map(), done, finish };
}

function batchesOf<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

function waitUnlessAborted(promise: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal?.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    promise
      .then(() => resolve(), reject)
      .finally(() => {
        signal?.removeEventListener('abort', onAbort);
      });
  });
}

/** The key ring of a server. */
export function createKeyRing(options: KeyRingOptions): KeyRing {
  const { store, client, own, clock } = options;
  const random = options.random ?? Math.random;
  const log: RemoteLog = options.log ?? { warn: () => undefined, info: () => undefined };
  const notaries = options.notaries.filter((notary) => notary !== own.serverName);
  const deadlineMs = options.originsDeadlineMs ?? ORIGINS_DEADLINE_MS;
  const noAnswer = createHolds(NO_ANSWER_HOLD, HOLDS_MAX, clock, random);
  const noKeyAtNotary = createHolds(NO_KEY_HOLD, HOLDS_MAX, clock, random);
  const noKeyAtOrigin = createHolds(NO_KEY_HOLD, HOLDS_MAX, clock, random);
  const running = new Map<ServerName, Fetching>();
  const sources: KeySources = {
    client,
    writer: createKeyWriter(store),
    clock,
    log,
    notaryKey: (notary, keyId) => {
      const key = serverKey(store, notary, keyId);
      return key === undefined || key.expired || key.validUntilTs < clock() ? undefined : key;
    },
  };

  function satisfied(server: ServerName, keyId: KeyId, minimumValidUntilTs: number): boolean {
    const key = serverKey(store, server, keyId);
    return key !== undefined && key.validUntilTs >= minimumValidUntilTs;
  }

  /** Nothing that could be fetched would satisfy it. */
  function hopeless({ server, minimumValidUntilTs }: KeyNeed): boolean {
    return server === own.serverName || minimumValidUntilTs > clock() + KEY_VALIDITY_MAX_MS;
  }

  /** Whether a response that has not lapsed is stored. */
  function hasAll(server: ServerName): boolean {
    return (keyResponse(store, server)?.validUntilTs ?? 0) > clock();
  }

  function missingOf({ server, keyIds }: Fetching): Map<KeyId, number> {
    return new Map([...keyIds].filter(([keyId, ts]) => !satisfied(server, keyId, ts)));
  }

  async function askOrigin(server: ServerName, signal?: AbortSignal): Promise<void> {
    try {
      const good = await fetchFromOrigin(sources, server, signal);
      if (good) noAnswer.succeeded(server);
      else noAnswer.failed(server);
    } catch (error) {
      if (!(error instanceof RemoteError) && signal?.aborted !== true) throw error;
      noAnswer.failed(server);
    }
  }

  /** Whether the notary's own key is here, fetched from itself where it was not. */
  async function knowsNotary(notary: ServerName): Promise<boolean> {
    if (hasAll(notary)) return true;
    if (noAnswer.held(notary)) return false;
    await askOrigin(notary);
    return hasAll(notary);
  }

  async function askNotary(notary: ServerName, fetchings: readonly Fetching[]): Promise<void> {
    const holdKey = (server: ServerName, keyId: string): string => `${notary} ${server} ${keyId}`;
    const asked: { readonly server: ServerName; readonly keyIds: Map<KeyId, number> }[] = [];
    for (const fetching of fetchings) {
      const { server, keyIds } = fetching;
      const open = [...missingOf(fetching)].filter(([keyId]) => !noKeyAtNotary.held(holdKey(server, keyId)));
      const all = keyIds.size === 0 && !hasAll(server) && !noKeyAtNotary.held(holdKey(server, '*'));
      if (open.length > 0 || all) asked.push({ server, keyIds: new Map(open) });
    }
    if (asked.length === 0 || noAnswer.held(`notary ${notary}`) || !(await knowsNotary(notary))) return;
    await runBounded(batchesOf(asked, SERVERS_PER_NOTARY_QUERY_MAX), NOTARY_QUERIES_IN_FLIGHT_MAX, async (batch) => {
      try {
        await fetchFromNotary(sources, notary, new Map(batch.map(({ server, keyIds }) => [server, keyIds])));
        noAnswer.succeeded(`notary ${notary}`);
      } catch (error) {
        if (!(error instanceof RemoteError)) throw error;
        log.warn({ notary, err: error }, 'a notary does not answer');
        noAnswer.failed(`notary ${notary}`);
        return;
      }
      for (const { server, keyIds } of batch) {
        for (const [keyId, ts] of keyIds) {
          if (!satisfied(server, keyId, ts)) noKeyAtNotary.failed(holdKey(server, keyId));
        }
        if (keyIds.size === 0 && keyResponse(store, server) === undefined) noKeyAtNotary.failed(holdKey(server, '*'));
      }
      store.refresh();
    });
  }

  async function askOrigins(fetchings: readonly Fetching[]): Promise<void> {
    const open = fetchings.filter(({ server }) => !noAnswer.held(server) && !noKeyAtOrigin.held(server));
    if (open.length === 0) return;
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(new Error(`no keys within ${deadlineMs} ms`)), deadlineMs);
    await runBounded(
      open,
      ORIGINS_IN_FLIGHT_MAX,
      async (fetching) => {
        await askOrigin(fetching.server, deadline.signal);
        if (missingOf(fetching).size > 0) noKeyAtOrigin.failed(fetching.server);
        fetching.finish();
      },
      deadline.signal,
    ).finally(() => clearTimeout(timer));
  }

  /** Those that still miss a key; the waiters of the others go on. */
  function finishSatisfied(fetchings: readonly Fetching[]): Fetching[] {
    const left: Fetching[] = [];
    for (const fetching of fetchings) {
      const all = fetching.keyIds.size === 0;
      if (all ? hasAll(fetching.server) : missingOf(fetching).size === 0) fetching.finish();
      else left.push(fetching);
    }
    store.refresh();
    return left;
  }

  async function fetchAll(fetchings: readonly Fetching[], from: Sources): Promise<void> {
    try {
      let left = [...fetchings];
      for (const notary of from === 'origins' ? [] : notaries) {
        if (left.length > 0) await askNotary(notary, left);
        left = finishSatisfied(left);
      }
      if (from !== 'notaries') await askOrigins(left);
    } catch (error) {
      // Only the store can fail here. Its keys stay missing, and whoever writes next meets the same failure.
      log.warn({ err: error }, 'keys could not be fetched');
    } finally {
      for (const fetching of fetchings) {
        if (running.get(fetching.server) === fetching) running.delete(fetching.server);
        fetching.finish();
      }
    }
  }

  /** What others are fetching already is waited for; the rest is fetched. */
  async function runFetch(wanted: ReadonlyMap<ServerName, ReadonlyMap<KeyId, number>>, from: Sources): Promise<void> {
    const mine: Fetching[] = [];
    const theirs: Promise<void>[] = [];
    for (const [server, keyIds] of wanted) {
      const other = running.get(server);
      if (other !== undefined) {
        theirs.push(other.done);
      } else if (running.size < SERVERS_FETCHING_MAX) {
        const fetching = fetchingOf(server);
        for (const [keyId, ts] of keyIds) fetching.keyIds.set(keyId, ts);
        running.set(server, fetching);
        mine.push(fetching);
      }
    }
    if (mine.length > 0) {
      // Keys that others wait for must not depend on one caller, so this goes on without any caller's signal.
      void fetchAll(mine, from);
      theirs.push(...mine.map(({ done }) => done));
    }
    await Promise.all(theirs);
  }

  function missingNeeds(needs: readonly KeyNeed[]): Map<ServerName, Map<KeyId, number>> {
    const wanted = new Map<ServerName, Map<KeyId, number>>();
    for (const need of needs) {
      const { server, keyId, minimumValidUntilTs } = need;
      if (hopeless(need) || satisfied(server, keyId, minimumValidUntilTs)) continue;
      const keyIds = wanted.get(server) ?? new Map<KeyId, number>();
      keyIds.set(keyId, Math.max(keyIds.get(keyId) ?? 0, minimumValidUntilTs));
      wanted.set(server, keyIds);
    }
    store.refresh();
    return wanted;
  }

  async function ensureKeys(needs: readonly KeyNeed[], signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const wanted = missingNeeds(needs);
    if (wanted.size === 0) return;
    const waited = [...wanted.keys()].some((server) => running.has(server));
    await waitUnlessAborted(runFetch(wanted, 'notaries, then origins'), signal);
    if (!waited) return;
    // Another's fetch was of other keys of that server, or of notaries only.
    const left = missingNeeds(needs);
    if (left.size > 0) await waitUnlessAborted(runFetch(left, 'notaries, then origins'), signal);
  }

  return {
    ensureKeys,
    prefetch: async (servers, signal) => {
      signal?.throwIfAborted();
      const wanted = new Map<ServerName, ReadonlyMap<KeyId, number>>();
      for (const server of servers) {
        if (server === own.serverName || hasAll(server)) continue;
        wanted.set(server, new Map());
      }
      store.refresh();
      await waitUnlessAborted(runFetch(wanted, 'notaries'), signal);
    },
    fetchFromOrigins: async (servers, signal) => {
      signal?.throwIfAborted();
      const wanted = new Map(
        servers.filter((server) => server !== own.serverName).map((server) => [server, new Map()]),
      );
      await waitUnlessAborted(runFetch(wanted, 'origins'), signal);
    },
    forgetFailures: (servers) => {
      for (const notary of notaries) {
        noAnswer.succeeded(notary);
        noAnswer.succeeded(`notary ${notary}`);
      }
      for (const server of servers) {
        noAnswer.succeeded(server);
        noKeyAtOrigin.succeeded(server);
      }
    },
    lookup: (server, keyId) => {
      if (server !== own.serverName) return serverKey(store, server, keyId);
      if (keyId !== own.keyId) return undefined;
      return { publicKey: own.publicKey, validUntilTs: Number.MAX_SAFE_INTEGER, expired: false };
    },
    keyForRequest: async (server, keyId) => {
      if (server === own.serverName) return undefined;
      const good = (): StoredKey | undefined => sources.notaryKey(server, keyId);
      const known = good();
      if (known !== undefined || serverKey(store, server, keyId)?.expired === true) return known;
      await ensureKeys([{ server, keyId, minimumValidUntilTs: clock() }]);
      return good();
    },
  };
}
