/**
 * Servers that misbehave on request, all behind one small HTTPS server of node's: which one is meant is the Host header. An
 * act is what happens to a response; without one the honest answer of the room goes out. Everything is counted.
 */

import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { JsonObject, JsonValue } from '../../src/kernel/matrix/json.js';
import type { FederationStub } from './federation-stub.js';
import { answerJson, keyAnswer, startFederationStub, testKey } from './federation-stub.js';
import type { ScriptedRoom } from './scripted-room.js';
import { ROOM_NOW } from './scripted-room.js';

const DAY_MS = 24 * 60 * 60 * 1000;
const JSON_TYPE = { 'content-type': 'application/json' };

export interface ScriptedRequest {
  /** The server that is asked. */
  readonly server: string;
  /** Such as `make_join`; `key` for a request for keys. */
  readonly endpoint: string;
  readonly uri: string;
  readonly body: string;
}

/** What happens to one response. `honest`: what an honest server would have answered; undefined: 404. */
export type Act = (response: ServerResponse, honest: JsonObject | undefined) => void;

/** Which act, if any. */
export type Script = (request: ScriptedRequest) => Act | undefined;

export interface ScriptedResident {
  readonly stub: FederationStub;
  /** `server endpoint` in the order asked, without requests for keys. */
  readonly asked: string[];
  readonly rooms: ScriptedRoom[];
  script: Script;
  close(): Promise<void>;
}

/** Bytes that acts have written, all of them together. */
export const written = { bytes: 0 };

function write(response: ServerResponse, bytes: Buffer | string, then?: () => void): void {
  written.bytes += bytes.length;
  response.write(bytes, then);
}

/** Starts them. They publish keys that are the same in each run; `names`: for the certificate. */
export async function startScriptedResident(names: readonly string[]): Promise<ScriptedResident> {
  const stub = await startFederationStub(names, ({ uri, body, headers }, response) => {
    const server = headers.host ?? '';
    const [, , api, , fourth = ''] = uri.split('?')[0]?.split('/') ?? [];
    const endpoint = api === 'key' ? 'key' : fourth;
    const request = { server, endpoint, uri, body };
    if (endpoint !== 'key') resident.asked.push(`${server} ${endpoint}`);
    // A client that hangs up is what half of the tests are about.
    response.on('error', () => undefined);
    const act = resident.script(request);
    // What a liar answers instead must not make our join part of the room.
    const answer = act !== undefined && endpoint === 'send_join' && !honestly.has(act) ? {} : honest(request);
    if (act !== undefined) act(response, answer);
    else if (answer === undefined) answerJson(response, { errcode: 'M_NOT_FOUND', error: 'not found' }, 404);
    else answerJson(response, answer);
  });
  function honest({ server, endpoint, uri, body }: ScriptedRequest): JsonObject | undefined {
    if (endpoint === 'key') return keyAnswer(testKey(server), ROOM_NOW + DAY_MS);
    const path = decodeURIComponent(uri);
    const room =
      resident.rooms.find(({ roomId }) => path.includes(`/${roomId}`)) ??
      resident.rooms.find(({ events }) => [...events.keys()].some((id) => path.endsWith(id)));
    return room?.answer(uri, body);
  }
  const resident: ScriptedResident = {
    stub,
    asked: [],
    rooms: [],
    script: () => undefined,
    close: () => stub.close(),
  };
  return resident;
}

/** Acts that need the honest answer also of `send_join`. */
const honestly = new WeakSet<Act>();

/** The honest answer with something changed; what the change gives goes out as JSON. */
export function altered(change: (honest: JsonObject) => JsonValue): Act {
  const act: Act = (response, honest) => answerJson(response, change(honest ?? {}));
  honestly.add(act);
  return act;
}

/** The honest answer under another content type, or under none. */
export function labelled(contentType: string | undefined): Act {
  const act: Act = (response, honest) => {
    response.writeHead(200, contentType === undefined ? {} : { 'content-type': contentType });
    response.end(JSON.stringify(honest));
  };
  honestly.add(act);
  return act;
}

/** Any text with any status and headers. */
export function answers(text: string, status = 200, headers: Readonly<Record<string, string>> = JSON_TYPE): Act {
  return (response) => {
    response.writeHead(status, headers);
    response.end(text);
  };
}

/** JSON with a status. */
export function answersJson(body: JsonValue, status = 200): Act {
  return (response) => answerJson(response, body, status);
}

/** The first half of the honest answer, which then counts as complete. */
export const halfAnAnswer: Act = (response, honest) => {
  const text = JSON.stringify(honest);
  response.writeHead(200, JSON_TYPE);
  response.end(text.slice(0, text.length / 2));
};

/** Closes the connection before it says anything. */
export const closesAtOnce: Act = (response) => {
  response.destroy();
};

/** Closes the connection in the middle of the answer. */
export const closesInTheMiddle: Act = (response, honest) => {
  const text = JSON.stringify(honest);
  response.writeHead(200, { ...JSON_TYPE, 'content-length': text.length });
  response.write(text.slice(0, text.length / 2), () => response.destroy());
};

/** Says nothing. */
export const staysSilent: Act = () => undefined;

/** Begins the answer, and no more comes. */
export const stallsInTheMiddle: Act = (response, honest) => {
  response.writeHead(200, JSON_TYPE);
  response.write(JSON.stringify(honest).slice(0, 20));
};

/** Writes `piece()` after `beginning` for ever, as fast as it is read. */
export function neverEnds(beginning: string, piece: () => Buffer | string): Act {
  return (response) => {
    response.writeHead(200, JSON_TYPE);
    write(response, beginning);
    const next = (): void => {
      if (!response.destroyed) write(response, piece(), () => setImmediate(next));
    };
    next();
  };
}

/** Writes a byte of white space again and again, with `pauseMs` in between: never silent, never done. */
export function drips(pauseMs: number): Act {
  return (response) => {
    response.writeHead(200, JSON_TYPE);
    const timer = setInterval(() => write(response, ' '), pauseMs);
    response.on('close', () => clearInterval(timer));
  };
}

/** The honest answer, compressed although nobody accepted that. */
export const compressed: Act = (response, honest) => {
  response.writeHead(200, { ...JSON_TYPE, 'content-encoding': 'gzip' });
  response.end(gzipSync(JSON.stringify(honest)));
};

/** A gzip bomb: `megabytes` of white space in a thousandth of that. */
export function gzipBomb(megabytes: number, headers: Readonly<Record<string, string>>): Act {
  const bomb = gzipSync(Buffer.alloc(megabytes * 1024 * 1024, ' '));
  return (response) => {
    response.writeHead(200, { ...JSON_TYPE, ...headers });
    write(response, bomb, () => response.end());
  };
}
