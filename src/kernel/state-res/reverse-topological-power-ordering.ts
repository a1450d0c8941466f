/**
 * The reverse topological power ordering: Kahn's algorithm over auth_events, taking at each step the candidate whose
 * sender has the most power, then the earliest origin_server_ts, then the smallest event ID.
 *
 * The order is total and depends on the set of events only, not on how it was listed.
 * Specification v1.19, rooms/v2, "Definitions", "Reverse topological power ordering".
 */

import { powerLevelIn } from '../event-auth/power-levels.js';
import type { AuthEvent } from '../matrix/auth-event.js';
import { compareCodePoints } from '../matrix/canonical-json.js';
import type { EventId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { BinaryHeap } from './binary-heap.js';
import { authEventAt, authEventIdsOf, type EventSource } from './event-source.js';

interface Vertex {
  readonly event: AuthEvent;
  readonly senderLevel: number;
  readonly citedBy: Vertex[];
  /** How many of its auth events in the set were not yet taken. */
  waitingFor: number;
}

function compareVertices(x: Vertex, y: Vertex): number {
  // 1. "x's sender has greater power level than y's sender" (compared, not subtracted: Infinity - Infinity is NaN)
  if (x.senderLevel !== y.senderLevel) return x.senderLevel > y.senderLevel ? -1 : 1;
  // 2. "x's origin_server_ts is less than y's"
  if (x.event.originServerTs !== y.event.originServerTs) return x.event.originServerTs - y.event.originServerTs;
  // 3. "x's event_id is less than y's"
  return compareCodePoints(x.event.eventId, y.event.eventId);
}

/** The power level of an event's sender "when looking at their respective auth_events". */
function senderLevelOf(rules: RoomVersionRules, event: AuthEvent, source: EventSource): number {
  const create = authEventAt(rules, event, 'm.room.create', '', source);
  const powerLevels = authEventAt(rules, event, 'm.room.power_levels', '', source);
  return powerLevelIn(rules, create, powerLevels, event.sender);
}

/** The events in order, earliest first. Events on a cycle (possible in v1 and v2, where IDs are no hashes) are left out. */
export function reverseTopologicalPowerOrdering(
  rules: RoomVersionRules,
  events: ReadonlyMap<EventId, AuthEvent>,
  source: EventSource,
): readonly AuthEvent[] {
  const vertices = new Map<EventId, Vertex>();
  for (const [id, event] of events) {
    vertices.set(id, { event, senderLevel: senderLevelOf(rules, event, source), citedBy: [], waitingFor: 0 });
  }
  for (const vertex of vertices.values()) {
    for (const authId of authEventIdsOf(rules, vertex.event)) {
      const authVertex = vertices.get(authId);
      if (authVertex === undefined) continue;
      authVertex.citedBy.push(vertex);
      vertex.waitingFor += 1;
    }
  }
  const candidates = new BinaryHeap(compareVertices);
  for (const vertex of vertices.values()) if (vertex.waitingFor === 0) candidates.push(vertex);
  const ordered: AuthEvent[] = [];
  for (let vertex = candidates.pop(); vertex !== undefined; vertex = candidates.pop()) {
    ordered.push(vertex.event);
    for (const citing of vertex.citedBy) {
      citing.waitingFor -= 1;
      if (citing.waitingFor === 0) candidates.push(citing);
    }
  }
  return ordered;
}
