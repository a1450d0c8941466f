/** Ed25519 at its edges: what is accepted and refused is part of which events servers agree on. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { benchKey } from '../../../bench/signed-room.js';
import {
  PUBLIC_KEY_BYTES,
  SIGNATURE_BYTES,
  sign,
  verify,
  verifyBytes,
} from '../../../src/kernel/signatures/ed25519.js';
import { GROUP_ORDER, SMALL_ORDER, SPECCHECK } from '../../vectors/ed25519-edge-cases.js';

const key = benchKey('a.test');
const hex = (text: string) => Buffer.from(text, 'hex');

function readLittleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
}

function littleEndian(value: bigint): Buffer {
  return Buffer.from(Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 255n)));
}

describe('ed25519', () => {
  it.each(SPECCHECK)('with $what: accepted $accepted', ({ message, publicKey, signature, accepted }) => {
    expect(verifyBytes(hex(message), hex(signature), hex(publicKey))).toBe(accepted);
    expect(verify(hex(message), hex(signature).toString('base64'), hex(publicKey))).toBe(accepted);
  });

  it.each(SMALL_ORDER)('refuses a point of order $order ($encoding) as public key and as R', ({ encoding }) => {
    const zero = Buffer.alloc(32);
    const message = Buffer.from('{}');
    for (const r of [hex(encoding), hex(SMALL_ORDER[0]!.encoding), key.publicKey]) {
      expect(verifyBytes(message, Buffer.concat([r, zero]), hex(encoding))).toBe(false);
    }
    expect(verifyBytes(message, Buffer.concat([hex(encoding), sign(message, key).subarray(32)]), key.publicKey)).toBe(
      false,
    );
  });

  it('refuses the second form of a good signature: S plus the order of the group', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (content) => {
        const message = Buffer.from(content);
        const signature = sign(message, key);
        const s = readLittleEndian(signature.subarray(32));
        expect(s < GROUP_ORDER).toBe(true);
        const second = Buffer.concat([signature.subarray(0, 32), littleEndian(s + GROUP_ORDER)]);
        expect(verifyBytes(message, signature, key.publicKey)).toBe(true);
        expect(verifyBytes(message, second, key.publicKey)).toBe(false);
      }),
      { numRuns: 30 },
    );
  });

  it('takes signatures in base64 of 64 bytes only, in either alphabet, padded or not', () => {
    const message = Buffer.from('x');
    const signature = sign(message, key);
    const padded = signature.toString('base64');
    const text = padded.slice(0, 86);
    for (const good of [padded, text, signature.toString('base64url')]) {
      expect(verify(message, good, key.publicKey)).toBe(true);
    }
    const bad = [
      '',
      text.slice(0, 85),
      `${text}=`,
      `${text}===`,
      `${text}A`,
      `${text} `,
      ` ${text}`,
      `${text}\n`,
      `${text.slice(0, 40)} ${text.slice(40)}`,
      `${text.slice(0, 40)}!${text.slice(40)}`,
      `${text.slice(0, 85)}\u0130`,
      `${text.slice(0, 40)}=${text.slice(40)}`,
      signature.toString('hex'),
      Buffer.concat([signature, Buffer.alloc(1)]).toString('base64'),
    ];
    for (const wrong of bad) expect(verify(message, wrong, key.publicKey), wrong).toBe(false);
  });

  it('verifies nothing under random keys, with random signatures', () => {
    const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
    fc.assert(
      fc.property(bytes(SIGNATURE_BYTES), bytes(PUBLIC_KEY_BYTES), (signature, publicKey) => {
        expect(verifyBytes(Buffer.from('{}'), Buffer.from(signature), Buffer.from(publicKey))).toBe(false);
      }),
      { numRuns: 200 },
    );
  });
});
