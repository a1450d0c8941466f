/**
 * Bytes of a huge response to verified events in the store: split, batch, verify on all threads, fetch missing keys
 * beside it, write in order. Used for `send_join` (partial and full), `/state`, and lists of single events.
 *
 * Back-pressure: the response is read only while few batches are being verified; batches that wait for keys are parked,
 * within a limit, so that one slow server's keys never stop the others.
 */

import type { RoomId } from '../../kernel/matrix/ids.js';
import type { JsonValue } from '../../kernel/matrix/json.js';
import type { KeyNeed } from '../../kernel/signatures/verify-pdu.js';
import { ResponseSplitter, SplitError } from '../../remote/split-response.js';
import { eventIdOfNid } from '../../store/events.js';
import type { EventNid, RoomNid } from '../../store/nids.js';
import type { Room } from '../../store/rooms.js';
import { INDEXED_EVENTS_MAX, type SharedEventIndex } from '../../workers/event-index.js';
import type { PduRefusal, VerifyPdusOutput } from '../../workers/jobs/verified-batch.js';
import { Outcome } from '../../workers/jobs/verified-batch.js';
import type { PduBatch } from '../../workers/pdu-batch.js';
import { PduBatcher } from '../../workers/pdu-batch.js';
import type { Lane } from '../../workers/pool.js';
import type { RoomServer } from '../room-server.js';
import { putIngestRefusals } from './apply-judgements.js';
import type { StoredEvent } from './store-verified.js';
import { storeVerified } from './store-verified.js';

/** Batches being verified at once, a thread: one running, one waiting in the thread, one in the queue. */
const BATCHES_A_THREAD = 3;
/** PDUs in the first batch of a response: it is soon back, and says whose keys are missing while the others are read. */
const FIRST_BATCH_PDUS = 16;
/** Batches that wait for keys: 160 KiB each, 40 MiB in all. */
const PARKED_BATCHES_MAX = 256;
/** Batches in one write: about 800 events, some 10 ms of the main thread. */
const BATCHES_A_WRITE = 8;

/** Most events of one response, where the caller knows no number: a state and its auth chain, each as large as they come. */
const EVENTS_MAX = 2 * INDEXED_EVENTS_MAX;
/** Refused events of one response that are remembered, about 50 MB; whoever sends more sends no state. */
export const REFUSALS_MAX = 250_000;

/** Writes under way at once; more, and the response is read no further. */
const WRITES_MAX = 4;

export interface IngestOptions {
  readonly roomVersion: string;
  readonly roomId: RoomId;
  readonly roomNid: RoomNid;
  readonly stateOnly: boolean;
  readonly pushed: boolean;
  readonly lane: Lane;
  readonly index: SharedEventIndex | undefined;
  /** Whole copies take the place of stored events whose content hash failed, see store-verified.ts; default false. */
  readonly replaceRedacted?: boolean;
  /** Most elements of a body that is read; default EVENTS_MAX. */
  readonly eventsMax?: number;
  /** Told as things happen, with totals so far. */
  readonly onProgress?: (counts: IngestCounts) => void;
}

/** What all have in common that take in events of a room's state because we asked for them. */
export function askedState({
  nid,
  roomId,
  version,
}: Pick<Room, 'nid' | 'roomId' | 'version'>): Pick<
  IngestOptions,
  'roomVersion' | 'roomId' | 'roomNid' | 'stateOnly' | 'pushed'
> {
  return { roomVersion: version, roomId, roomNid: nid, stateOnly: true, pushed: false };
}

export interface IngestCounts {
  bytes: number;
  verified: number;
  stored: number;
  /** Events that were in the store before they came, and their bytes. */
  repeated: number;
  repeatedBytes: number;
}

/** An event that was left out, or kept in its redacted form only. */
export type IngestRefusal = Omit<PduRefusal, 'number'>;

export interface IngestResult extends IngestCounts {
  /** NIDs of the verified events by the field they came in, in order of arrival (stored before or now). */
  readonly nidsByField: ReadonlyMap<string, readonly EventNid[]>;
  readonly dropped: readonly IngestRefusal[];
  readonly redacted: readonly IngestRefusal[];
}

