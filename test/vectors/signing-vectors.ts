/**
 * What signing must give, verbatim. Specification v1.19, appendices, "Cryptographic Test Vectors"; the server name is
 * `domain`, the key ID `ed25519:1`.
 */

import type { JsonObject } from '../../src/kernel/matrix/json.js';

export const SIGNING_KEY_SEED = 'YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1';

export interface SigningVector {
  readonly name: string;
  readonly given: JsonObject;
  readonly signed: JsonObject;
}

export const JSON_SIGNING: readonly SigningVector[] = [
  {
    name: 'an empty JSON object',
    given: {},
    signed: {
      signatures: {
        domain: {
          'ed25519:1': 'K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ',
        },
      },
    },
  },
  {
    name: 'a JSON object with data values',
    given: {
      one: 1,
      two: 'Two',
    },
    signed: {
      one: 1,
      signatures: {
        domain: {
          'ed25519:1': 'KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw',
        },
      },
      two: 'Two',
    },
  },
];

export const EVENT_SIGNING: readonly SigningVector[] = [
  {
    name: 'a minimally-sized event',
    given: {
      room_id: '!x:domain',
      sender: '@a:domain',
      origin: 'domain',
      origin_server_ts: 1000000,
      signatures: {},
      hashes: {},
      type: 'X',
      content: {},
      prev_events: [],
      auth_events: [],
      depth: 3,
      unsigned: {
        age_ts: 1000000,
      },
    },
    signed: {
      auth_events: [],
      content: {},
      depth: 3,
      hashes: {
        sha256: '5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos',
      },
      origin: 'domain',
      origin_server_ts: 1000000,
      prev_events: [],
      room_id: '!x:domain',
      sender: '@a:domain',
      signatures: {
        domain: {
          'ed25519:1': 'KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg',
        },
      },
      type: 'X',
      unsigned: {
        age_ts: 1000000,
      },
    },
  },
  {
    name: 'an event containing redactable content',
    given: {
      content: {
        body: 'Here is the message content',
      },
      event_id: '$0:domain',
      origin: 'domain',
      origin_server_ts: 1000000,
      type: 'm.room.message',
      room_id: '!r:domain',
      sender: '@u:domain',
      signatures: {},
      unsigned: {
        age_ts: 1000000,
      },
    },
    signed: {
      content: {
        body: 'Here is the message content',
      },
      event_id: '$0:domain',
      hashes: {
        sha256: 'onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g',
      },
      origin: 'domain',
      origin_server_ts: 1000000,
      type: 'm.room.message',
      room_id: '!r:domain',
      sender: '@u:domain',
      signatures: {
        domain: {
          'ed25519:1': 'Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA',
        },
      },
      unsigned: {
        age_ts: 1000000,
      },
    },
  },
];
