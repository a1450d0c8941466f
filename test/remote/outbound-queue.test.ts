import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { createFederationClient, type FederationClient } from '../../src/remote/federation-client.js';
import {
  BAD_EVENT_TRIES_MAX,
  CALLED_RETRY_MIN_MS,
  createOutboundQueue,
  DESTINATIONS_IN_FLIGHT_MAX,
  type OutboundQueue,
  QUEUED_EVENTS_PER_DESTINATION_MAX,
} from '../../src/remote/outbound-queue.js';
import type { EventNid } from '../../src/store/nids.js';
import { openStore, type Store } from '../../src/store/open-store.js';
import { loadDestination, queuedEvents, queueEvent } from '../../src/store/transactions.js';
import {
  answerJson,
  type FederationStub,
  type StubHandler,
  startFederationStub,
  testAuthority,
  testKey,
} from '../support/federation-stub.js';

const NOW = 1_700_000_000_000;
const A = 'a.q.test' as ServerName;
const B = 'b.q.test' as ServerName;

interface Received {
  readonly host: string;
  readonly txnId: string;
  readonly body: JsonObject;
  readonly pdus: readonly number[];
}

let dir: string;
let store: Store;
let stub: FederationStub;
let client: FederationClient;
let queue: OutboundQueue;
let now: number;
/** Transactions that arrived, in order. */
let received: Received[];
let handler: (transaction: Received, response: Parameters<StubHandler>[1]) => void;

const take: typeof handler = (_transaction, response) => answerJson(response, { pdus: {} });

function startQueue(): OutboundQueue {
  return createOutboundQueue({
    store,
    client,
    serverName: 'hs1' as ServerName,
    loadPdu: (event) => (event === 666 ? undefined : { n: event, hashes: { sha256: `h${event}` } }),
    clock: () => now,
    random: () => 0.5,
    log: { info: () => undefined, warn: () => undefined },
    retryTickMs: 5,
  });
}

/** Queues events for destinations as the room would. */
function put(destinations: readonly ServerName[], ...events: number[]): void {
  store.write((writer) => {
    for (const event of events) queueEvent(writer, destinations, event as EventNid);
  });
  store.refresh();
}

const left = (destination: ServerName): number[] => {
  store.refresh();
  return queuedEvents(store, destination, 100_000).map(({ event }) => event);
};
const failures = (destination: ServerName): number => {
  store.refresh();
  return loadDestination(store, destination)?.failures ?? 0;
};
const numbersTo = (host: ServerName): number[] =>
  received.filter((one) => one.host === host).flatMap(({ pdus }) => pdus);
const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 4_000, interval: 5 });

beforeEach(async () => {
  now = NOW;
  received = [];
  handler = take;
  dir = mkdtempSync(join(tmpdir(), 'joinery-queue-'));
  store = openStore(dir, 'hs1');
  stub = await startFederationStub(['*.q.test'], (request, response) => {
    const body = JSON.parse(request.body) as JsonObject;
    const pdus = (body.pdus as readonly JsonObject[]).map(({ n }) => n as number);
    const txnId = request.uri.split('/').at(-1) ?? '';
    const transaction = { host: request.headers.host ?? '', txnId, body, pdus };
    received.push(transaction);
    handler(transaction, response);
  });
  client = createFederationClient({
    signingKey: testKey('hs1'),
    hosts: { '*.q.test': stub.address },
    ca: (await testAuthority()).cert,
    verifyCertificates: true,
    allowRanges: ['127.0.0.0/8'],
    clock: () => now,
  });
  queue = startQueue();
});

afterEach(async () => {
  await queue.close();
  await client.close();
  await stub.close();
  await store.close();
  rmSync(dir, { recursive: true });
});

