/**
 * `https://<hostname>/.well-known/matrix/server`: to whom a server delegates, cached for as long as it says within
 * bounds. Failures are cached too, longer each time. The HTTPS request itself is an argument.
 * Specification v1.19, server-server API, "Resolving server names", step 3.
 */

import { LRUCache } from 'lru-cache';
import type { ServerName } from '../../kernel/matrix/ids.js';
import { parseServerName } from '../../kernel/matrix/ids.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { BackOffPolicy } from '../back-off.js';
import { backOffMs } from '../back-off.js';

/** Largest answer that is read, in bytes: it holds one name. */
export const WELL_KNOWN_BYTES_MAX = 51_200;
/** Redirects followed; more is a loop or a trap. */
export const WELL_KNOWN_REDIRECTS_MAX = 5;
/** Names remembered; a large room has thousands of servers. */
export const WELL_KNOWN_ENTRIES_MAX = 20_000;
/** For an answer without cache headers (the specification's "sensible default"). */
export const WELL_KNOWN_DEFAULT_MS = 24 * 60 * 60 * 1000;
/** Longest time that an answer counts (the specification's recommendation). */
export const WELL_KNOWN_MAX_MS = 48 * 60 * 60 * 1000;
/** Shortest: `no-store` must not mean a lookup for each request. */
export const WELL_KNOWN_MIN_MS = 5 * 60 * 1000;
/** Failures: from two minutes up to the hour that the specification recommends. */
export const WELL_KNOWN_BACK_OFF: BackOffPolicy = { firstMs: 2 * 60 * 1000, maxMs: 60 * 60 * 1000, factor: 2 };

export interface HttpsAnswer {
  readonly status: number;
  readonly cacheControl: string | undefined;
  readonly location: string | undefined;
  readonly body: string;
}

/** One GET without redirects. Rejects where there is no answer, or one larger than `bodyBytesMax`. */
export type HttpsGet = (url: URL, bodyBytesMax: number) => Promise<HttpsAnswer>;

export interface WellKnown {
  /** The name that `hostname` delegates to, or undefined when it delegates to nobody. Never rejects. */
  lookup(hostname: string): Promise<ServerName | undefined>;
}

interface Entry {
  readonly delegate: ServerName | undefined;
  readonly fetchedTs: number;
  readonly expiresTs: number;
  readonly failures: number;
}

type Answer =
  | { readonly ok: true; readonly delegate: ServerName; readonly lifetimeMs: number }
  | { readonly ok: false; readonly temporary: boolean };

/** How long an answer with this Cache-Control header counts, in milliseconds. */
export function cacheLifetimeMs(cacheControl: string | undefined): number {
  const maxAge = /(?:^|[\s,])max-age\s*=\s*"?([0-9]{1,12})/i.exec(cacheControl ?? '')?.[1];
  if (/(?:^|[\s,])no-(?:store|cache)/i.test(cacheControl ?? '')) return WELL_KNOWN_MIN_MS;
  const wished = maxAge === undefined ? WELL_KNOWN_DEFAULT_MS : Number(maxAge) * 1000;
  return Math.min(WELL_KNOWN_MAX_MS, Math.max(WELL_KNOWN_MIN_MS, wished));
}

async function fetchWellKnown(hostname: string, get: HttpsGet): Promise<Answer> {
  let url = new URL(`https://${hostname}/.well-known/matrix/server`);
  for (let redirects = 0; redirects <= WELL_KNOWN_REDIRECTS_MAX; redirects += 1) {
    const answer = await get(url, WELL_KNOWN_BYTES_MAX);
    if (answer.status >= 300 && answer.status < 400 && answer.location !== undefined) {
      url = new URL(answer.location, url);
      if (url.protocol !== 'https:') return { ok: false, temporary: false };
      continue;
    }
    if (answer.status !== 200) return { ok: false, temporary: answer.status >= 500 || answer.status === 429 };
    const body: unknown = JSON.parse(answer.body);
    const delegate = isJsonObject(body) ? parseServerName(body['m.server']) : undefined;
    if (delegate === undefined) return { ok: false, temporary: false };
    return { ok: true, delegate, lifetimeMs: cacheLifetimeMs(answer.cacheControl) };
  }
  return { ok: false, temporary: false };
}

/** A cached lookup; concurrent questions about one name are one request. */
export function createWellKnown(get: HttpsGet, clock: () => number, random: () => number): WellKnown {
  const entries = new LRUCache<string, Entry>({ max: WELL_KNOWN_ENTRIES_MAX });
  const running = new Map<string, Promise<ServerName | undefined>>();

  async function refresh(hostname: string, known: Entry | undefined): Promise<ServerName | undefined> {
    // No answer, or one that is not JSON: the lookup goes on without it, as the specification says.
    const answer = await fetchWellKnown(hostname, get).catch(
      (error: unknown): Answer => ({ ok: false, temporary: !(error instanceof SyntaxError) }),
    );
    const now = clock();
    if (answer.ok) {
      const expiresTs = now + answer.lifetimeMs;
      entries.set(hostname, { delegate: answer.delegate, fetchedTs: now, expiresTs, failures: 0 });
      return answer.delegate;
    }
    const failures = (known?.failures ?? 0) + 1;
    const expiresTs = now + backOffMs(WELL_KNOWN_BACK_OFF, failures, random());
    // A web server that is down for an hour must not move the homeserver: what it said lately still counts.
    const stale = answer.temporary && known !== undefined && now < known.fetchedTs + WELL_KNOWN_MAX_MS;
    const delegate = stale ? known.delegate : undefined;
    entries.set(hostname, { delegate, fetchedTs: stale ? known.fetchedTs : now, expiresTs, failures });
    return delegate;
  }

  return {
    lookup: (hostname) => {
      const known = entries.get(hostname);
      if (known !== undefined && clock() < known.expiresTs) return Promise.resolve(known.delegate);
      const pending = running.get(hostname);
      if (pending !== undefined) return pending;
      const started = refresh(hostname, known).finally(() => running.delete(hostname));
      running.set(hostname, started);
      return started;
    },
  };
}
