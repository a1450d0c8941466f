/** The report on one PDU: never an exception, whatever the bytes; the quick way and the thorough one say the same. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { signedRoom } from '../../../bench/signed-room.js';
import { PduInspector } from '../../../src/cli/verify/inspect-pdu.js';
import { ROOM_VERSIONS, roomVersionRules } from '../../../src/kernel/matrix/room-versions.js';

const room = signedRoom(30, 3);
const keys = new Map(
  room.keys.map(({ serverName, keyId, publicKey }) => [
    serverName as string,
    new Map([[keyId as string, { publicKey, validUntilTs: Number.MAX_SAFE_INTEGER }]]),
  ]),
);
const inspectors = ROOM_VERSIONS.map((version) => {
  const rules = roomVersionRules(version);
  if (rules === undefined) throw new Error(`room version ${version} is not known`);
  return new PduInspector(rules, keys);
});

function inspectAll(bytes: Buffer): void {
  for (const inspector of inspectors) {
    const inspection = inspector.inspect(bytes, 0, bytes.length, 1);
    if (inspection !== undefined) JSON.stringify(inspection.report);
  }
}

describe('PduInspector', () => {
  it('takes random bytes without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => inspectAll(Buffer.from(bytes))),
      { numRuns: 300, seed: 1 },
    );
  });

  it('takes any JSON value in the place of any member without an exception', () => {
    const event = room.events[5]?.json as Record<string, unknown>;
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(event)), fc.jsonValue(), (name, value) =>
        inspectAll(Buffer.from(JSON.stringify({ ...event, [name]: value }))),
      ),
      { numRuns: 300, seed: 2 },
    );
  });

  it('calls no event good of which one byte was changed, white space and unsigned aside', () => {
    const inspector = new PduInspector(room.rules, keys);
    fc.assert(
      fc.property(fc.nat(room.bodies.length - 1), fc.nat(), fc.integer({ min: 1, max: 255 }), (n, at, change) => {
        const body = room.bodies[n] as Buffer;
        const changed = Buffer.from(body);
        changed[at % body.length] = (changed[at % body.length] as number) ^ change;
        expect(inspector.inspect(body, 0, body.length, 1)?.good).toBe(true);
        expect(inspector.inspect(changed, 0, changed.length, 1)?.good ?? false).toBe(false);
      }),
      { numRuns: 500, seed: 3 },
    );
  });

  it('says the same of events whether they are in the form that is verified from its bytes or not', () => {
    const inspector = new PduInspector(room.rules, keys);
    for (const [n, body] of room.bodies.entries()) {
      // A space is no canonical JSON, so that the event has to be parsed.
      const spaced = Buffer.from(body.toString('utf8').replace(':', ' :'));
      const inspection = inspector.inspect(body, 0, body.length, 1);
      expect(inspection?.good).toBe(true);
      expect(inspection?.report.event_id).toBe(room.events[n]?.eventId);
      expect(inspector.inspect(spaced, 0, spaced.length, 1)).toEqual(inspection);
    }
  });

  it('says the same of an event in any place of a buffer', () => {
    const inspector = new PduInspector(room.rules, keys);
    const body = room.bodies[7] as Buffer;
    const inside = Buffer.concat([Buffer.from('xx'), body, Buffer.from('yy')]);
    expect(inspector.inspect(inside, 2, 2 + body.length, 1)).toEqual(inspector.inspect(body, 0, body.length, 1));
  });
});
