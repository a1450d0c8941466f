/**
 * Question: what does canonical JSON cost beside the parsing that every event needs anyway, and beside the obvious way of
 * writing it (sort the keys, then `JSON.stringify`)? And where the bytes are canonical already and that is all to be found?
 *
 * Workload: signed member events of a made-up room, about 700 bytes each. Cannot show: large or deeply nested content,
 * keys beyond ASCII, and what the same text costs inside a whole verification (see verify.ts).
 */

import { canonicalJson } from '../src/kernel/matrix/canonical-json.js';
import type { JsonObject, JsonValue } from '../src/kernel/matrix/json.js';
import { isJsonObject } from '../src/kernel/matrix/json.js';
import { valueEnd } from '../src/kernel/pdu-bytes/scan-canonical.js';
import type { BenchReport, BenchSize } from './measure.js';
import { measure, mustEqual } from './measure.js';
import { signedRoom } from './signed-room.js';

function sortedKeys(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return (value as readonly JsonValue[]).map(sortedKeys);
  if (!isJsonObject(value)) return value;
  const sorted: Record<string, JsonValue> = {};
  for (const key of Object.keys(value).sort()) sorted[key] = sortedKeys(value[key] as JsonValue);
  return sorted;
}

export async function run(size: BenchSize): Promise<BenchReport> {
  const events = size === 'full' ? 2000 : 50;
  const { bodies } = signedRoom(events - 3, 10);
  const texts = bodies.map((body) => body.toString('utf8'));
  const values = texts.map((text) => JSON.parse(text) as JsonObject);
  const canonical = values.map((value) => canonicalJson(value)).join('\n');
  const canonicalBytes = values.map((value) => Buffer.from(canonicalJson(value), 'utf8'));
  const isCanonical = (bytes: Buffer) => valueEnd(bytes, 0, bytes.length) === bytes.length;
  if (!canonicalBytes.every(isCanonical)) throw new Error('canonical JSON is not recognised in its bytes');
  mustEqual(canonical, values.map((value) => JSON.stringify(sortedKeys(value))).join('\n'), 'canonical JSON');
  return measure(`canonical JSON of ${texts.length} events`, size, texts.length, canonical, [
    { name: 'JSON.parse', run: () => texts.map((text) => JSON.parse(text) as JsonValue).length },
    { name: 'JSON.stringify, not canonical', run: () => values.map((value) => JSON.stringify(value)).length },
    { name: 'sort keys, JSON.stringify', run: () => values.map((value) => JSON.stringify(sortedKeys(value))).length },
    { name: 'canonicalJson', run: () => values.map((value) => canonicalJson(value)).length },
    { name: 'bytes that are canonical already', run: () => canonicalBytes.filter(isCanonical).length },
  ]);
}
