/**
 * Names of the rehearsal room: signing keys, local parts, display names, avatars. Made from the seed, of realistic
 * length and alphabet, and belonging to nobody.
 */

import { hash } from 'node:crypto';
import type { KeyId, ServerName } from '../../../../src/kernel/matrix/ids.js';
import type { SigningKey } from '../../../../src/kernel/signatures/ed25519.js';
import { signingKeyOfSeed } from '../../../../src/kernel/signatures/ed25519.js';
import type { Random } from './random.js';

const FIRST = (
  'ada alan amira anders bea bruno carla chen dara david elena emeka fatima felix greta hana hugo ines ivan jana jo ' +
  'kai kofi lena liam luz maya milo nadia nils olga omar pia quinn rosa ravi sara sven tara theo uma vera wei yuki zoe'
).split(' ');
const SECOND = (
  'amber birch brook cloud coral crow dune ember fern finch flint frost grove hazel heron iris jade lark linden maple ' +
  'marsh moss oak otter pebble pine quartz raven reed ridge river robin sage shore slate sparrow stone thorn vale wren'
).split(' ');
const SUFFIXES = [
  '',
  '',
  '',
  '',
  '',
  ' (he/him)',
  ' (she/her)',
  ' (they/them)',
  ' [away]',
  ' | work',
  ' 🦀',
  ' ☕',
  ' ✨',
];
const FAR_NAMES = ['Ωmega', 'Łukasz', 'Ñandú', '张伟', 'さくら', 'Дарья', 'Zoë', 'Søren', 'مريم', '김민준'];
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** Length of the media IDs that the reference homeserver gives. */
const MEDIA_ID_CHARS = 24;

/** The signing key of a server of this room. */
export function signingKeyOf(seed: string, server: string): SigningKey {
  const digest = hash('sha256', `${seed}\0signing key\0${server}`, 'buffer');
  const version = Array.from(digest.subarray(0, 4), (byte) => String.fromCharCode(97 + (byte % 26))).join('');
  const keySeed = hash('sha256', digest, 'buffer');
  return signingKeyOfSeed(server as ServerName, `ed25519:a_${version}` as KeyId, keySeed);
}

/** The resident's key as its file holds it. */
export function signingKeyLine(key: SigningKey): string {
  const keySeed = key.secretKey.subarray(0, 32).toString('base64').replace(/=+$/, '');
  return `ed25519 ${key.keyId.slice('ed25519:'.length)} ${keySeed}\n`;
}

/** Keys by server, each made once. */
export function keyRing(seed: string): (server: string) => SigningKey {
  const keys = new Map<string, SigningKey>();
  return (server) => {
    let key = keys.get(server);
    if (key === undefined) {
      key = signingKeyOf(seed, server);
      keys.set(server, key);
    }
    return key;
  };
}

/** Letters, for media IDs and the like. */
export function letters(random: Random, count: number): string {
  let text = '';
  for (let i = 0; i < count; i++) text += ALPHABET[random.below(ALPHABET.length)];
  return text;
}

/** A local part that no other (shard, index) has. */
export function localpart(random: Random, shard: number, index: number): string {
  const unique = (index * 64 + shard).toString(36);
  return `${random.pick(FIRST)}${random.pick(['.', '-', '_', ''])}${random.pick(SECOND)}${unique}`;
}

export function displayName(random: Random): string {
  if (random.chance(0.06)) return `${random.pick(FAR_NAMES)} ${random.below(1000)}`;
  const first = random.pick(FIRST);
  const name = `${first.charAt(0).toUpperCase()}${first.slice(1)} ${random.pick(SECOND)}`;
  return random.chance(0.3) ? `${name}${random.pick(SUFFIXES)}` : name;
}

export function avatarUrl(random: Random, server: string): string {
  return `mxc://${server}/${letters(random, MEDIA_ID_CHARS)}`;
}

/** An access token that a seed gives one of the resident's users. */
export function accessToken(seed: string, userId: string): string {
  return `hq_${hash('sha256', `${seed}\0access token\0${userId}`, 'base64url')}`;
}

/**
 * Picks servers with a share of 1 / rank (Zipf's law): an assumption about the room, in which few servers have most of
 * the users and most servers a handful.
 */
export function zipfServers(servers: readonly string[]): (random: Random) => string {
  const cumulative = new Float64Array(servers.length);
  let sum = 0;
  for (let rank = 0; rank < servers.length; rank++) {
    sum += 1 / (rank + 1);
    cumulative[rank] = sum;
  }
  return (random) => {
    const wanted = random.next() * sum;
    let low = 0;
    let high = servers.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((cumulative[middle] as number) > wanted) high = middle;
      else low = middle + 1;
    }
    return servers[low] as string;
  };
}
