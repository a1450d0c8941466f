/**
 * Fields of an event of room versions 1 to 10 that are within 255 code points but over 255 bytes: too short to drop the
 * event for (later events name it, and other servers have it), too long to accept. The reference homeserver rejects such
 * events, and so do the authorization rules here. Specification v1.19, client-server API, "Size limits".
 */

import type { AuthEvent } from '../auth-event.js';
import { utf8Bytes } from '../ids.js';
import { PDU_FIELD_BYTES_MAX } from '../limits.js';

function isOver(field: string): boolean {
  return field.length * 3 > PDU_FIELD_BYTES_MAX && utf8Bytes(field) > PDU_FIELD_BYTES_MAX;
}

/** Whether a field with a limit is over it in bytes. */
export function exceedsFieldBytes(event: AuthEvent): boolean {
  if (isOver(event.type) || isOver(event.sender) || isOver(event.roomId) || isOver(event.eventId)) return true;
  return event.stateKey !== undefined && isOver(event.stateKey);
}
