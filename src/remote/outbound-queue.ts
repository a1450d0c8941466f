/**
 * Sends our events to other servers: what `queueEvent` stored, in order, one transaction in flight for each destination,
 * until the other side has taken it. Queue and back-off are in the store, so a restart forgets nothing.
 *
 * A destination that is down delays nobody: retries have places of their own, and a transaction that is not answered
 * promptly gives its place up. Specification v1.19, server-server API, "Transactions".
 */

import { LRUCache } from 'lru-cache';
import type { ServerName } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { TRANSACTION_PDUS_MAX } from '../kernel/matrix/limits.js';
import type { EventNid } from '../store/nids.js';
import type { Store } from '../store/open-store.js';
import type { DestinationRow, QueuedEvent } from '../store/transactions.js';
import { loadDestination, queuedDestinations, queuedEvents } from '../store/transactions.js';
import { DESTINATION_BACK_OFF, nextTryTs } from './back-off.js';
import type { FederationClient } from './federation-client.js';
import type { Transaction, TransactionOutcome } from './outbound/send-transaction.js';
import { sendTransaction, transactionIdOf } from './outbound/send-transaction.js';
import { createSettlements } from './outbound/settlements.js';
import type { RemoteError } from './remote-error.js';
import type { RemoteLog } from './remote-log.js';

/** Destinations sent to at one time: bounds sockets, handshakes and what the main thread signs in one stretch. */
export const DESTINATIONS_IN_FLIGHT_MAX = 32;
/** After this wait for an answer a destination is slow and gives its place to the next, in milliseconds. */
export const SLOW_DESTINATION_MS = 1_000;
/** Slow destinations and retries in flight besides; a wait costs a socket and a few KB, no CPU. */
export const SLOW_DESTINATIONS_IN_FLIGHT_MAX = 224;
/** Events kept for one destination; beyond, the oldest are dropped: who was away that long fetches what it misses. */
export const QUEUED_EVENTS_PER_DESTINATION_MAX = 10_000;
/** Events dropped in one write when a queue is too long. */
export const DROPPED_EVENTS_PER_WRITE_MAX = 1_000;
/** How often due retries are looked for, in milliseconds. */
export const RETRY_TICK_MS = 1_000;
/** At start the queued destinations are spread over this time each, and all together over at most START_SPREAD_MAX_MS. */
export const START_SPREAD_MS = 10;
export const START_SPREAD_MAX_MS = 30_000;
/** Least wait between a failure and a try because the other side called: it may call often and never answer. */
export const CALLED_RETRY_MIN_MS = 5_000;
/** How often one event alone is refused as bad (400, 413) before it is dropped, so that it does not hold up all later ones. */
export const BAD_EVENT_TRIES_MAX = 5;
/** Wait after the store has failed, in milliseconds. */
export const STORE_FAILURE_WAIT_MS = 60_000;
/** PDUs kept between destinations (at most 65,536 bytes each): one message goes to thousands of servers. */
const PDU_CACHE_ENTRIES_MAX = 200;
/** No longer than a burst lasts: an event may be redacted meanwhile. */
const PDU_CACHE_MS = 10_000;
/** Destinations whose refusals are counted; forgetting one means more tries. */
const REFUSALS_ENTRIES_MAX = 10_000;

export interface OutboundQueue {
  /** Sends what was queued for these destinations. Those that back off wait for their next try. */
  wake(destinations: Iterable<ServerName>): void;
  /** A server called us, so it is up: its back-off ends. Cheap; for each authenticated request. */
  otherSideCalled(server: ServerName): void;
  /** Resumes everything that is queued in the store, spread over time. */
  start(): void;
  /** Ends what is in flight (it stays queued) and writes what was answered. */
  close(): Promise<void>;
}

export interface OutboundQueueOptions {
  readonly store: Store;
  readonly client: FederationClient;
  readonly serverName: ServerName;
  /** The PDU as sent to others; undefined when it is gone, then it is skipped. */
  readonly loadPdu: (event: EventNid) => JsonObject | undefined;
  readonly clock: () => number;
  readonly random: () => number;
  readonly log: RemoteLog;
  readonly retryTickMs?: number | undefined;
}

/** A destination that is to be tried later. */
interface Later {
  readonly sinceTs: number;
  readonly tryTs: number;
  /** False: it only takes its turn after the start of the process. */
  readonly backingOff: boolean;
}

/** A transaction and the rows of the queue it settles. */
interface Batch {
  readonly transaction: Transaction;
  readonly taken: readonly QueuedEvent[];
  /** More may be queued behind it. */
  readonly full: boolean;
}

type Place = 'prompt' | 'slow';

/** Refused for what it contains, not for who sends it or how often. */
function isBadContent(error: RemoteError): boolean {
  return error.kind === 'refused' && (error.status === 400 || error.status === 413);
}

