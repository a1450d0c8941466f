/** Our users, their access tokens (stored as SHA-256 only), filters, and what their send requests became. */

import { hash } from 'node:crypto';
import type { EventId, UserId } from '../kernel/matrix/ids.js';
import type { JsonObject } from '../kernel/matrix/json.js';
import type { StoreReader, StoreWriter } from './open-store.js';
import { takeNumbers } from './open-store.js';

export interface UserRow {
  /** libsodium's argon2id string. */
  readonly passwordHash: string;
  readonly createdTs: number;
}

/** Who a token speaks for. */
export interface TokenRow {
  readonly userId: UserId;
  readonly deviceId: string;
}

export function loadUser(reader: StoreReader, userId: UserId): UserRow | undefined {
  return reader.tables.users.get(userId) as UserRow | undefined;
}

export function putUser(writer: StoreWriter, userId: UserId, row: UserRow): void {
  writer.tables.users.put(userId, row);
}

export function putAccessToken(writer: StoreWriter, token: string, row: TokenRow): void {
  writer.tables.access_tokens.put(hash('sha256', token, 'buffer'), row);
}

export function loadAccessToken(reader: StoreReader, token: string): TokenRow | undefined {
  return reader.tables.access_tokens.get(hash('sha256', token, 'buffer')) as TokenRow | undefined;
}

export function removeAccessToken(writer: StoreWriter, token: string): boolean {
  return writer.tables.access_tokens.remove(hash('sha256', token, 'buffer'));
}

/** Stores a filter and returns its ID. */
export function putFilter(writer: StoreWriter, userId: UserId, filter: JsonObject): string {
  const filterId = String(takeNumbers(writer, `next_filter_id:${userId}`, 1));
  writer.tables.filters.put([userId, filterId], filter);
  return filterId;
}

export function loadFilter(reader: StoreReader, userId: UserId, filterId: string): JsonObject | undefined {
  return reader.tables.filters.get([userId, filterId]) as JsonObject | undefined;
}

/** The event that a client's transaction ID became, so that a repeated send is the same event. */
export function clientTransaction(reader: StoreReader, token: TokenRow, txnId: string): EventId | undefined {
  return reader.tables.client_transactions.get([token.userId, token.deviceId, txnId]) as EventId | undefined;
}

export function putClientTransaction(writer: StoreWriter, token: TokenRow, txnId: string, eventId: EventId): void {
  writer.tables.client_transactions.put([token.userId, token.deviceId, txnId], eventId);
}
