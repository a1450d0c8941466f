/**
 * Limits that the specification puts on events and transactions, each with its unit in the name.
 * Specification v1.19, client-server API, "Size limits"; server-server API, "PDUs" and "Transactions".
 */

/** Largest event: its canonical JSON with signatures, in bytes. */
export const PDU_BYTES_MAX = 65_536;
/** Largest `sender`, `room_id`, `state_key`, `type` or `event_id`, in bytes (code points up to room version 10). */
export const PDU_FIELD_BYTES_MAX = 255;
/** Most `prev_events` of an event that is pushed to us. */
export const PREV_EVENTS_MAX = 20;
/** Most `auth_events` of an event that is pushed to us. */
export const AUTH_EVENTS_MAX = 10;
/** Most PDUs in one transaction. */
export const TRANSACTION_PDUS_MAX = 50;
/** Most EDUs in one transaction. */
export const TRANSACTION_EDUS_MAX = 100;
/** Largest `depth` (canonical JSON's largest integer, 2^53 - 1); larger ones of room versions 1 to 5 count as this. */
export const DEPTH_MAX = Number.MAX_SAFE_INTEGER;
/** Largest `depth` in the text of an event of room versions 1 to 5 (2^63 - 1, as a double). */
export const OLD_DEPTH_MAX = 2 ** 63;
/** Deepest nesting of arrays and objects that is parsed; an event in 65,536 bytes could nest 32,000 deep. */
export const JSON_DEPTH_MAX = 512;
