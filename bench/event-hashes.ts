/**
 * Question: what do content hash, redaction and reference hash of one member event cost, straight from its bytes, as the
 * product does it; once it is parsed; from its text; and beside them the obvious way (sort all keys, stringify, hash; redact,
 * and once more)? Wanted: at most 15 us for one event.
 *
 * Workload: signed member events of a made-up room, about 700 bytes each; the bytes are canonical JSON, as servers send
 * them. Cannot show: signatures (see verify.ts), large events.
 */

import { hash } from 'node:crypto';
import { canonicalJson } from '../src/kernel/matrix/canonical-json.js';
import type { RoomId } from '../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../src/kernel/matrix/json.js';
import { isJsonObject } from '../src/kernel/matrix/json.js';
import type { Pdu } from '../src/kernel/matrix/parse-pdu.js';
import { parsePdu } from '../src/kernel/matrix/parse-pdu.js';
import { redactEvent } from '../src/kernel/matrix/redact.js';
import type { RoomVersionRules } from '../src/kernel/matrix/room-versions.js';
import { PduBytesVerifier } from '../src/kernel/pdu-bytes/verify-pdu-bytes.js';
import { hashPdu } from '../src/kernel/signatures/verify-pdu.js';
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

function sha256Without(event: JsonObject, names: readonly string[]): Buffer {
  const left = Object.fromEntries(Object.entries(event).filter(([name]) => !names.includes(name)));
  return hash('sha256', JSON.stringify(sortedKeys(left as JsonObject)), 'buffer');
}

/** Whether the content matches its hash, and the event ID. */
function obviousHashes(rules: RoomVersionRules, event: JsonObject): string {
  const content = sha256Without(event, ['unsigned', 'signatures', 'hashes']).toString('base64').slice(0, 43);
  const reference = sha256Without(redactEvent(rules.redaction, event), ['unsigned', 'signatures']);
  return `${(event.hashes as JsonObject).sha256 === content} $${reference.toString('base64url')}`;
}

/** The same, by what verifies from bytes: an event that is known by its hash already ends before its signature. */
function fromBytes(rules: RoomVersionRules, roomId: RoomId, bodies: readonly Buffer[]): string[] {
  const verifier = new PduBytesVerifier(rules);
  const options = { roomId: Buffer.from(roomId, 'utf8'), pushed: true };
  const signers = { signerKey: () => ({ publicKey: Buffer.alloc(32), validUntilTs: Number.MAX_SAFE_INTEGER }) };
  return bodies.map((body) => {
    const matches = verifier.verify(body, 0, body.length, options, signers, () => true);
    return `${matches} $${verifier.eventKey.toString('base64url')}`;
  });
}

export async function run(size: BenchSize): Promise<BenchReport> {
  const events = size === 'full' ? 2000 : 50;
  const { rules, roomId, bodies } = signedRoom(events + 3, 10);
  // The first four are not member events, or the creator's.
  const texts = bodies.slice(4).map((body) => body.toString('utf8'));
  const parse = (text: string): Pdu => {
    const parsed = parsePdu(rules, text, { pushed: true });
    if (!parsed.ok) throw new Error(`an event of the workload is malformed: ${parsed.reason}`);
    return parsed.pdu;
  };
  const pdus = texts.map(parse);
  const hashesOf = (pdu: Pdu): string => {
    const { contentMatches, eventId } = hashPdu(rules, pdu);
    return `${contentMatches} ${eventId}`;
  };
  const answer = pdus.map(hashesOf).join('\n');
  mustEqual(answer, pdus.map(({ json }) => obviousHashes(rules, json)).join('\n'), 'hashes');
  const canonical = pdus.map(({ json }) => Buffer.from(canonicalJson(json), 'utf8'));
  mustEqual(fromBytes(rules, roomId, canonical).join('\n'), answer, 'hashes from bytes');
  if (answer.includes('false')) throw new Error('the content of a good event does not match its hash');
  return measure(`hashes of ${texts.length} member events`, size, texts.length, answer, [
    { name: 'the obvious way, parsed', run: () => pdus.map(({ json }) => obviousHashes(rules, json)).length },
    { name: 'from canonical bytes', run: () => fromBytes(rules, roomId, canonical).length },
    { name: 'hashPdu, parsed', run: () => pdus.map((pdu) => hashPdu(rules, pdu).eventId).length },
    { name: 'parsePdu and hashPdu', run: () => texts.map((text) => hashPdu(rules, parse(text)).eventId).length },
  ]);
}
