/**
 * Writes checked key responses in bounded transactions: what arrives in one turn of the event loop is one transaction,
 * so that thousands of single answers are not thousands of fsyncs and one big answer does not block the thread.
 *
 * Guards: an older response (a notary's cache) never takes away what a newer one said.
 */

import type { KeyId, ServerName } from '../../kernel/matrix/ids.js';
import type { Store, StoreWriter } from '../../store/open-store.js';
import type { StoredKey } from '../../store/server-keys.js';
import { keyResponse, putKeyResponse, putServerKey, serverKey } from '../../store/server-keys.js';
import type { CheckedKeyResponse } from './check-key-response.js';

/** Keys in one transaction: about 10 ms of the main thread with its commit. */
export const KEYS_PER_WRITE_MAX = 200;

export interface KeyWriter {
  /** Resolves when the keys are stored. */
  add(checked: CheckedKeyResponse): Promise<void>;
}

interface Waiting {
  readonly checked: CheckedKeyResponse;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

function mergeKey(
  writer: StoreWriter,
  server: ServerName,
  keyId: KeyId,
  key: StoredKey,
  responseIsNewest: boolean,
): void {
  const known = serverKey(writer, server, keyId);
  const samePeriod =
    known !== undefined && !known.expired && !key.expired && known.publicKey.compare(key.publicKey) === 0;
  if (samePeriod) {
    if (key.validUntilTs > known.validUntilTs) putServerKey(writer, server, keyId, key);
  } else if (known === undefined || responseIsNewest) {
    putServerKey(writer, server, keyId, key);
  }
}

function putChecked(writer: StoreWriter, { server, keys, row }: CheckedKeyResponse): void {
  const known = keyResponse(writer, server);
  const isNewest = known === undefined || row.validUntilTs >= known.validUntilTs;
  for (const [keyId, key] of keys) mergeKey(writer, server, keyId, key, isNewest);
  if (isNewest) putKeyResponse(writer, server, row);
}

/** A writer to `store`. */
export function createKeyWriter(store: Store): KeyWriter {
  const waiting: Waiting[] = [];
  let scheduled = false;

  function takeBatch(): Waiting[] {
    let keys = 0;
    let count = 0;
    while (count < waiting.length) {
      keys += (waiting[count] as Waiting).checked.keys.size;
      if (count > 0 && keys > KEYS_PER_WRITE_MAX) break;
      count += 1;
    }
    return waiting.splice(0, count);
  }

  async function flush(): Promise<void> {
    const batch = takeBatch();
    try {
      // In the background: a key that a crash loses is fetched again, and whoever waits for it need not wait for the disk.
      await store.writeInBackground((writer) => {
        for (const { checked } of batch) putChecked(writer, checked);
      });
      store.refresh();
      for (const { done } of batch) done();
    } catch (error) {
      for (const { failed } of batch) failed(error);
    }
    scheduled = waiting.length > 0;
    if (scheduled) setImmediate(flush);
  }

  return {
    add: (checked) =>
      new Promise((done, failed) => {
        waiting.push({ checked, done, failed });
        if (scheduled) return;
        scheduled = true;
        setImmediate(flush);
      }),
  };
}