export class EventIngest {
  readonly #server: RoomServer;
  readonly #options: IngestOptions;
  readonly #batchers = new Map<string, PduBatcher>();
  readonly #nidsByField = new Map<string, EventNid[]>();
  readonly #dropped: IngestRefusal[] = [];
  readonly #redacted: IngestRefusal[] = [];
  readonly #counts: IngestCounts = { bytes: 0, verified: 0, stored: 0, repeated: 0, repeatedBytes: 0 };
  /** Batches given out by the batchers and not started. */
  #ready: { field: string; batch: PduBatch }[] = [];
  /** In the order in which they were started; written from the front. */
  #started: { field: string; output: VerifyPdusOutput | undefined }[] = [];
  #added = 0;
  #verifying = 0;
  #parked = 0;
  #writing = 0;
  #failure: { readonly error: unknown } | undefined;
  #wake: () => void = () => undefined;

  constructor(server: RoomServer, options: IngestOptions) {
    this.#server = server;
    this.#options = options;
  }

  /** Adds one PDU's bytes (copied). */
  add(field: string, bytes: Uint8Array): void {
    let batcher = this.#batchers.get(field);
    if (batcher === undefined) {
      batcher = new PduBatcher((batch) => this.#ready.push({ field, batch }));
      this.#batchers.set(field, batcher);
    }
    batcher.add(bytes);
    this.#added += 1;
    if (this.#added === FIRST_BATCH_PDUS) batcher.flush();
  }

  /** Reads a body to its end, within limits. `arrays`: fields that hold PDUs. Throws SplitError, RemoteError, or what a job threw. */
  async read(
    body: AsyncIterable<Buffer>,
    arrays: ReadonlySet<string>,
    member: (field: string, value: JsonValue) => void,
    stringElement?: (field: string, bytes: Buffer) => void,
  ): Promise<void> {
    const eventsMax = this.#options.eventsMax ?? EVENTS_MAX;
    let elements = 0;
    const splitter = new ResponseSplitter({
      arrays,
      element: (field, bytes) => {
        elements += 1;
        if (elements > eventsMax) throw new SplitError(`more than ${eventsMax} events in the response`);
        if (bytes[0] === 0x22) stringElement?.(field, bytes);
        else this.add(field, bytes);
      },
      member,
      oversized: (field) =>
        this.#dropped.push({ eventId: undefined, code: 'too-large', reason: `an element of ${field}` }),
    });
    for await (const chunk of body) {
      this.#counts.bytes += chunk.length;
      splitter.push(chunk);
      await this.#startReady();
      if (this.#dropped.length > REFUSALS_MAX)
        throw new SplitError(`more than ${REFUSALS_MAX} events in the response are none`);
    }
    splitter.end();
  }

  /** Waits until everything that was added is verified and written. */
  async finish(): Promise<IngestResult> {
    for (const batcher of this.#batchers.values()) batcher.flush();
    await this.#startReady();
    await this.#until(() => this.#verifying === 0 && this.#parked === 0);
    this.#writeReady(true);
    await this.#until(() => this.#writing === 0);
    return { ...this.#counts, nidsByField: this.#nidsByField, dropped: this.#dropped, redacted: this.#redacted };
  }

  async #startReady(): Promise<void> {
    const batches = Math.max(1, this.#server.pool.stats().threads) * BATCHES_A_THREAD;
    for (let next = this.#ready.shift(); next !== undefined; next = this.#ready.shift()) {
      await this.#until(
        () => this.#verifying < batches && this.#parked < PARKED_BATCHES_MAX && this.#writing < WRITES_MAX,
      );
      this.#start(next.field, next.batch, undefined);
    }
  }

  /** Waits for a condition that changes when a job ends; throws what a job threw. */
  async #until(condition: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (condition()) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** `fetched`: the keys that were missing the first time and have been asked for. */
  #start(field: string, batch: PduBatch, fetched: readonly KeyNeed[] | undefined): void {
    const { roomVersion, roomId, stateOnly, pushed, index, lane, replaceRedacted = false } = this.#options;
    const place: { field: string; output: VerifyPdusOutput | undefined } = { field, output: undefined };
    this.#started.push(place);
    this.#verifying += 1;
    this.#server.pool
      .run('verifyPdus', { roomVersion, roomId, batch, stateOnly, pushed, fetched, index, replaceRedacted }, lane)
      .then((output) => {
        place.output = output;
        if (output.needs.length > 0) this.#park(field, output);
        this.#writeReady(false);
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#verifying -= 1;
        this.#wake();
      });
  }

  /** Sets aside the events of a batch whose keys are missing; they come again when the keys are here or cannot be had. */
  #park(field: string, output: VerifyPdusOutput): void {
    const again = new PduBatcher((batch) => {
      this.#parked += 1;
      this.#server.keys
        .ensureKeys(output.needs)
        .then(() => this.#start(field, batch, output.needs))
        .catch((error: unknown) => {
          this.#failure ??= { error };
        })
        .finally(() => {
          this.#parked -= 1;
          this.#wake();
        });
    });
    for (let i = 0; i < output.outcomes.length; i++) {
      if (output.outcomes[i] !== Outcome.missingKeys) continue;
      const start = output.offsets[i] as number;
      again.add(output.bytes.subarray(start, start + (output.lengths[i] as number)));
    }
    again.flush();
  }

  #writeReady(all: boolean): void {
    let count = 0;
    while (this.#started[count]?.output !== undefined) count += 1;
    if (count === 0 || (!all && count < BATCHES_A_WRITE && this.#verifying > 1)) return;
    const ready = this.#started.splice(0, count) as { field: string; output: VerifyPdusOutput }[];
    for (let at = 0; at < ready.length; at += BATCHES_A_WRITE) this.#startWrite(ready.slice(at, at + BATCHES_A_WRITE));
  }

  #startWrite(batches: readonly { field: string; output: VerifyPdusOutput }[]): void {
    this.#writing += 1;
    this.#write(batches)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#writing -= 1;
        this.#wake();
      });
  }

  async #write(batches: readonly { field: string; output: VerifyPdusOutput }[]): Promise<void> {
    const { roomNid, index, replaceRedacted = false } = this.#options;
    // What waits for keys comes again in other batches; an empty write would hold up the keys' own.
    const stored = !batches.some(({ output }) => hasEventsToStore(output))
      ? batches.map(() => [])
      : await this.#server.store.writeInBackground((writer) =>
          batches.map(({ output }) => {
            // With the events: they are not looked at again once they are stored.
            putIngestRefusals(writer, roomNid, [], output.redacted);
            return storeVerified(writer, roomNid, output, index, replaceRedacted);
          }),
        );
    for (const [i, { field, output }] of batches.entries()) {
      const nids = this.#nidsByField.get(field) ?? [];
      this.#nidsByField.set(field, nids);
      for (const { nid, isNew, isTaken } of stored[i] as readonly StoredEvent[]) {
        if (isTaken) {
          const eventId = eventIdOfNid(this.#server.store, nid);
          this.#dropped.push({ eventId, code: 'id-taken', reason: 'an event of another room has this ID' });
          continue;
        }
        nids.push(nid);
        if (isNew) this.#counts.stored += 1;
      }
      this.#counts.verified += output.signaturesVerified;
      this.#countRepeated(output);
      for (const { number: _, ...refusal } of output.refusals) this.#dropped.push(refusal);
      for (const { number: _, ...refusal } of output.redacted) this.#redacted.push(refusal);
      this.#batchers.get(field)?.recycle(output.bytes);
    }
    this.#options.onProgress?.(this.#counts);
  }

  #countRepeated({ outcomes, lengths }: VerifyPdusOutput): void {
    for (let i = 0; i < outcomes.length; i++) {
      if (outcomes[i] !== Outcome.stored) continue;
      this.#counts.repeated += 1;
      this.#counts.repeatedBytes += lengths[i] as number;
    }
  }
}

function hasEventsToStore({ outcomes }: VerifyPdusOutput): boolean {
  return outcomes.some((outcome) => outcome === Outcome.verified || outcome === Outcome.stored);
}