describe('transactions to a destination', () => {
  it('carry origin, origin_server_ts and at most 50 PDUs, in the order they were queued, one in flight', async () => {
    let inFlight = 0;
    let most = 0;
    handler = (transaction, response) => {
      inFlight += 1;
      most = Math.max(most, inFlight);
      setImmediate(() => {
        inFlight -= 1;
        take(transaction, response);
      });
    };
    const events = Array.from({ length: 120 }, (_, i) => i + 1);
    put([A], ...events);
    queue.wake([A]);
    await until(() => expect(left(A)).toEqual([]));
    expect(received.map(({ pdus }) => pdus.length)).toEqual([50, 50, 20]);
    expect(numbersTo(A)).toEqual(events);
    expect(received[0]?.body).toMatchObject({ origin: 'hs1', origin_server_ts: NOW });
    expect(most).toBe(1);
  });

  it('an event queued while a transaction is in flight follows in the next one', async () => {
    handler = (transaction, response) => {
      if (transaction.pdus[0] === 1) {
        put([A], 2);
        queue.wake([A]);
      }
      take(transaction, response);
    };
    put([A], 1);
    queue.wake([A]);
    await until(() => expect(left(A)).toEqual([]));
    expect(received.map(({ pdus }) => pdus)).toEqual([[1], [2]]);
  });

  it('have the same ID when they are sent again, and another one for other content', async () => {
    let answers = 0;
    handler = (transaction, response) => {
      answers += 1;
      if (answers === 1) answerJson(response, { errcode: 'M_UNKNOWN' }, 502);
      else take(transaction, response);
    };
    put([A], 1, 2);
    queue.wake([A]);
    await until(() => expect(failures(A)).toBe(1));
    now += 10_000;
    await until(() => expect(left(A)).toEqual([]));
    put([A], 3);
    queue.wake([A]);
    await until(() => expect(numbersTo(A)).toEqual([1, 2, 1, 2, 3]));
    expect(received[1]?.txnId).toBe(received[0]?.txnId);
    expect(received[2]?.txnId).not.toBe(received[0]?.txnId);
    await until(() => expect(failures(A)).toBe(0));
  });

  it('leave out events that are gone', async () => {
    put([A], 666, 7);
    put([B], 666);
    queue.wake([A, B]);
    await until(() => expect([left(A), left(B)]).toEqual([[], []]));
    expect(received.map(({ pdus }) => pdus)).toEqual([[7]]);
  });
});

