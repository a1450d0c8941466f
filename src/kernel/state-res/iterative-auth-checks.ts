/**
 * The iterative auth checks algorithm: applies sorted events to a state, one by one, where the authorization rules allow
 * them against the state so far.
 *
 * "If a (event_type, state_key) key that is required for checking the authorization rules is not present in the state,
 * then the appropriate state event from the event's auth_events is used if the auth event is not rejected."
 * Specification v1.19, rooms/v2, "Definitions", "Iterative auth checks".
 */

import type { AuthCode } from '../event-auth/auth-verdict.js';
import { type AuthRuleOptions, checkAuthRules } from '../event-auth/check-auth-rules.js';
import type { AuthEvent } from '../matrix/auth-event.js';
import type { EventId } from '../matrix/ids.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';
import { authEventAt, type EventSource } from './event-source.js';
import { type StateKey, stateKeyOf } from './state-map.js';

/**
 * Why an event has no part in the resolved state: an authorization rule, or `event-missing` (the source does not know
 * it), `event-not-state`, `event-rejected` (its own auth events refuse it), `event-on-cycle` (its auth chain holds itself).
 */
export type ResolutionCode = AuthCode | 'event-missing' | 'event-not-state' | 'event-rejected' | 'event-on-cycle';

/** An event that was considered and refused. */
export interface RefusedEvent {
  readonly eventId: EventId;
  readonly code: ResolutionCode;
}

/** The state that is being resolved. */
export interface ResolvingState {
  /** What the algorithm applied. */
  readonly applied: Map<StateKey, EventId>;
  /** What stands where nothing was applied: the unconflicted state map, or nothing (v12+). */
  readonly base: (key: StateKey) => EventId | undefined;
  readonly refused: RefusedEvent[];
}

/** The event of the state at a key, where it is known and not rejected. */
export function eventAt(resolving: ResolvingState, key: StateKey, source: EventSource): AuthEvent | undefined {
  const id = resolving.applied.get(key) ?? resolving.base(key);
  const event = id === undefined ? undefined : source.event(id);
  return event?.rejected ? undefined : event;
}

/** Applies the events in their order to the state, which it changes. */
export function iterativeAuthChecks(
  rules: RoomVersionRules,
  events: readonly AuthEvent[],
  resolving: ResolvingState,
  source: EventSource,
  options: AuthRuleOptions,
): void {
  for (const event of events) {
    if (event.stateKey === undefined) continue;
    const verdict = checkAuthRules(
      rules,
      event,
      (type, stateKey) => {
        const inState = eventAt(resolving, stateKeyOf(type, stateKey), source);
        if (inState !== undefined) return inState;
        const authEvent = authEventAt(rules, event, type, stateKey, source);
        return authEvent?.rejected ? undefined : authEvent;
      },
      options,
    );
    if (verdict.allowed) resolving.applied.set(stateKeyOf(event.type, event.stateKey), event.eventId);
    else resolving.refused.push({ eventId: event.eventId, code: verdict.code });
  }
}
