/**
 * Redactions and what they redact, whichever comes first. A redaction applies when both events are here and accepted, and
 * its sender has the level that the room requires, or a user of its server sent the target; until then it waits and no
 * client sees it. Where it applies, the target is shown and served in its redacted form only (StatusBit.redacted).
 *
 * Verdicts may change (un-partial-state.ts): then what follows from them is worked out again. In room versions 1 and 2 the
 * authorization rules have checked the sender already. Specification v1.19, rooms/v3.md, "Handling redactions"; rooms/v11.md.
 */

import { namedLevel, userPowerLevel } from '../../kernel/event-auth/power-levels.js';
import type { EventId } from '../../kernel/matrix/ids.js';
import { parseEventId, serverNameOf } from '../../kernel/matrix/ids.js';
import type { JsonObject } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import type { RoomVersionRules } from '../../kernel/matrix/room-versions.js';
import { eventStatus, StatusBit, setEventStatus } from '../../store/event-status.js';
import { internEventIds, isAccepted, loadEvent, loadRecord } from '../../store/events.js';
import type { EventNid } from '../../store/nids.js';
import type { StoreReader, StoreWriter } from '../../store/open-store.js';
import { appendToStream, eventContext } from '../../store/timeline.js';
import type { StateRoom } from '../room-state.js';
import { storedState } from '../room-state.js';

/** Redactions of one event that are looked at; who redacts what is redacted a thousand times over changes nothing. */
export const REDACTIONS_TRIED_MAX = 1000;
/** Events looked up one by one among the targets; with more, the room's redactions are walked instead. */
const LOOKUPS_MAX = 64;

const REDACTION = 'm.room.redaction';
const WAITS = Buffer.of(0);
const SHOWN = Buffer.of(1);

/** The event that a redaction names. */
function redactedId(rules: RoomVersionRules, json: JsonObject): EventId | undefined {
  const content = isJsonObject(json.content) ? json.content : {};
  return parseEventId(rules.redactsInContent ? content.redacts : json.redacts);
}

/** Remembers what a redaction names. False for an event that is none. */
export function keepRedaction(writer: StoreWriter, room: StateRoom, nid: EventNid, type: string): boolean {
  const event = type === REDACTION ? loadEvent(writer, room.rules, nid) : undefined;
  const id = event === undefined ? undefined : redactedId(room.rules, event.json);
  if (id === undefined) return false;
  const [target] = internEventIds(writer, [id]);
  const row = [room.nid, target as EventNid, nid];
  if (!writer.tables.redactions.has(row)) writer.tables.redactions.put(row, WAITS);
  writer.tables.redaction_targets.put(nid, target);
  return true;
}

/** An event's verdict is new or has changed: applies, or undoes, the redactions of it and its own. */
export function refreshRedactions(writer: StoreWriter, room: StateRoom, nid: EventNid): void {
  refreshTarget(writer, room, nid);
  const target = writer.tables.redaction_targets.get(nid) as EventNid | undefined;
  if (target === undefined) return;
  if (!redactionApplies(writer, room, nid, target)) {
    refreshTarget(writer, room, target);
    return;
  }
  setRedacted(writer, target, true);
  show(writer, room, target, nid);
}

/** The same for many events that came as state, none of them a redaction. */
export function refreshTargets(writer: StoreWriter, room: StateRoom, nids: Uint32Array): void {
  if (nids.length <= LOOKUPS_MAX) {
    for (const nid of nids) refreshTarget(writer, room, nid as EventNid);
    return;
  }
  const named = new Set<EventNid>();
  const keys = writer.tables.redactions.getKeys({ start: [room.nid, 0, 0], end: [room.nid + 1, 0, 0] });
  for (const key of keys) named.add((key as [number, EventNid, EventNid])[1]);
  if (named.size === 0) return;
  for (const nid of nids) if (named.has(nid as EventNid)) refreshTarget(writer, room, nid as EventNid);
}

/** The redaction that applies to an event and is shown to clients: what they find under `redacted_because`. */
export function redactionOf(reader: StoreReader, room: StateRoom, target: EventNid): EventNid | undefined {
  return redactionsOf(reader, room, target).find((nid) => redactionApplies(reader, room, nid, target));
}

function refreshTarget(writer: StoreWriter, room: StateRoom, target: EventNid): void {
  const redactions = redactionsOf(writer, room, target);
  if (redactions.length === 0) return;
  const applying = redactions.filter((nid) => redactionApplies(writer, room, nid, target));
  setRedacted(writer, target, applying.length > 0);
  for (const nid of applying) show(writer, room, target, nid);
}

function redactionsOf(reader: StoreReader, room: StateRoom, target: EventNid): EventNid[] {
  const range = { start: [room.nid, target, 0], end: [room.nid, target + 1, 0], limit: REDACTIONS_TRIED_MAX };
  return [...reader.tables.redactions.getKeys(range)].map((key) => (key as [number, EventNid, EventNid])[2]);
}

function redactionApplies(reader: StoreReader, room: StateRoom, nid: EventNid, target: EventNid): boolean {
  const status = eventStatus(reader, nid);
  if (!isAccepted(status) || (status & StatusBit.softFailed) !== 0 || !isAccepted(eventStatus(reader, target)))
    return false;
  const redaction = loadRecord(reader, nid);
  const redacted = loadRecord(reader, target);
  if (redaction === undefined || redacted?.roomNid !== room.nid) return false;
  if (room.rules.redactionAuthRule || serverNameOf(redaction.sender) === serverNameOf(redacted.sender)) return true;
  const context = eventContext(reader, nid);
  if (context === undefined) return false;
  const state = storedState(reader, room, context.before);
  return userPowerLevel(room.rules, state, redaction.sender) >= namedLevel(room.rules, state, 'redact');
}

/** Clients see a redaction when it applies, after its target. */
function show(writer: StoreWriter, room: StateRoom, target: EventNid, nid: EventNid): void {
  const row = [room.nid, target, nid];
  if ((writer.tables.redactions.get(row) as Buffer | undefined)?.equals(SHOWN) === true) return;
  writer.tables.redactions.put(row, SHOWN);
  appendToStream(writer, room.nid, nid);
}

function setRedacted(writer: StoreWriter, nid: EventNid, redacted: boolean): void {
  const status = eventStatus(writer, nid);
  const changed = redacted ? status | StatusBit.redacted : status & ~StatusBit.redacted;
  if (changed !== status) setEventStatus(writer, nid, changed);
}
