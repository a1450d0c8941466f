/**
 * What the authorization rules and state resolution read of an event, whatever it was made from: a parsed PDU, or a
 * compact record of the store. Making one is the store's or the room's business; the kernel only reads it.
 */

import type { EventId, RoomId, UserId } from './ids.js';
import type { JsonObject } from './json.js';

export interface AuthEvent {
  readonly eventId: EventId;
  readonly roomId: RoomId;
  readonly type: string;
  /** Undefined for an event that is not a state event. */
  readonly stateKey: string | undefined;
  readonly sender: UserId;
  /** As checked: redacted where the content hash failed. */
  readonly content: JsonObject;
  /** Milliseconds since 1970 as the origin says; from the wire, never trusted for order beyond tie-breaks. */
  readonly originServerTs: number;
  readonly depth: number;
  readonly authEventIds: readonly EventId[];
  readonly prevEventIds: readonly EventId[];
  /** The event that a redaction of room versions 1 to 10 names. */
  readonly redacts: EventId | undefined;
  /**
   * Rejected events authorise nothing. One that its own auth events refuse never enters a resolved state; one that only the
   * state before it refused is resolved like any other.
   */
  readonly rejected: boolean;
}
