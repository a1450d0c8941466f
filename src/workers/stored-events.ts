/**
 * The events of one room, read from the store as state resolution asks for them, and kept. What an event's record holds is
 * read from there; a body is parsed only when its content or its prev_events are asked for, which an ordinary membership's
 * never are.
 *
 * Contents are those received, redacted only where the content hash failed: which redactions have arrived meanwhile differs
 * from server to server, and the resolved state must not.
 */

import type { AuthEvent } from '../kernel/matrix/auth-event.js';
import type { EventId, RoomId, UserId } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import { isJsonObject } from '../kernel/matrix/json.js';
import { redactEvent } from '../kernel/matrix/redact.js';
import type { RoomVersionRules } from '../kernel/matrix/room-versions.js';
import type { EventSource } from '../kernel/state-res/event-source.js';
import type { EventRecord } from '../store/event-record.js';
import { RecordFlag } from '../store/event-record.js';
import { eventStatuses, VERDICT_BITS, Verdict } from '../store/event-status.js';
import { eventIdOfRecord, eventNidOf, loadRecord, referencedIds } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';

/** What an event takes in memory: itself, its ID, its record, its entries in two maps. */
const EVENT_BYTES = 800;
/** Events whose statuses are read together. */
const STATUS_PAGE = 1024;
/** What each byte of a parsed body takes: the objects, and what the rules remember of them. */
const BODY_FACTOR = 5;

export class StoredEvents implements EventSource {
  readonly reader: StoreReader;
  readonly rules: RoomVersionRules;
  readonly roomId: RoomId;
  readonly #byId = new Map<EventId, StoredEvent>();
  readonly #byNid = new Map<EventNid, StoredEvent>();
  /** Status bytes by NID / STATUS_PAGE. */
  readonly #statuses = new Map<number, Uint8Array>();
  #bodyBytes = 0;

  constructor(reader: StoreReader, rules: RoomVersionRules, roomId: RoomId) {
    this.reader = reader;
    this.rules = rules;
    this.roomId = roomId;
  }

  /** Bytes of memory that the events kept take, by estimate. */
  get bytes(): number {
    return EVENT_BYTES * this.#byNid.size + BODY_FACTOR * this.#bodyBytes;
  }

  /** Verdicts can change between resolutions; nothing else of an event does. */
  forgetVerdicts(): void {
    this.#statuses.clear();
  }

  event(id: EventId): StoredEvent | undefined {
    const kept = this.#byId.get(id);
    if (kept !== undefined) return kept;
    const nid = eventNidOf(this.reader, id);
    return nid === undefined ? undefined : this.byNid(nid);
  }

  /** The event of a NID, or undefined while only its ID is known. */
  byNid(nid: EventNid): StoredEvent | undefined {
    const kept = this.#byNid.get(nid);
    if (kept !== undefined || nid === NO_EVENT) return kept;
    const record = loadRecord(this.reader, nid);
    if (record === undefined) return undefined;
    const event = new StoredEvent(this, nid, record);
    this.#byNid.set(nid, event);
    this.#byId.set(event.eventId, event);
    return event;
  }

  listedAuthEvents(event: AuthEvent): readonly StoredEvent[] {
    return event instanceof StoredEvent ? event.authEvents : [];
  }

  isRejected(nid: EventNid): boolean {
    const page = Math.floor(nid / STATUS_PAGE);
    let statuses = this.#statuses.get(page);
    if (statuses === undefined) {
      statuses = eventStatuses(this.reader, (page * STATUS_PAGE) as EventNid, STATUS_PAGE);
      this.#statuses.set(page, statuses);
    }
    return ((statuses[nid % STATUS_PAGE] as number) & VERDICT_BITS) === Verdict.rejected;
  }

  /** A body as the hash check left it; an empty one where only the record is stored. */
  loadChecked(nid: EventNid, record: EventRecord): JsonObject {
    const text = this.reader.tables.event_body_by_nid.getBinaryFast(nid)?.toString('utf8');
    if (text === undefined) return {};
    this.#bodyBytes += text.length;
    const received = JSON.parse(text) as JsonObject;
    const hashFailed = (record.flags & RecordFlag.redacted) !== 0;
    return hashFailed ? redactEvent(this.rules.redaction, received) : received;
  }
}

/** A stored event as the rules see it. */
export class StoredEvent implements AuthEvent {
  readonly nid: EventNid;
  readonly eventId: EventId;
  readonly roomId: RoomId;
  readonly type: string;
  readonly stateKey: string | undefined;
  readonly sender: UserId;
  readonly originServerTs: number;
  readonly depth: number;
  readonly #events: StoredEvents;
  readonly #record: EventRecord;
  #body: JsonObject | undefined;
  #content: JsonObject | undefined;
  #authEvents: readonly StoredEvent[] | undefined;
  #authEventIds: readonly EventId[] | undefined;

  constructor(events: StoredEvents, nid: EventNid, record: EventRecord) {
    this.#events = events;
    this.#record = record;
    this.nid = nid;
    this.eventId = eventIdOfRecord(events.reader, nid, record);
    this.roomId = events.roomId;
    this.type = record.type;
    this.stateKey = record.stateKey;
    this.sender = record.sender;
    this.originServerTs = record.originServerTs;
    this.depth = record.depth;
  }

  get rejected(): boolean {
    return this.#events.isRejected(this.nid);
  }

  get content(): JsonObject {
    this.#content ??= this.#readContent();
    return this.#content;
  }

  get authEventIds(): readonly EventId[] {
    this.#authEventIds ??= this.#readAuthEventIds();
    return this.#authEventIds;
  }

  /** The known ones of its auth events. */
  get authEvents(): readonly StoredEvent[] {
    if (this.#authEvents !== undefined) return this.#authEvents;
    const { authNids } = this.#record;
    const found = authNids.map((nid) => this.#events.byNid(nid)).filter((event) => event !== undefined);
    // One that is known only by its ID may be stored later.
    if (found.length === authNids.length) this.#authEvents = found;
    return found;
  }

  get prevEventIds(): readonly EventId[] {
    return referencedIds(this.#read().prev_events);
  }

  get redacts(): EventId | undefined {
    const { redacts } = this.#read();
    return typeof redacts === 'string' ? (redacts as EventId) : undefined;
  }

  #readContent(): JsonObject {
    const { flags, membership } = this.#record;
    if ((flags & RecordFlag.richContent) === 0 && membership !== '') return { membership };
    const { content } = this.#read();
    return isJsonObject(content) ? content : {};
  }

  /** Auth events that are known only by their ID are named by the body alone. */
  #readAuthEventIds(): readonly EventId[] {
    const { authEvents } = this;
    const areKnown = authEvents.length === this.#record.authNids.length;
    return areKnown ? authEvents.map(({ eventId }) => eventId) : referencedIds(this.#read().auth_events);
  }

  #read(): JsonObject {
    this.#body ??= this.#events.loadChecked(this.nid, this.#record);
    return this.#body;
  }
}
