/** Fuzz targets: the X-Matrix header, key responses, and the configuration file. */

import { ConfigError, parseConfig } from '../../../src/cli/config.js';
import type { KeyId, ServerName } from '../../../src/kernel/matrix/ids.js';
import { parseKeyId, parseServerName } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject, JsonValue } from '../../../src/kernel/matrix/json.js';
import { isJsonObject } from '../../../src/kernel/matrix/json.js';
import { parseJson } from '../../../src/kernel/matrix/parse-json.js';
import { signingKeyOfSeed } from '../../../src/kernel/signatures/ed25519.js';
import { signJson } from '../../../src/kernel/signatures/sign-json.js';
import { parseXMatrix } from '../../../src/kernel/signatures/x-matrix.js';
import {
  checkKeyResponse,
  KEY_VALIDITY_MAX_MS,
  KEYS_PER_SERVER_MAX,
} from '../../../src/remote/keys/check-key-response.js';
import type { Random } from '../../hq/room/plan/random.js';
import { mutateBytes, mutateJson } from '../mutate.js';
import { type FuzzTarget, mustHold } from '../run-target.js';

const HEADERS = [
  'X-Matrix origin="a.test",destination="b.test:8448",key="ed25519:1",sig="c2ln"',
  'x-matrix Origin=a.test, key=ed25519:1 , sig=c2ln,extra="x\\"y,z"',
  'X-Matrix origin="[::1]:8448",key="ed25519:a_b",sig="AA==",destination=1.2.3.4',
].map((text) => Buffer.from(text));

export const xMatrix: FuzzTarget = {
  name: 'x-matrix',
  makeInput: (random: Random) => mutateBytes(random, random.pick(HEADERS), HEADERS),
  check: (input) => {
    const header = parseXMatrix(input.toString('latin1'));
    if (header === undefined) return;
    const { origin, destination, keyId, signature } = header;
    mustHold(parseServerName(origin) === origin && parseKeyId(keyId) === keyId, 'names are names');
    const quoted = signature.replace(/[\\"]/g, '\\$&');
    const to = destination === undefined ? '' : `,destination="${destination}"`;
    const again = parseXMatrix(`X-Matrix origin="${origin}"${to},key="${keyId}",sig="${quoted}"`);
    if (!/[\r\n\u2028\u2029]/.test(signature))
      mustHold(again?.signature === signature, 'a header is read as it is written');
    mustHold(again === undefined || again.destination === destination, 'the destination too');
  },
};

const NOW = 1_700_000_000_000;
const key = signingKeyOfSeed('a.test' as ServerName, 'ed25519:1' as KeyId, Buffer.alloc(32, 9));
const RESPONSE: JsonObject = {
  server_name: 'a.test',
  valid_until_ts: NOW + 5000,
  verify_keys: { 'ed25519:1': { key: key.publicKey.toString('base64') } },
  old_verify_keys: { 'ed25519:0': { key: key.publicKey.toString('base64'), expired_ts: 5 } },
};
const RESPONSES = [Buffer.from(JSON.stringify(signJson(RESPONSE, key)))];

function oddResponse(random: Random): Buffer {
  let response: JsonValue = RESPONSE;
  for (let changes = 1 + random.below(3); changes > 0; changes--) response = mutateJson(random, response);
  try {
    return Buffer.from(JSON.stringify(isJsonObject(response) ? signJson(response, key) : response));
  } catch {
    // CanonicalJsonError: it cannot be signed.
    return Buffer.from(JSON.stringify(response));
  }
}

export const keyResponse: FuzzTarget = {
  name: 'key-response',
  makeInput: (random: Random) =>
    random.chance(0.5) ? oddResponse(random) : mutateBytes(random, random.pick(RESPONSES), RESPONSES),
  check: (input) => {
    const parsed = parseJson(input.toString('utf8'), false);
    const verdict = checkKeyResponse(parsed.ok ? parsed.value : undefined, new Set(['a.test']), undefined, NOW);
    if (!verdict.ok) return;
    const { keys, server } = verdict.checked;
    mustHold(server === 'a.test' && keys.size > 0 && keys.size <= KEYS_PER_SERVER_MAX, 'as many keys as are read');
    for (const { publicKey, validUntilTs, expired } of keys.values()) {
      mustHold(publicKey.length === 32, 'a key has 32 bytes');
      mustHold(expired || validUntilTs <= NOW + KEY_VALIDITY_MAX_MS, 'a key counts seven days at most');
    }
  },
};

const CONFIGS = [
  `server_name: a.test
data_dir: data
signing_key_path: key.pem
default_room_version: "11"
listeners:
  - bind: 127.0.0.1
    port: 8448
    serve: [client, federation]
    tls: { cert: c.pem, key: k.pem }
federation:
  allow_ranges: [127.0.0.0/8, "fd00::/8"]
  hosts: { "*.test": "127.0.0.1:9000" }
  key_servers: [b.test]
registration: { enabled: true }
workers: { threads: 2 }
log: { level: debug }
`,
  'a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n? [complex]\n: !!binary aGk=\n--- \n%TAG ! x\n',
  '{"server_name": "a.test", "listeners": [], "data_dir": ~, "log": {"level": |\n  text\n}}',
].map((text) => Buffer.from(text));

/** YAML is read from a file of the operator's: large inputs prove nothing, and its parser is slow. */
const CONFIG_BYTES_MAX = 4096;

export const config: FuzzTarget = {
  name: 'config',
  makeInput: (random: Random) => mutateBytes(random, random.pick(CONFIGS), CONFIGS).subarray(0, CONFIG_BYTES_MAX),
  check: (input) => {
    try {
      const { serverName, listeners } = parseConfig(input.toString('utf8'), '/etc/joinery.yaml');
      mustHold(parseServerName(serverName) === serverName && listeners.length > 0, 'a checked configuration is usable');
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      mustHold(error.problems.length > 0, 'a refusal says why');
      for (const problem of error.problems)
        mustHold(problem.startsWith('/etc/joinery.yaml'), 'a problem names the file');
    }
  },
};