/** The outbound queue of a server. */
export function createOutboundQueue(options: OutboundQueueOptions): OutboundQueue {
  const { store, client, serverName, clock, random, log } = options;
  const settlements = createSettlements(store);
  const pdus = new LRUCache<EventNid, JsonObject>({ max: PDU_CACHE_ENTRIES_MAX, ttl: PDU_CACHE_MS });
  const badContentTries = new LRUCache<ServerName, number>({ maxSize: REFUSALS_ENTRIES_MAX, sizeCalculation: () => 1 });
  /** Waiting for a place, first come first served. */
  const fresh = new Set<ServerName>();
  const retries = new Set<ServerName>();
  const later = new Map<ServerName, Later>();
  /** From reading the queue until the outcome is stored; the promise never rejects. */
  const busy = new Map<ServerName, Promise<void>>();
  const wokenWhileBusy = new Set<ServerName>();
  const inFlight: Record<Place, number> = { prompt: 0, slow: 0 };
  const closing = new AbortController();
  let pumpScheduled = false;
  let tick: NodeJS.Timeout | undefined;

  function loadPdu(event: EventNid): JsonObject | undefined {
    const cached = pdus.get(event);
    if (cached !== undefined) return cached;
    const loaded = options.loadPdu(event);
    if (loaded !== undefined) pdus.set(event, loaded);
    return loaded;
  }

  /** The next transaction, or undefined when nothing is queued. */
  function nextBatch(destination: ServerName): Batch | undefined {
    // A transaction that was refused as bad is taken apart, to find the event that is.
    const limit = badContentTries.has(destination) ? 1 : TRANSACTION_PDUS_MAX;
    const taken = queuedEvents(store, destination, limit);
    const first = taken[0];
    const last = taken.at(-1);
    if (first === undefined || last === undefined) return undefined;
    const found = taken.map(({ event }) => loadPdu(event)).filter((pdu) => pdu !== undefined);
    return {
      transaction: { txnId: transactionIdOf(first.sequence, last.sequence, found), pdus: found },
      taken,
      full: taken.length === limit,
    };
  }

  function schedulePump(): void {
    if (pumpScheduled || closing.signal.aborted) return;
    pumpScheduled = true;
    setImmediate(() => {
      pumpScheduled = false;
      pump();
    });
  }

  function takeFirst(set: Set<ServerName>): ServerName | undefined {
    for (const destination of set) {
      set.delete(destination);
      return destination;
    }
    return undefined;
  }

  /** Gives free places to those who wait. */
  function pump(): void {
    if (closing.signal.aborted) return;
    const now = clock();
    while (inFlight.prompt < DESTINATIONS_IN_FLIGHT_MAX) {
      const destination = takeFirst(fresh);
      if (destination === undefined) break;
      const row = loadDestination(store, destination);
      if (row === undefined) begin(destination, 'prompt', 0);
      else if (row.nextTryTs <= now) retries.add(destination);
      else putLater(destination, { sinceTs: now, tryTs: row.nextTryTs, backingOff: true });
    }
    while (inFlight.slow < SLOW_DESTINATIONS_IN_FLIGHT_MAX) {
      const destination = takeFirst(retries);
      if (destination === undefined) break;
      begin(destination, 'slow', loadDestination(store, destination)?.failures ?? 0);
    }
    store.refresh();
  }

  function begin(destination: ServerName, place: Place, failures: number): void {
    if (busy.has(destination)) {
      wokenWhileBusy.add(destination);
      return;
    }
    const batch = nextBatch(destination);
    if (batch === undefined) return;
    inFlight[place] += 1;
    const run = deliver(destination, batch, place, failures)
      .catch((error: unknown) => {
        if (closing.signal.aborted) return;
        log.warn({ destination, err: error }, 'a transaction could not be settled; it stays queued');
        const now = clock();
        putLater(destination, { sinceTs: now, tryTs: now + STORE_FAILURE_WAIT_MS, backingOff: true });
      })
      .then(() => {
        busy.delete(destination);
        const woken = wokenWhileBusy.delete(destination);
        if ((woken || batch.full) && !later.has(destination)) fresh.add(destination);
        schedulePump();
      });
    busy.set(destination, run);
  }

  /** Sends, gives the place up, stores the outcome. */
  async function deliver(destination: ServerName, batch: Batch, place: Place, failures: number): Promise<void> {
    let held: Place = place;
    const timer = setTimeout(() => {
      if (held === 'slow' || inFlight.slow >= SLOW_DESTINATIONS_IN_FLIGHT_MAX) return;
      held = 'slow';
      inFlight.prompt -= 1;
      inFlight.slow += 1;
      schedulePump();
    }, SLOW_DESTINATION_MS);
    let result: TransactionOutcome;
    try {
      result =
        batch.transaction.pdus.length === 0
          ? { outcome: 'taken', refusedPdus: 0, firstRefusal: undefined }
          : await sendTransaction(client, serverName, destination, batch.transaction, clock(), closing.signal);
    } finally {
      clearTimeout(timer);
      inFlight[held] -= 1;
      schedulePump();
    }
    if (result.outcome === 'failed') {
      await settleFailure(destination, batch, result.error, failures + 1);
      return;
    }
    if (result.refusedPdus > 0) {
      const { refusedPdus, firstRefusal } = result;
      log.info({ destination, refusedPdus, firstRefusal }, 'a destination refused events');
    }
    await settlements.add({ destination, done: batch.taken, backOff: failures > 0 ? 'clear' : 'keep' });
    badContentTries.delete(destination);
  }

  async function settleFailure(
    destination: ServerName,
    batch: Batch,
    error: RemoteError,
    failures: number,
  ): Promise<void> {
    if (closing.signal.aborted) return;
    const now = clock();
    const row: DestinationRow = {
      failures,
      nextTryTs: nextTryTs(DESTINATION_BACK_OFF, failures, now, random(), error.retryAfterMs),
    };
    log.info({ destination, failures, kind: error.kind, err: error.message }, 'a transaction was not taken');
    await settlements.add({ destination, done: undeliverable(destination, batch, error), backOff: row });
    for (let dropped = overflow(destination); dropped.length > 0; dropped = overflow(destination)) {
      await settlements.add({ destination, done: dropped, backOff: 'keep' });
    }
    putLater(destination, { sinceTs: now, tryTs: row.nextTryTs, backingOff: true });
  }

  /** The event that was refused as bad too often. */
  function undeliverable(destination: ServerName, batch: Batch, error: RemoteError): readonly QueuedEvent[] {
    if (!isBadContent(error)) return [];
    const tries = badContentTries.get(destination) ?? 0;
    badContentTries.set(destination, tries + 1);
    // The first refusal was of the whole transaction.
    if (batch.taken.length > 1 || tries < BAD_EVENT_TRIES_MAX) return [];
    badContentTries.set(destination, 1);
    log.warn({ destination, err: error.message }, 'an event was refused as bad too often and is not sent there again');
    return batch.taken;
  }

  function overflow(destination: ServerName): readonly QueuedEvent[] {
    const rows = queuedEvents(store, destination, QUEUED_EVENTS_PER_DESTINATION_MAX + DROPPED_EVENTS_PER_WRITE_MAX);
    store.refresh();
    const dropped = rows.slice(0, Math.max(0, rows.length - QUEUED_EVENTS_PER_DESTINATION_MAX));
    if (dropped.length > 0) {
      log.warn({ destination, dropped: dropped.length }, 'the queue of a destination is full; its oldest were dropped');
    }
    return dropped;
  }

  function putLater(destination: ServerName, entry: Later): void {
    if (closing.signal.aborted) return;
    later.set(destination, entry);
    tick ??= setTimeout(onTick, options.retryTickMs ?? RETRY_TICK_MS);
  }

  function onTick(): void {
    tick = undefined;
    const now = clock();
    for (const [destination, entry] of later) {
      if (entry.tryTs > now) continue;
      later.delete(destination);
      if (!busy.has(destination)) (entry.backingOff ? retries : fresh).add(destination);
    }
    if (later.size > 0) tick = setTimeout(onTick, options.retryTickMs ?? RETRY_TICK_MS);
    schedulePump();
  }

  return {
    wake: (destinations) => {
      for (const destination of destinations) {
        if (busy.has(destination)) {
          wokenWhileBusy.add(destination);
        } else if (later.get(destination)?.backingOff !== true && !retries.has(destination)) {
          later.delete(destination);
          fresh.add(destination);
        }
      }
      schedulePump();
    },
    otherSideCalled: (server) => {
      const entry = later.get(server);
      if (entry === undefined || busy.has(server)) return;
      const tryTs = entry.sinceTs + CALLED_RETRY_MIN_MS;
      if (tryTs > clock()) {
        if (tryTs < entry.tryTs) later.set(server, { ...entry, tryTs });
        return;
      }
      later.delete(server);
      retries.add(server);
      schedulePump();
    },
    start: () => {
      const now = clock();
      const destinations = queuedDestinations(store);
      const crowd = destinations.size > DESTINATIONS_IN_FLIGHT_MAX;
      const spreadMs = crowd ? Math.min(START_SPREAD_MAX_MS, destinations.size * START_SPREAD_MS) : 0;
      for (const destination of destinations) {
        const row = loadDestination(store, destination);
        const turnTs = now + Math.floor(random() * spreadMs);
        const backingOff = row !== undefined && row.nextTryTs > now;
        if (backingOff) putLater(destination, { sinceTs: now, tryTs: Math.max(row.nextTryTs, turnTs), backingOff });
        else if (turnTs > now) putLater(destination, { sinceTs: now, tryTs: turnTs, backingOff });
        else fresh.add(destination);
      }
      store.refresh();
      schedulePump();
    },
    close: async () => {
      closing.abort(new Error('the outbound queue is closed'));
      clearTimeout(tick);
      later.clear();
      await settlements.flush();
      await Promise.all(busy.values());
      await settlements.flush();
    },
  };
}
