/**
 * Federation transactions in both directions: what an origin's transaction was answered with (a repeated one gets the
 * same answer, also after a restart), and what waits to be sent to each destination.
 */

import type { ServerName } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import type { EventNid } from './nids.js';
import type { StoreReader, StoreWriter } from './open-store.js';
import { takeNumbers } from './open-store.js';

export function inboundTransaction(reader: StoreReader, origin: ServerName, txnId: string): JsonObject | undefined {
  return reader.tables.inbound_transactions.get([origin, txnId]) as JsonObject | undefined;
}

/**
 * Answers kept for each origin. One that sends by the specification has one transaction in flight and repeats only that;
 * the others are for those that do not. An answer is some 4 KB at most.
 */
export const INBOUND_TRANSACTIONS_KEPT_MAX = 100;

/** Keeps an answer, and forgets the origin's oldest in its stead. */
export function putInboundTransaction(
  writer: StoreWriter,
  origin: ServerName,
  txnId: string,
  answer: JsonObject,
): void {
  const { inbound_transactions: answers, inbound_transaction_order: order } = writer.tables;
  if (!answers.has([origin, txnId])) {
    let sequence = 1;
    const newest = order.getKeys({ start: [origin, 2 ** 52], end: [origin, 0], reverse: true, limit: 1 });
    for (const key of newest) sequence = (key as [string, number])[1] + 1;
    order.put([origin, sequence], txnId);
    const outdated = [origin, sequence - INBOUND_TRANSACTIONS_KEPT_MAX] as const;
    const forgotten = order.get(outdated) as string | undefined;
    if (forgotten !== undefined) {
      answers.remove([origin, forgotten]);
      order.remove(outdated);
    }
  }
  answers.put([origin, txnId], answer);
}

/** An event that waits for a destination; `sequence` ascends in the order of sending. */
export interface QueuedEvent {
  readonly sequence: number;
  readonly event: EventNid;
}

/** Queues an event for destinations. */
export function queueEvent(writer: StoreWriter, destinations: Iterable<ServerName>, event: EventNid): void {
  let sequence: number | undefined;
  for (const destination of destinations) {
    sequence ??= takeNumbers(writer, 'next_outbound_sequence', 1);
    writer.tables.outbound_queue.put([destination, sequence], event);
  }
}

/** The oldest events that wait for a destination. */
export function queuedEvents(reader: StoreReader, destination: ServerName, limit: number): QueuedEvent[] {
  const rows = reader.tables.outbound_queue.getRange({ start: [destination, 0], end: [destination, 2 ** 52], limit });
  return [...rows].map(({ key, value }) => ({ sequence: (key as [string, number])[1], event: value as EventNid }));
}

/** Takes sent events off a destination's queue. */
export function removeQueuedEvents(writer: StoreWriter, destination: ServerName, sent: readonly QueuedEvent[]): void {
  for (const { sequence } of sent) writer.tables.outbound_queue.remove([destination, sequence]);
}

/** Destinations with something waiting; for the start of the process. */
export function queuedDestinations(reader: StoreReader): Set<ServerName> {
  const destinations = new Set<ServerName>();
  for (const key of reader.tables.outbound_queue.getKeys({})) destinations.add((key as [ServerName, number])[0]);
  return destinations;
}

/** Back-off of a destination; kept so that a restart does not forget who is down. */
export interface DestinationRow {
  readonly failures: number;
  readonly nextTryTs: number;
}

export function loadDestination(reader: StoreReader, destination: ServerName): DestinationRow | undefined {
  return reader.tables.destinations.get(destination) as DestinationRow | undefined;
}

export function putDestination(writer: StoreWriter, destination: ServerName, row: DestinationRow): void {
  writer.tables.destinations.put(destination, row);
}

export function removeDestination(writer: StoreWriter, destination: ServerName): void {
  writer.tables.destinations.remove(destination);
}
