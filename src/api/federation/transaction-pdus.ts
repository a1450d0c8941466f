/**
 * The PDUs of a transaction as they stand in its body, byte for byte: what is stored and served on is what its origin
 * signed, not what a parser made of it.
 * Specification v1.19, server-server API, "Transactions".
 */

import type { JsonObject, JsonValue } from '../../kernel/matrix/json.js';
import { isJsonObject } from '../../kernel/matrix/json.js';
import { TRANSACTION_EDUS_MAX, TRANSACTION_PDUS_MAX } from '../../kernel/matrix/limits.js';
import { MatrixError } from '../../kernel/matrix/matrix-error.js';
import { ResponseSplitter, SplitError } from '../../remote/split-response.js';

export interface TransactionPdu {
  readonly json: JsonObject;
  /** Its JSON as received; undefined for one that is larger than any event (ELEMENT_BYTES_MAX). */
  readonly bytes: Buffer | undefined;
}

/** The PDUs in their order. `content` is what `body` parses to. Throws MatrixError 400 where it is no transaction. */
export function transactionPdus(content: JsonValue | undefined, body: Buffer): readonly TransactionPdu[] {
  if (!isJsonObject(content)) throw new MatrixError(400, 'M_BAD_JSON', 'the body is not an object');
  const { pdus = [], edus = [] } = content;
  if (!Array.isArray(pdus)) throw new MatrixError(400, 'M_BAD_JSON', 'pdus is not a list');
  if (!Array.isArray(edus)) throw new MatrixError(400, 'M_BAD_JSON', 'edus is not a list');
  if (pdus.length > TRANSACTION_PDUS_MAX || edus.length > TRANSACTION_EDUS_MAX) {
    const most = `${TRANSACTION_PDUS_MAX} PDUs and ${TRANSACTION_EDUS_MAX} EDUs`;
    throw new MatrixError(
      400,
      'M_INVALID_PARAM',
      `a transaction has at most ${most}, not ${pdus.length} and ${edus.length}`,
    );
  }
  if (!(pdus as readonly JsonValue[]).every(isJsonObject))
    throw new MatrixError(400, 'M_BAD_JSON', 'pdus holds something that is not an object');
  const bytes = elementBytes(body);
  return (pdus as readonly JsonObject[]).map((json, i) => ({ json, bytes: bytes[i] }));
}

function elementBytes(body: Buffer): (Buffer | undefined)[] {
  const elements: (Buffer | undefined)[] = [];
  const splitter = new ResponseSplitter({
    arrays: new Set(['pdus']),
    element: (_field, bytes) => elements.push(Buffer.from(bytes)),
    member: () => undefined,
    oversized: () => elements.push(undefined),
  });
  try {
    splitter.push(body);
    splitter.end();
  } catch (error) {
    if (!(error instanceof SplitError)) throw error;
    throw new MatrixError(400, 'M_BAD_JSON', `the body: ${error.message}`, {}, { cause: error });
  }
  return elements;
}
