/**
 * The network between the servers of a simulated federation: every request goes through here, takes virtual time, and
 * meets the faults that the seed decides on. What a server is asked is what its real endpoints answer.
 */

import type { ServerName } from '../../src/kernel/matrix/ids.js';
import type { JsonValue } from '../../src/kernel/matrix/json.js';
import type { FederationClient, RemoteRequest } from '../../src/remote/federation-client.js';
import { FIRST_BYTE_TIMEOUT_MS, IDLE_TIMEOUT_MS } from '../../src/remote/federation-client.js';
import { RemoteError } from '../../src/remote/remote-error.js';
import type { Random } from '../hq/room/plan/random.js';
import type { Fault, FaultRates, Happening } from './faults.js';
import { alterAnswer, chooseFault } from './faults.js';
import type { Life, VirtualTime } from './virtual-time.js';

/** One-way delay of a request or an answer, in milliseconds. */
const DELAY_MS_MAX = 200;
/** Bytes of an answer that arrive together. */
const PIECE_BYTES_MAX = 3_000;
/** A longer delay, under the fault `delay`: beyond the patience of some callers. */
const LONG_DELAY_MS_MAX = 90_000;

/** Faults that a request meets whatever is answered. */
const BEFORE_ANSWER: ReadonlySet<Fault> = new Set([
  'drop',
  'lost-answer',
  'delay',
  'duplicate',
  'hang',
  'server-error',
  'too-often',
  'garbage',
]);

/** An answer's body, or the refusal. */
export interface Answered {
  readonly status: number;
  readonly body: Buffer;
}

/** What can be asked. */
export interface Host {
  /** Undefined while it is down. */
  readonly life: Life | undefined;
  answer(origin: ServerName, request: RemoteRequest): Promise<Answered>;
}

export class Network {
  readonly hosts = new Map<ServerName, Host>();
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #trace: (line: string) => void;
  readonly #count: (what: Happening) => void;
  /** No faults where undefined. */
  rates: FaultRates | undefined;
  /** The keys of a server that is down. */
  keysOf: (server: ServerName) => Answered = () => ({ status: 404, body: Buffer.alloc(0) });
  /** Requests of each server to each endpoint, such as `hs2 v1/state_ids`. */
  readonly asked = new Map<string, number>();
  /** Until then nobody is given the state of a room: it stays partial for long. */
  stateFromTs = 0;
  /** Takes no events any more that others push. */
  deaf: ServerName | undefined;
  /** Told of each answer before it is altered. */
  onAnswered: (origin: ServerName, to: ServerName, request: RemoteRequest, answer: Answered) => Promise<void> =
    async () => undefined;

  constructor(time: VirtualTime, random: Random, trace: (line: string) => void, count: (what: Happening) => void) {
    this.#time = time;
    this.#random = random;
    this.#trace = trace;
    this.#count = count;
  }

  /** The client of one server. `reliable`: its requests meet no faults and take no time. */
  clientOf(origin: ServerName, reliable = false): FederationClient {
    return {
      requestJson: async (server, request) => {
        const { body, fault } = await this.#exchange(origin, server, request, reliable);
        if (fault === 'cut' || fault === 'stall') {
          this.#count(fault);
          throw new RemoteError('unreachable', server, 'the connection ended before the answer did');
        }
        try {
          return JSON.parse(body.toString('utf8')) as JsonValue;
        } catch (error) {
          throw new RemoteError('malformed', server, 'the answer is not JSON', { cause: error });
        }
      },
      requestStream: async (server, request) => {
        const { body, fault } = await this.#exchange(origin, server, request, reliable);
        return { contentLength: undefined, body: this.#pieces(server, request, body, fault) };
      },
      close: async () => undefined,
    };
  }

  async *#pieces(server: ServerName, request: RemoteRequest, body: Buffer, fault: Fault | undefined) {
    const end = fault === 'cut' || fault === 'stall' ? this.#random.below(body.length) : body.length;
    for (let at = 0; at < end; at += PIECE_BYTES_MAX) {
      request.signal?.throwIfAborted();
      yield body.subarray(at, Math.min(end, at + PIECE_BYTES_MAX));
    }
    if (fault === 'cut' || fault === 'stall') this.#count(fault);
    if (fault === 'stall') {
      const idleMs = request.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
      await this.#time.sleep(idleMs, request.signal);
      throw new RemoteError('timeout', server, `no more bytes within ${idleMs} ms`);
    }
    if (fault === 'cut') throw new RemoteError('unreachable', server, 'the connection ended before the answer did');
  }

