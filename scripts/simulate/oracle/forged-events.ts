/**
 * Whether the joining server has taken in an event that somebody changed on the way: the signature of each stored event is
 * verified again with the key that its server really has, and its content must be what was hashed, or be redacted.
 * Specification v1.19, server-server API, "Validating hashes and signatures on received events".
 */

import { hash } from 'node:crypto';
import { canonicalJson } from '../../../src/kernel/matrix/canonical-json.js';
import type { UserId } from '../../../src/kernel/matrix/ids.js';
import { serverNameOf } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { redactEvent } from '../../../src/kernel/matrix/redact.js';
import { verifyJson } from '../../../src/kernel/signatures/sign-json.js';
import { eventIdOfNid, servedBody } from '../../../src/store/events.js';
import type { EventNid } from '../../../src/store/nids.js';
import type { Federation } from '../federation.js';
import { keyOf } from '../federation.js';
import { name } from './read-room.js';

/** What hs2 serves and should not. */
export function forgedEvents({ hs2, rules }: Federation): string[] {
  const { store } = hs2;
  const end = (store.tables.meta.get('next_event_nid') as number | undefined) ?? 1;
  const wrong: string[] = [];
  for (let nid = 1 as EventNid; nid < end; nid++) {
    // As it is shown and served: what was received is kept, and redacted where it is not what was hashed.
    const served = servedBody(store, rules, nid);
    if (served === undefined) continue;
    const body = JSON.parse(served.toString('utf8')) as JsonObject;
    const key = keyOf(serverNameOf(body.sender as UserId));
    const redacted = redactEvent(rules.redaction, body);
    if (!verifyJson(redacted, key.serverName, key.keyId, key.publicKey))
      wrong.push(`${name(store, eventIdOfNid(store, nid))} is served with a signature that is not its sender's`);
    const { signatures, unsigned, ...signed } = body;
    if (!isAsHashed(body) && canonicalJson(signed) !== canonicalJson(withoutSignatures(redacted)))
      wrong.push(`${name(store, eventIdOfNid(store, nid))} is served with a content that is not what was hashed`);
  }
  return wrong;
}

function withoutSignatures({ signatures, ...rest }: JsonObject): JsonObject {
  return rest;
}

function isAsHashed({ signatures, unsigned, hashes, ...hashed }: JsonObject): boolean {
  const stated = Buffer.from((hashes as JsonObject).sha256 as string, 'base64');
  return Buffer.from(hash('sha256', canonicalJson(hashed), 'hex'), 'hex').equals(stated);
}