describe('a destination that fails', () => {
  it('backs off, is not tried by new events before its time, and then gets everything in order', async () => {
    handler = (_transaction, response) => answerJson(response, { errcode: 'M_FORBIDDEN' }, 403);
    put([A], 1);
    queue.wake([A]);
    await until(() => expect(failures(A)).toBe(1));
    put([A, B], 2);
    handler = take;
    queue.wake([A, B]);
    await until(() => expect(left(B)).toEqual([]));
    expect(received.filter(({ host }) => host === A)).toHaveLength(1);
    now += 3_000;
    await until(() => expect(left(A)).toEqual([]));
    expect(numbersTo(A)).toEqual([1, 1, 2]);
    expect(failures(A)).toBe(0);
  });

  it('waits for as long as it asks with 429', async () => {
    handler = (_transaction, response) =>
      answerJson(response, { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 90_000 }, 429);
    put([A], 1);
    queue.wake([A]);
    await until(() => expect(loadDestination(store, A)?.nextTryTs).toBe(NOW + 90_000));
  });

  it('is tried again when it calls us, but not at every call', async () => {
    handler = (_transaction, response) => answerJson(response, {}, 500);
    put([A], 1);
    queue.wake([A]);
    for (let failed = 1; failed <= 5; failed++) {
      await until(() => expect(failures(A)).toBe(failed));
      now = Math.max(now, (loadDestination(store, A)?.nextTryTs ?? 0) + (failed < 5 ? 1 : -20_000));
    }
    handler = take;
    const before = received.length;
    await until(() => {
      now += CALLED_RETRY_MIN_MS;
      queue.otherSideCalled(A);
      expect(left(A)).toEqual([]);
    });
    expect(received.length).toBe(before + 1);
    queue.otherSideCalled(B);
  });

  it('does not delay others: many that hang give their places up', async () => {
    handler = (transaction, response) => {
      if (!transaction.host.startsWith('hang')) take(transaction, response);
    };
    const hosts: Record<string, string> = {};
    const hanging = Array.from({ length: DESTINATIONS_IN_FLIGHT_MAX * 2 }, (_, i) => `hang${i}.q.test` as ServerName);
    // Places of their own for the connections too: exact names share none.
    for (const name of [...hanging, A]) hosts[name] = stub.address;
    await queue.close();
    await client.close();
    client = createFederationClient({
      signingKey: testKey('hs1'),
      hosts,
      ca: (await testAuthority()).cert,
      verifyCertificates: true,
      allowRanges: ['127.0.0.0/8'],
      clock: () => now,
    });
    queue = startQueue();
    put([...hanging, A], 1);
    queue.wake([...hanging, A]);
    await until(() => expect(left(A)).toEqual([]));
    expect(received.length).toBe(hanging.length + 1);
  });

  it('one event that is refused as bad again and again is dropped, the others arrive', async () => {
    handler = (transaction, response) => {
      if (transaction.pdus.includes(2)) answerJson(response, { errcode: 'M_BAD_JSON' }, 400);
      else take(transaction, response);
    };
    put([A], 1, 2, 3);
    queue.wake([A]);
    await until(() => {
      now += 60 * 60_000;
      expect(left(A)).toEqual([]);
    });
    const good = received.filter(({ pdus }) => !pdus.includes(2)).flatMap(({ pdus }) => pdus);
    expect(good).toEqual([1, 3]);
    expect(received.length).toBeLessThanOrEqual(BAD_EVENT_TRIES_MAX + 6);
  });

  it('keeps a bounded queue and loses the oldest', async () => {
    handler = (_transaction, response) => answerJson(response, {}, 503);
    const extra = 1_500;
    put([A], ...Array.from({ length: QUEUED_EVENTS_PER_DESTINATION_MAX + extra }, (_, i) => i + 1));
    queue.wake([A]);
    await until(() => expect(left(A)).toHaveLength(QUEUED_EVENTS_PER_DESTINATION_MAX));
    expect(left(A)[0]).toBe(extra + 1);
  });
});

describe('a restart', () => {
  it('resumes what is queued and remembers who is down', async () => {
    handler = (transaction, response) => {
      if (transaction.host === A) answerJson(response, {}, 500);
      else take(transaction, response);
    };
    put([A], 1);
    queue.wake([A]);
    await until(() => expect(failures(A)).toBe(1));
    await queue.close();
    put([A, B], 2);
    queue = startQueue();
    queue.start();
    await until(() => expect(left(B)).toEqual([]));
    expect(received.filter(({ host }) => host === A)).toHaveLength(1);
    handler = take;
    now += 5_000;
    await until(() => expect(left(A)).toEqual([]));
    expect(numbersTo(A)).toEqual([1, 1, 2]);
  });

  it('ends what is in flight without counting it as a failure', async () => {
    handler = () => undefined;
    put([A], 1);
    queue.wake([A]);
    await until(() => expect(received).toHaveLength(1));
    await queue.close();
    expect([left(A), failures(A)]).toEqual([[1], 0]);
  });
});

describe('one event for thousands of servers', () => {
  it('reaches all of them over few connections', async () => {
    const names = Array.from({ length: 1_000 }, (_, i) => `s${i}.q.test` as ServerName);
    put(names, 1);
    queue.wake(names);
    await vi.waitFor(() => expect(received).toHaveLength(names.length), { timeout: 20_000, interval: 20 });
    await until(() => expect(left(names[999] as ServerName)).toEqual([]));
    expect(stub.connections()).toBeLessThanOrEqual(4);
    expect(new Set(received.map(({ host }) => host)).size).toBe(names.length);
  }, 30_000);
});
