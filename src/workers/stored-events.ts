/**
 * The events of one room, read from the store as state resolution asks for them. What an event's record holds is read from
 * there; a body is parsed only when its content or its prev_events are asked for, which an ordinary membership's never are.
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
import { eventStatus, VERDICT_BITS, Verdict } from '../store/event-status.js';
import { eventIdOfRecord, eventNidOf, isRedacted, loadBody, loadRecord, referencedIds } from '../store/events.js';
import type { EventNid } from '../store/nids.js';
import { NO_EVENT } from '../store/nids.js';
import type { StoreReader } from '../store/open-store.js';

/** Events of one resolution that are kept at once; 1 KB each. */
const EVENTS_KEPT_MAX = 50_000;

export class StoredEvents implements EventSource {
  readonly reader: StoreReader;
  readonly rules: RoomVersionRules;
  readonly roomId: RoomId;
  readonly #byId = new Map<EventId, StoredEvent | undefined>();
  readonly #byNid = new Map<EventNid, StoredEvent | undefined>();

  constructor(reader: StoreReader, rules: RoomVersionRules, roomId: RoomId) {
    this.reader = reader;
    this.rules = rules;
    this.roomId = roomId;
  }

  event(id: EventId): StoredEvent | undefined {
    const kept = this.#byId.get(id);
    if (kept !== undefined || this.#byId.has(id)) return kept;
    const nid = eventNidOf(this.reader, id);
    const event = nid === undefined ? undefined : this.byNid(nid);
    if (event === undefined) this.#byId.set(id, undefined);
    return event;
  }

  /** The event of a NID, or undefined while only its ID is known. */
  byNid(nid: EventNid): StoredEvent | undefined {
    const kept = this.#byNid.get(nid);
    if (kept !== undefined || nid === NO_EVENT || this.#byNid.has(nid)) return kept;
    if (this.#byNid.size >= EVENTS_KEPT_MAX) {
      this.#byNid.clear();
      this.#byId.clear();
    }
    const record = loadRecord(this.reader, nid);
    const event = record === undefined ? undefined : new StoredEvent(this, nid, record);
    this.#byNid.set(nid, event);
    if (event !== undefined) this.#byId.set(event.eventId, event);
    return event;
  }
}

/** A stored event as the rules see it: in its checked form, redacted where its hash failed or a redaction applied. */
export class StoredEvent implements AuthEvent {
  readonly nid: EventNid;
  readonly eventId: EventId;
  readonly roomId: RoomId;
  readonly type: string;
  readonly stateKey: string | undefined;
  readonly sender: UserId;
  readonly originServerTs: number;
  readonly depth: number;
  readonly rejected: boolean;
  readonly #events: StoredEvents;
  readonly #record: EventRecord;
  readonly #status: number;
  #json: JsonObject | undefined;
  #content: JsonObject | undefined;
  #authEventIds: readonly EventId[] | undefined;

  constructor(events: StoredEvents, nid: EventNid, record: EventRecord) {
    this.#events = events;
    this.#record = record;
    this.#status = eventStatus(events.reader, nid);
    this.nid = nid;
    this.eventId = eventIdOfRecord(events.reader, nid, record);
    this.roomId = events.roomId;
    this.type = record.type;
    this.stateKey = record.stateKey;
    this.sender = record.sender;
    this.originServerTs = record.originServerTs;
    this.depth = record.depth;
    this.rejected = (this.#status & VERDICT_BITS) === Verdict.rejected;
  }

  get content(): JsonObject {
    this.#content ??= this.#readContent();
    return this.#content;
  }

  get authEventIds(): readonly EventId[] {
    this.#authEventIds ??= this.#readAuthEventIds();
    return this.#authEventIds;
  }

  get prevEventIds(): readonly EventId[] {
    return referencedIds(this.#body().prev_events);
  }

  get redacts(): EventId | undefined {
    const { redacts } = this.#body();
    return typeof redacts === 'string' ? (redacts as EventId) : undefined;
  }

  #readContent(): JsonObject {
    const { flags, membership } = this.#record;
    if ((flags & RecordFlag.richContent) === 0 && membership !== '') return { membership };
    const { content } = this.#body();
    return isJsonObject(content) ? content : {};
  }

  /** Auth events that are known only by their ID are named by the body alone. */
  #readAuthEventIds(): readonly EventId[] {
    const ids: EventId[] = [];
    for (const nid of this.#record.authNids) {
      const event = this.#events.byNid(nid);
      if (event === undefined) return referencedIds(this.#body().auth_events);
      ids.push(event.eventId);
    }
    return ids;
  }

  #body(): JsonObject {
    if (this.#json === undefined) {
      const text = loadBody(this.#events.reader, this.nid)?.toString('utf8');
      const received = text === undefined ? {} : (JSON.parse(text) as JsonObject);
      const { redaction } = this.#events.rules;
      this.#json = isRedacted(this.#record, this.#status) ? redactEvent(redaction, received) : received;
    }
    return this.#json;
  }
}
