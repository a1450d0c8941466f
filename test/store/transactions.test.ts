/** Answers to inbound transactions: the newest of each origin are kept. */

import { describe, expect, it } from 'vitest';
import type { ServerName } from '../../src/kernel/matrix/ids.js';
import {
  INBOUND_TRANSACTIONS_KEPT_MAX,
  inboundTransaction,
  putInboundTransaction,
} from '../../src/store/transactions.js';
import { temporaryStore } from './temporary-store.js';

const A = 'a.test' as ServerName;
const B = 'b.test' as ServerName;

describe('answers to inbound transactions', () => {
  it('are kept for the newest of each origin, whatever their IDs; an older one is forgotten in the same write', () => {
    const store = temporaryStore();
    // Falling IDs: their order says nothing of their age.
    const idOf = (n: number) => `txn-${9999 - n}`;
    const put = (origin: ServerName, n: number) =>
      store.write((writer) => putInboundTransaction(writer, origin, idOf(n), { [`$${n}`]: {} }));
    put(B, 0);
    for (let n = 0; n < INBOUND_TRANSACTIONS_KEPT_MAX; n++) put(A, n);
    expect(inboundTransaction(store, A, idOf(0))).toEqual({ $0: {} });
    put(A, INBOUND_TRANSACTIONS_KEPT_MAX);
    expect(inboundTransaction(store, A, idOf(0))).toBeUndefined();
    expect(inboundTransaction(store, A, idOf(1))).toEqual({ $1: {} });
    put(A, INBOUND_TRANSACTIONS_KEPT_MAX + 1);
    expect(inboundTransaction(store, A, idOf(1))).toBeUndefined();
    expect(inboundTransaction(store, B, idOf(0))).toEqual({ $0: {} });
    const kept = [...store.tables.inbound_transactions.getKeys({})].length;
    const ordered = [...store.tables.inbound_transaction_order.getKeys({})].length;
    expect([kept, ordered]).toEqual([INBOUND_TRANSACTIONS_KEPT_MAX + 1, INBOUND_TRANSACTIONS_KEPT_MAX + 1]);
  });

  it('take one place when they are put twice', () => {
    const store = temporaryStore();
    for (let n = 0; n < 2 * INBOUND_TRANSACTIONS_KEPT_MAX; n++)
      store.write((writer) => putInboundTransaction(writer, A, `txn-${n % 2}`, { n }));
    expect([...store.tables.inbound_transaction_order.getKeys({})]).toHaveLength(2);
  });
});
