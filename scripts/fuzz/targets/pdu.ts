/**
 * Fuzz targets: one event from its bytes, in every room version. `pdu-bytes`: mutated text of good events; `pdu-signed`:
 * odd events that are hashed and signed well, which get further.
 */

import { isUtf8 } from 'node:buffer';
import { CanonicalJsonError } from '../../../src/kernel/matrix/canonical-json.js';
import type { KeyId, ServerName } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../../src/kernel/matrix/json.js';
import { isJsonObject } from '../../../src/kernel/matrix/json.js';
import { parsePdu } from '../../../src/kernel/matrix/parse-pdu.js';
import type { RoomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { ROOM_VERSIONS, roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';
import { hasBytesPath, PduBytesVerifier } from '../../../src/kernel/pdu-bytes/verify-pdu-bytes.js';
import { signingKeyOfSeed } from '../../../src/kernel/signatures/ed25519.js';
import { hashAndSignPdu } from '../../../src/kernel/signatures/sign-pdu.js';
import { type PduVerification, verifyPdu } from '../../../src/kernel/signatures/verify-pdu.js';
import type { Random } from '../../hq/room/plan/random.js';
import { mutateBytes, mutateJson } from '../mutate.js';
import { type FuzzTarget, mustHold } from '../run-target.js';

const key = signingKeyOfSeed('a.test' as ServerName, 'ed25519:1' as KeyId, Buffer.alloc(32, 7));
const verifyKey = { publicKey: key.publicKey, validUntilTs: 2_000_000_000_000 };
const signers = Object.assign(() => verifyKey, { signerKey: () => verifyKey });
const ROOM_ID = Buffer.from('!r:a.test');
const NO_EVENTS = `$${'A'.repeat(43)}`;

interface Version {
  readonly rules: RoomVersionRules;
  readonly bytesVerifier: PduBytesVerifier | undefined;
  readonly events: readonly JsonObject[];
  readonly corpus: readonly Buffer[];
}

const CONTENTS: readonly (readonly [type: string, content: JsonObject])[] = [
  ['m.room.member', { membership: 'join', displayname: 'Å "b" \\ \n😀' }],
  ['m.room.member', { membership: 'invite', third_party_invite: { signed: { token: 't' } } }],
  ['m.room.member', { membership: 'join', join_authorised_via_users_server: '@b:a.test' }],
  ['m.room.create', { creator: '@a:a.test', room_version: '11' }],
  ['m.room.power_levels', { users: { '@a:a.test': 100 }, events: { x: 50 }, invite: 1 }],
  ['m.room.message', { body: 'x', nested: [{ a: [1, 2, { b: null }] }] }],
];

function versionOf(name: string): Version {
  const rules = roomVersionRules(name) as RoomVersionRules;
  const isOld = rules.eventReferenceForm === 'pair';
  const events = CONTENTS.map(
    ([type, content]): JsonObject => ({
      ...(isOld ? { event_id: '$e:a.test' } : {}),
      type,
      room_id: '!r:a.test',
      sender: '@a:a.test',
      ...(type === 'm.room.message' ? {} : { state_key: '' }),
      content,
      depth: 5,
      origin_server_ts: 1_700_000_000_000,
      auth_events: isOld ? [['$a:a.test', { sha256: 'x' }]] : [NO_EVENTS, NO_EVENTS],
      prev_events: isOld ? [['$b:a.test', {}]] : [NO_EVENTS],
      unsigned: { age: 5 },
    }),
  );
  const corpus = events.map((event) => Buffer.from(JSON.stringify(hashAndSignPdu(rules, event, key).json)));
  return { rules, bytesVerifier: hasBytesPath(rules) ? new PduBytesVerifier(rules) : undefined, events, corpus };
}

const VERSIONS: readonly Version[] = ROOM_VERSIONS.map(versionOf);

/** The thorough answer; and the quick one must agree wherever it gives one. */
function checkPdu({ rules, bytesVerifier }: Version, input: Buffer, pushed: boolean): PduVerification | undefined {
  const parsed = isUtf8(input) ? parsePdu(rules, input.toString('utf8'), { pushed }) : undefined;
  const verdict =
    parsed?.ok === true
      ? verifyPdu(rules, parsed.pdu, (server) => (server === 'a.test' ? verifyKey : undefined))
      : undefined;
  if (parsed?.ok === true) {
    const again = parsePdu(rules, parsed.pdu.text, { pushed });
    mustHold(again.ok && again.pdu.text === parsed.pdu.text, 'the stored text is an event, and has no unsigned');
  }
  const quick = bytesVerifier?.verify(input, 0, input.length, { roomId: ROOM_ID, pushed }, signers);
  if (quick === true) {
    mustHold(verdict?.outcome === 'verified' && !verdict.redacted, 'what is good from its bytes is good when parsed');
    mustHold(verdict?.eventKey?.equals(bytesVerifier?.eventKey as Buffer) === true, 'it has one event key');
  }
  return verdict;
}

export const pduBytes: FuzzTarget = {
  name: 'pdu-bytes',
  makeInput: (random: Random) => {
    const { corpus } = random.pick(VERSIONS);
    return mutateBytes(random, random.pick(corpus), corpus);
  },
  check: (input, random) => {
    const pushed = random.chance(0.5);
    for (const version of [random.pick(VERSIONS), random.pick(VERSIONS)]) checkPdu(version, input, pushed);
  },
};

function signOdd(rules: RoomVersionRules, event: JsonValue): Buffer | undefined {
  if (!isJsonObject(event)) return undefined;
  try {
    return Buffer.from(JSON.stringify(hashAndSignPdu(rules, event, key).json));
  } catch (error) {
    if (error instanceof CanonicalJsonError) return undefined;
    throw error;
  }
}

export const pduSigned: FuzzTarget = {
  name: 'pdu-signed',
  makeInput: (random: Random) => {
    const { rules, events, corpus } = random.pick(VERSIONS);
    let event: JsonValue = random.pick(events);
    for (let changes = random.below(4); changes > 0; changes--) event = mutateJson(random, event);
    return signOdd(rules, event) ?? random.pick(corpus);
  },
  check: (input, random) => {
    for (const version of VERSIONS) {
      const verdict = checkPdu(version, input, random.chance(0.5));
      if (verdict?.outcome === 'verified') mustHold(verdict.eventId.startsWith('$'), 'an event ID begins with $');
    }
  },
};