  async #exchange(origin: ServerName, server: ServerName, request: RemoteRequest, reliable: boolean) {
    const { signal } = request;
    signal?.throwIfAborted();
    const endpoint = request.path.split('/').slice(3, 5).join('/');
    const asking = `${origin} ${endpoint}`;
    this.asked.set(asking, (this.asked.get(asking) ?? 0) + 1);
    const fault = reliable || this.rates === undefined ? undefined : chooseFault(this.#random, this.rates, request);
    const note = (outcome: string) =>
      this.#trace(`${origin} -> ${server} ${endpoint} ${fault === undefined ? '' : `[${fault}] `}${outcome}`);
    const firstByteMs = request.firstByteTimeoutMs ?? FIRST_BYTE_TIMEOUT_MS;
    const timeout = new AbortController();
    const cancel = this.#time.schedule(firstByteMs, () =>
      timeout.abort(new RemoteError('timeout', server, `no answer within ${firstByteMs} ms`)),
    );
    const ended = signal === undefined ? timeout.signal : AbortSignal.any([timeout.signal, signal]);
    try {
      const answer = await unlessAborted(this.#deliver(origin, server, request, fault, reliable), ended);
      note(String(answer.status));
      if (answer.status !== 200) throw refusal(server, endpoint, answer);
      return { body: answer.body, fault };
    } catch (error) {
      if (!(error instanceof RemoteError) || error.kind !== 'refused') note(String(error));
      throw error;
    } finally {
      cancel();
    }
  }

  async #deliver(
    origin: ServerName,
    server: ServerName,
    request: RemoteRequest,
    fault: Fault | undefined,
    reliable: boolean,
  ): Promise<Answered> {
    const delay = (maxMs: number) => (reliable ? Promise.resolve() : this.#time.sleep(this.#random.below(maxMs)));
    const gone = (what: string) => new RemoteError('unreachable', server, what);
    // What happens to an answer is counted when it does.
    if (fault !== undefined && BEFORE_ANSWER.has(fault)) this.#count(fault as Happening);
    await delay(fault === 'delay' ? LONG_DELAY_MS_MAX : DELAY_MS_MAX);
    if (fault === 'hang') return new Promise(() => undefined);
    if (fault === 'drop') throw gone('the request was lost');
    if (fault === 'server-error') return { status: 500 + this.#random.below(4), body: Buffer.from('<html>oops') };
    if (fault === 'too-often') {
      const body = { errcode: 'M_LIMIT_EXCEEDED', error: 'too often', retry_after_ms: 1 + this.#random.below(5_000) };
      return { status: 429, body: Buffer.from(JSON.stringify(body)) };
    }
    if (fault === 'garbage') return { status: 200, body: Buffer.from('<html>It works!</html>') };
    if (
      !reliable &&
      this.rates !== undefined &&
      request.path.includes('/state_ids/') &&
      this.#time.now() < this.stateFromTs
    )
      return { status: 503, body: Buffer.from('{"errcode":"M_UNKNOWN","error":"busy"}') };
    const ask = () => this.#ask(origin, server, request);
    if (fault === 'duplicate') {
      const again = this.#random.below(LONG_DELAY_MS_MAX);
      // Its answer finds nobody any more.
      this.#time.outside(() => this.#time.schedule(again, () => void ask().catch(() => undefined)));
    }
    const answer = await ask();
    await this.onAnswered(origin, server, request, answer);
    await delay(DELAY_MS_MAX);
    if (fault === 'lost-answer') throw gone('the answer was lost');
    if (fault === undefined) return answer;
    const [altered, happened] = alterAnswer(this.#random, fault, origin, request, answer);
    if (happened !== undefined) this.#count(happened);
    return altered;
  }

  async #ask(origin: ServerName, server: ServerName, request: RemoteRequest): Promise<Answered> {
    const host = this.hosts.get(server);
    const life = host?.life;
    // Keys outlive their servers here: an event whose key is lost for good is one that nobody can join with.
    if (life === undefined && request.path === '/_matrix/key/v2/server') return this.keysOf(server);
    const isDeaf = server === this.deaf && request.path.includes('/v1/send/');
    if (host === undefined || life === undefined || isDeaf) throw new RemoteError('unreachable', server, 'it is down');
    return whileAlive(life, server, () => this.#time.within(life, () => host.answer(origin, request)));
  }
}

/** What a server answers. Who crashes meanwhile closes its connections, and that is all that others see of it. */
export function whileAlive<T>(life: Life, server: ServerName, answer: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    onDeath(life, () => reject(new RemoteError('unreachable', server, 'it went down')));
    answer().then(resolve, (error: unknown) => {
      if (!life.dead) reject(error);
    });
  });
}

const mourners = new WeakMap<Life, Set<() => void>>();

/** Calls `run` when a life ends. */
export function onDeath(life: Life, run: () => void): void {
  const all = mourners.get(life) ?? new Set();
  mourners.set(life, all);
  all.add(run);
}

/** Tells those who wait for a server's answers that none will come. */
export function announceDeath(life: Life): void {
  for (const run of mourners.get(life) ?? []) run();
  mourners.delete(life);
}

function refusal(server: ServerName, endpoint: string, { status, body }: Answered): RemoteError {
  let fields: { errcode?: string; error?: string; retry_after_ms?: number } = {};
  try {
    fields = JSON.parse(body.toString('utf8')) as typeof fields;
  } catch {
    fields = { error: 'no JSON' };
  }
  const { errcode, retry_after_ms: retryAfterMs } = fields;
  return new RemoteError('refused', server, `${endpoint}: ${status} ${errcode} ${fields.error}`, {
    status,
    errcode,
    retryAfterMs,
  });
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
