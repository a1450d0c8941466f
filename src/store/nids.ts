/** Dense numeric IDs of this server's store (u32, from 1; 0 means none). They never leave it. */

declare const brand: unique symbol;

export type EventNid = number & { readonly [brand]: 'EventNid' };
export type RoomNid = number & { readonly [brand]: 'RoomNid' };
export type StateKeyNid = number & { readonly [brand]: 'StateKeyNid' };
export type StateGroupNid = number & { readonly [brand]: 'StateGroupNid' };
/** Position in the stream of events that clients see. */
export type StreamPosition = number & { readonly [brand]: 'StreamPosition' };

/** No event. */
export const NO_EVENT = 0 as EventNid;

/** A list of NIDs as bytes (u32, little-endian). */
export function nidsToBytes(nids: ArrayLike<number>): Buffer {
  const bytes = Buffer.allocUnsafe(4 * nids.length);
  for (let i = 0; i < nids.length; i++) bytes.writeUInt32LE(nids[i] as number, 4 * i);
  return bytes;
}

/** NIDs from bytes. */
export function bytesToNids<Nid extends number>(bytes: Buffer | undefined): Nid[] {
  const nids: Nid[] = [];
  if (bytes !== undefined) for (let at = 0; at < bytes.length; at += 4) nids.push(bytes.readUInt32LE(at) as Nid);
  return nids;
}
