/** A room to try the authorization rules on: Alice made it, Bob (50) and Carol (0) are joined, Mallory is not. */

import { checkAuthEvents } from '../../../src/kernel/event-auth/check-auth-events.js';
import { checkAuthRules } from '../../../src/kernel/event-auth/check-auth-rules.js';
import type { VerifyInviteSignature } from '../../../src/kernel/event-auth/member/check-third-party-invite.js';
import type { AuthEvent } from '../../../src/kernel/matrix/auth-event.js';
import type { EventId } from '../../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { ALICE, BOB, CAROL, type Fork, MALLORY, RoomBuilder } from '../../rooms/room-builder.js';

const EMPTY: Fork = { state: new Map(), last: undefined };
/** Stands for ed25519: the key `key` made the signature `good`. */
const verify: VerifyInviteSignature = (publicKey, signature) => publicKey === 'key' && signature === 'good';

export class World {
  readonly room: RoomBuilder;
  readonly base: Fork;
  #made = 0;

  constructor(version: string) {
    this.room = new RoomBuilder(version);
    this.base = this.room.startWith([BOB, CAROL], { [BOB]: 50 });
  }

  event(label: string): AuthEvent {
    return this.room.event(this.room.idOf(label))!;
  }

  /** The verdict on an event made on the fork: 'allowed', or the code. */
  verdict(
    fork: Fork,
    sender: string,
    type: string,
    stateKey: string | undefined,
    content: JsonObject,
    change: Partial<AuthEvent> = {},
    verifyInviteSignature: VerifyInviteSignature | undefined = verify,
  ): string {
    const keyed = stateKey === undefined ? {} : { stateKey };
    const event = { ...this.room.make(fork, { label: 'tested', sender, type, content, ...keyed }), ...change };
    const verdict = checkAuthRules(this.room.rules, event, this.room.lookupOn(fork), { verifyInviteSignature });
    return verdict.allowed ? 'allowed' : verdict.code;
  }

  member(fork: Fork, sender: string, target: string, membership: string, more: JsonObject = {}): string {
    return this.verdict(fork, sender, 'm.room.member', target, { membership, ...more });
  }

  create(content: JsonObject, change: Partial<AuthEvent> = {}): string {
    const creator = this.room.rules.creatorInContent ? { creator: ALICE } : {};
    const eventId = this.room.idOf('create');
    return this.verdict(EMPTY, ALICE, 'm.room.create', '', { ...creator, ...content }, { eventId, ...change });
  }

  message(sender: string, change: Partial<AuthEvent> = {}): string {
    return this.verdict(this.base, sender, 'm.room.message', undefined, {}, change);
  }

  messageOn({ createRejected = false, noState = false }): string {
    const create = this.event('create');
    this.room.events.set(create.eventId, { ...create, rejected: createRejected });
    const verdict = this.verdict(noState ? EMPTY : this.base, ALICE, 'm.room.message', undefined, {});
    this.room.events.set(create.eventId, create);
    return verdict;
  }

  /** The verdict on a topic with its auth events changed. */
  listing(change: (listed: readonly AuthEvent[]) => readonly AuthEvent[]): string {
    const topic = { label: 'topic', sender: ALICE, type: 'm.room.topic', stateKey: '', content: {} };
    const event = this.room.make(this.base, topic);
    const listed = event.authEventIds.map((id) => this.room.event(id)!);
    const verdict = checkAuthEvents(this.room.rules, event, change(listed));
    return verdict.allowed ? 'allowed' : verdict.code;
  }

  joinUnfederated(user: string, federate: boolean): string {
    const other = new RoomBuilder(this.room.rules.version);
    const fork = other.start({}, { 'm.federate': federate });
    const event = other.make(fork, {
      label: 'tested',
      sender: user,
      type: 'm.room.member',
      stateKey: user,
      content: { membership: 'join' },
    });
    const verdict = checkAuthRules(other.rules, event, other.lookupOn(fork));
    return verdict.allowed ? 'allowed' : verdict.code;
  }

  with(membership: string, sender: string, target: string, fork = this.base): Fork {
    return this.room.member(fork, `made-${this.#made++}`, sender, target, membership);
  }

  rule(joinRule: string, fork = this.base): Fork {
    return this.room.state(fork, `made-${this.#made++}`, ALICE, 'm.room.join_rules', { join_rule: joinRule });
  }

  /** Users of power levels: Bob and Carol 60, and Alice 100 where creators are listed; changed by `users`. */
  users(users: JsonObject): JsonObject {
    const creator = this.room.rules.privilegedCreators ? {} : { [ALICE]: 100 };
    return { ...creator, [BOB]: 60, [CAROL]: 60, ...users };
  }

  levels(content: JsonObject): Fork {
    const users = this.users({ [BOB]: 50, [CAROL]: 0 });
    return this.room.state(this.base, `made-${this.#made++}`, ALICE, 'm.room.power_levels', { users, ...content });
  }

  /** The verdict on power levels that Bob (60) sends where `current` is. */
  bobsLevels(current: JsonObject, wanted: JsonObject): string {
    const users = this.users({});
    const content = { users, ...current };
    const fork = this.room.state(this.base, `made-${this.#made++}`, ALICE, 'm.room.power_levels', content);
    return this.verdict(fork, BOB, 'm.room.power_levels', '', { users, ...wanted });
  }

  /** Alice's offer to whoever has the token T. */
  offered(): Fork {
    return this.room.send(this.base, {
      label: `made-${this.#made++}`,
      sender: ALICE,
      type: 'm.room.third_party_invite',
      stateKey: 'T',
      content: { public_key: 'key' },
    });
  }

  /** The verdict of who cannot verify the signature of an invite. */
  unverifiable(signed: JsonObject): string {
    const content = { membership: 'invite', third_party_invite: { signed } };
    const fork = this.offered();
    const event = this.room.make(fork, {
      label: 'tested',
      sender: ALICE,
      type: 'm.room.member',
      stateKey: MALLORY,
      content,
    });
    const verdict = checkAuthRules(this.room.rules, event, this.room.lookupOn(fork));
    return verdict.allowed ? 'allowed' : verdict.code;
  }

  redact(sender: string, target: string): string {
    const redacts = { eventId: '$redaction:c.test' as EventId, redacts: target as EventId };
    return this.verdict(this.base, sender, 'm.room.redaction', undefined, {}, redacts);
  }
}
