/**
 * Readings of an event's content that are made once per event object and remembered as long as the object lives.
 *
 * Checks of a whole room ask the same create and power levels events hundreds of thousands of times. Weak keys: nothing
 * is kept alive, nothing needs a limit. Events are immutable, so a reading never goes stale.
 */

import type { AuthEvent } from '../matrix/auth-event.js';
import type { RoomVersionRules } from '../matrix/room-versions.js';

type Read<T> = (rules: RoomVersionRules, event: AuthEvent) => T;

/** `read`, remembering its answer for each (rules, event). */
export function readOnce<T extends object>(read: Read<T>): Read<T> {
  const answersByRules = new WeakMap<RoomVersionRules, WeakMap<AuthEvent, T>>();
  return (rules, event) => {
    let answers = answersByRules.get(rules);
    if (answers === undefined) {
      answers = new WeakMap();
      answersByRules.set(rules, answers);
    }
    let answer = answers.get(event);
    if (answer === undefined) {
      answer = read(rules, event);
      answers.set(event, answer);
    }
    return answer;
  };
}
