/**
 * Rooms for the stories: events written by hand, in forks that are values.
 *
 * A fork is a room state; `send` makes an event on it, lets the authorization rules confirm that it was allowed there,
 * and returns the fork after it. Event IDs are the labels given (`$ban-bob`), so that what wins can be read. No hashes,
 * no signatures: those have tests of their own.
 */

import { authEventTypes } from '../../src/kernel/event-auth/auth-event-types.js';
import { checkAuthEvents } from '../../src/kernel/event-auth/check-auth-events.js';
import { checkAuthRules } from '../../src/kernel/event-auth/check-auth-rules.js';
import type { StateLookup } from '../../src/kernel/event-auth/state-lookup.js';
import type { AuthEvent } from '../../src/kernel/matrix/auth-event.js';
import type { EventId, RoomId, UserId } from '../../src/kernel/matrix/ids.js';
import type { JsonObject } from '../../src/kernel/matrix/json.js';
import { type RoomVersionRules, roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import type { EventSource } from '../../src/kernel/state-res/event-source.js';
import { resolveState } from '../../src/kernel/state-res/resolve-state.js';
import { type StateMap, splitStateKey, stateKeyOf } from '../../src/kernel/state-res/state-map.js';

export const ALICE = '@alice:a.test';
export const BOB = '@bob:b.test';
export const CAROL = '@carol:c.test';
export const MALLORY = '@mallory:m.test';

/** What a story says of an event; the rest follows from the fork. */
export interface Sent {
  readonly label: string;
  readonly sender: string;
  readonly type: string;
  readonly stateKey?: string;
  readonly content: JsonObject;
  /** Milliseconds; one more than the event before it where a story does not care. */
  readonly ts?: number;
  /** Made although the rules refuse it on this fork. */
  readonly forbidden?: boolean;
}

/** A room state, and the event that made it. */
export interface Fork {
  readonly state: StateMap;
  readonly last: AuthEvent | undefined;
}

export class RoomBuilder implements EventSource {
  readonly rules: RoomVersionRules;
  readonly events = new Map<EventId, AuthEvent>();
  readonly roomId: RoomId;
  #clock = 1_000;

  constructor(version: string) {
    const rules = roomVersionRules(version);
    if (rules === undefined) throw new Error(`unknown room version ${version}`);
    this.rules = rules;
    this.roomId = (rules.roomIdIsCreateEventHash ? '!create' : '!room:a.test') as RoomId;
  }

  event(id: EventId): AuthEvent | undefined {
    return this.events.get(id);
  }

  idOf(label: string): EventId {
    return `$${label}${this.rules.eventIdForm === 'domain' ? ':a.test' : ''}` as EventId;
  }

  lookupOn(fork: Fork): StateLookup {
    return (type, stateKey) => {
      const id = fork.state.get(stateKeyOf(type, stateKey));
      return id === undefined ? undefined : this.events.get(id);
    };
  }

  /** The event that `sent` makes on a fork; not yet in the room, not yet checked. */
  make(fork: Fork, sent: Sent): AuthEvent {
    const shape = {
      type: sent.type,
      stateKey: sent.stateKey,
      sender: sent.sender as UserId,
      content: sent.content,
    };
    const authEventIds: EventId[] = [];
    for (const [type, stateKey] of authEventTypes(this.rules, shape)) {
      const id = fork.state.get(stateKeyOf(type, stateKey));
      if (id !== undefined) authEventIds.push(id);
    }
    this.#clock = sent.ts ?? this.#clock + 1;
    return {
      ...shape,
      eventId: this.idOf(sent.label),
      roomId: this.roomId,
      originServerTs: this.#clock,
      depth: (fork.last?.depth ?? 0) + 1,
      authEventIds,
      prevEventIds: fork.last === undefined ? [] : [fork.last.eventId],
      redacts: undefined,
      rejected: false,
    };
  }

  /** Adds an event to the room as it is, and to the fork's state. */
  add(fork: Fork, event: AuthEvent): Fork {
    this.events.set(event.eventId, event);
    if (event.stateKey === undefined) return { state: fork.state, last: event };
    return { state: new Map(fork.state).set(stateKeyOf(event.type, event.stateKey), event.eventId), last: event };
  }

  send(fork: Fork, sent: Sent): Fork {
    const event = this.make(fork, sent);
    const authEvents = event.authEventIds.map((id) => this.events.get(id)!);
    for (const verdict of [
      checkAuthEvents(this.rules, event, authEvents),
      checkAuthRules(this.rules, event, this.lookupOn(fork)),
    ]) {
      if (!verdict.allowed && !sent.forbidden) throw new Error(`${sent.label} was refused: ${verdict.reason}`);
    }
    return this.add(fork, event);
  }

  member(fork: Fork, label: string, sender: string, target: string, membership: string, ts?: number): Fork {
    const sent = { label, sender, type: 'm.room.member', stateKey: target, content: { membership } };
    return this.send(fork, ts === undefined ? sent : { ...sent, ts });
  }

  powerLevels(fork: Fork, label: string, sender: string, users: JsonObject, ts?: number): Fork {
    const sent = { label, sender, type: 'm.room.power_levels', stateKey: '', content: { users } };
    return this.send(fork, ts === undefined ? sent : { ...sent, ts });
  }

  state(fork: Fork, label: string, sender: string, type: string, content: JsonObject, ts?: number): Fork {
    const sent = { label, sender, type, stateKey: '', content };
    return this.send(fork, ts === undefined ? sent : { ...sent, ts });
  }

  /** A public room that Alice created; `users` are the power levels she gave, herself left out. */
  start(users: JsonObject = {}, createContent: JsonObject = {}): Fork {
    const { rules } = this;
    const creator = rules.creatorInContent ? { creator: ALICE } : {};
    const content = { ...creator, room_version: rules.version, ...createContent };
    const own = rules.privilegedCreators ? {} : { [ALICE]: 100 };
    let fork: Fork = { state: new Map(), last: undefined };
    fork = this.state(fork, 'create', ALICE, 'm.room.create', content);
    fork = this.member(fork, 'join-alice', ALICE, ALICE, 'join');
    fork = this.powerLevels(fork, 'power-levels', ALICE, { ...own, ...users });
    return this.state(fork, 'join-rules', ALICE, 'm.room.join_rules', { join_rule: 'public' });
  }

  /** `start`, with these users joined. */
  startWith(joined: readonly string[], users: JsonObject = {}, createContent: JsonObject = {}): Fork {
    let fork = this.start(users, createContent);
    for (const userId of joined) fork = this.member(fork, `join-${localpart(userId)}`, userId, userId, 'join');
    return fork;
  }

  /** The label of what stands at (type, state_key) after resolving the forks; undefined where nothing does. */
  winner(forks: readonly Fork[], type: string, stateKey = ''): string | undefined {
    return labelOf(this.resolve(forks).resolved.get(stateKeyOf(type, stateKey)));
  }

  resolve(forks: readonly Fork[]): ReturnType<typeof resolveState> {
    return resolveState(
      this.rules,
      forks.map(({ state }) => state),
      this,
    );
  }

  /** The codes of what the resolution of the forks refused, by label. */
  refusals(forks: readonly Fork[]): Record<string, string> {
    return Object.fromEntries(this.resolve(forks).rejected.map(({ eventId, code }) => [labelOf(eventId)!, code]));
  }
}

export function localpart(userId: string): string {
  return userId.slice(1, userId.indexOf(':'));
}

function labelOf(id: EventId | undefined): string | undefined {
  return id?.slice(1).replace(/:a\.test$/, '');
}

/** A state map as plain text, for comparisons that print well. */
export function printState(state: StateMap): Record<string, string> {
  const lines = [...state].map(([key, id]) => [splitStateKey(key).join(' | '), id] as const);
  return Object.fromEntries(lines.sort(([a], [b]) => (a < b ? -1 : 1)));
}
