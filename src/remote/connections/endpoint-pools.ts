/**
 * Connection pools, one per place that is talked to, few connections each, the least recently used closed.
 *
 * Names under one wildcard of the `hosts` map lead to one place and share its connections, so that a room of thousands
 * of such names costs a handful of TLS handshakes. A request for another name than the one that was asked for in the
 * handshake goes over a connection only if its certificate is good for that name as well; otherwise that name gets
 * connections of its own. RFC 9110 section 4.3.3.
 *
 * undici is given `http:` origins although every connection is TLS: for `https:` it would close a connection whenever
 * the Host header of the next request differs.
 */

import type { PeerCertificate, TLSSocket } from 'node:tls';
import { LRUCache } from 'lru-cache';
import type { buildConnector } from 'undici';
import { Pool } from 'undici';
import type { ResolvedServer } from '../discovery/discovery.js';
import type { TlsSettings } from './tls-connector.js';
import { ConnectFailure, certificateIsFor, connectTls } from './tls-connector.js';

/** Connections to one place: requests beyond wait. A stream of a large room takes one of them for minutes. */
export const CONNECTIONS_PER_POOL_MAX = 4;
/** Pools kept. With four connections each this stays below the usual limit of file descriptors. */
export const POOLS_MAX = 512;
/** An idle connection is closed after this time: below the 10 s after which uWebSockets.js servers close theirs. */
export const CONNECTION_IDLE_MS = 8_000;
/** Names one shared pool remembers as good for its certificate; beyond, it starts anew. */
export const NAMES_PER_POOL_MAX = 50_000;

export interface EndpointPools {
  /** The pool for a request to `server`. Rejects with ConnectFailure where a shared place gives no connection. */
  acquire(server: ResolvedServer): Promise<Pool>;
  /** Closes every pool; requests in progress fail. */
  close(): Promise<void>;
}

type Connect = () => Promise<TLSSocket>;

function makePool(connect: Connect): Pool {
  const connector: buildConnector.connector = (_options, callback) => {
    connect().then(
      (socket) => callback(null, socket),
      (error: Error) => callback(error, null),
    );
  };
  return new Pool('http://federation.invalid', {
    connect: connector,
    connections: CONNECTIONS_PER_POOL_MAX,
    pipelining: 1,
    keepAliveTimeout: CONNECTION_IDLE_MS,
    keepAliveMaxTimeout: CONNECTION_IDLE_MS,
    // Time-outs are the client's business: it counts waiting for a connection too.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
}

/** Connections that several names share. */
interface SharedPool {
  readonly pool: Pool;
  /** Resolves with the first connection's certificate. */
  readonly connected: Promise<PeerCertificate>;
  /** Names that the certificate was checked for. */
  readonly goodFor: Map<string, boolean>;
}

function makeSharedPool(server: ResolvedServer, settings: TlsSettings, retire: () => void): SharedPool {
  const goodFor = new Map<string, boolean>([[server.tlsServerName, true]]);
  let fingerprint: string | undefined;

  function check(socket: TLSSocket): TLSSocket {
    const certificate = socket.getPeerCertificate();
    if (fingerprint === undefined || !settings.verifyCertificates) {
      fingerprint = certificate.fingerprint256;
    } else if (fingerprint !== certificate.fingerprint256) {
      const lost = [...goodFor].find(([name, good]) => good && !certificateIsFor(name, certificate));
      if (lost !== undefined) {
        socket.destroy();
        retire();
        throw new ConnectFailure('unreachable', `the certificate changed and is no longer for ${lost[0]}`);
      }
    }
    return socket;
  }

  const connect = async (): Promise<TLSSocket> => check(await connectTls(server, settings));
  const first = connect();
  let spare: Promise<TLSSocket> | undefined = first;
  const pool = makePool(async () => {
    const taken = spare;
    spare = undefined;
    const waiting = await taken;
    return waiting === undefined || waiting.destroyed ? connect() : waiting;
  });
  const connected = first.then((socket) => socket.getPeerCertificate());
  connected.catch(retire);
  return { pool, connected, goodFor };
}

/** The pools of one client. */
export function createEndpointPools(settings: TlsSettings): EndpointPools {
  const own = new LRUCache<string, Pool>({ max: POOLS_MAX, dispose: (pool) => retirePool(pool) });
  const shared = new LRUCache<string, SharedPool>({ max: POOLS_MAX, dispose: ({ pool }) => retirePool(pool) });

  /** Lets requests in progress end. */
  function retirePool(pool: Pool): void {
    if (pool.closed || pool.destroyed) return;
    pool.close().catch(() => pool.destroy());
  }

  function ownPool(server: ResolvedServer): Pool {
    const key = JSON.stringify([server.targets, server.tlsServerName]);
    const known = own.get(key);
    if (known !== undefined) return known;
    const pool = makePool(() => connectTls(server, settings));
    own.set(key, pool);
    return pool;
  }

  function sharedPool(key: string, server: ResolvedServer): SharedPool {
    const known = shared.get(key);
    if (known !== undefined && known.goodFor.size < NAMES_PER_POOL_MAX) return known;
    const made = makeSharedPool(server, settings, () => {
      if (shared.peek(key) === made) shared.delete(key);
    });
    shared.set(key, made);
    return made;
  }

  return {
    acquire: async (server) => {
      if (server.wildcard === undefined) return ownPool(server);
      const place = sharedPool(JSON.stringify([server.wildcard, server.targets]), server);
      const name = server.tlsServerName;
      let certificate: PeerCertificate;
      try {
        certificate = await place.connected;
      } catch (error) {
        // The place answers, and its certificate is not for the name that happened to be first.
        if (error instanceof ConnectFailure && error.wrongName && !place.goodFor.has(name)) return ownPool(server);
        throw error;
      }
      let good = place.goodFor.get(name);
      if (good === undefined) {
        good = !settings.verifyCertificates || certificateIsFor(name, certificate);
        place.goodFor.set(name, good);
      }
      return good ? place.pool : ownPool(server);
    },
    close: async () => {
      const pools = [...own.values(), ...[...shared.values()].map(({ pool }) => pool)];
      own.clear();
      shared.clear();
      await Promise.all(pools.map((pool) => pool.destroy()));
    },
  };
}
