/**
 * The state resets that MSC4297 describes, and how room version 12 (state resolution v2.1) is spared them.
 * The same forks in both versions: version 11 must reset, as every homeserver does there, version 12 must not.
 */

import { describe, expect, it } from 'vitest';
import { stateKeyOf } from '../../src/kernel/state-res/state-map.js';
import { ALICE, BOB, CAROL, type Fork, RoomBuilder } from './room-builder.js';

/** Two join rules of Alice in conflict, after she left: her leave is unconflicted. */
function leftAfterJoinRules(version: string): { room: RoomBuilder; forks: Fork[] } {
  const room = new RoomBuilder(version);
  const base = room.startWith([BOB], { [BOB]: 50 });
  let closed = room.state(base, 'close', ALICE, 'm.room.join_rules', { join_rule: 'invite' });
  closed = room.member(closed, 'leave-alice', ALICE, ALICE, 'leave');
  const state = new Map(closed.state).set(stateKeyOf('m.room.join_rules', ''), room.idOf('join-rules'));
  return { room, forks: [closed, { state, last: closed.last }] };
}

/** Power levels 1 and 3 in conflict; 2, between them, is in the auth chain of both sides. */
function powerLevelsBetween(version: string): { room: RoomBuilder; forks: Fork[] } {
  const room = new RoomBuilder(version);
  const creator = room.rules.privilegedCreators ? {} : { [ALICE]: 100 };
  let fork = room.startWith([BOB, CAROL]);
  fork = room.powerLevels(fork, 'promote-bob', ALICE, { ...creator, [BOB]: 90 });
  fork = room.state(fork, 'name', BOB, 'm.room.name', { name: 'named on the promotion' });
  fork = room.powerLevels(fork, 'promote-carol', BOB, { ...creator, [BOB]: 90, [CAROL]: 50 });
  const state = new Map(fork.state).set(stateKeyOf('m.room.power_levels', ''), room.idOf('power-levels'));
  return { room, forks: [fork, { state, last: fork.last }] };
}

describe('MSC4297, problem A: the unconflicted state holds the leave of the one who sent the conflicted events', () => {
  it('in version 11 no join rule survives', () => {
    const { room, forks } = leftAfterJoinRules('11');
    expect(room.winner(forks, 'm.room.join_rules')).toBeUndefined();
    expect(room.refusals(forks)).toEqual({ 'join-rules': 'sender-not-joined', close: 'sender-not-joined' });
  });

  it('in version 12 the newer join rule wins, because the checks begin with an empty state map', () => {
    const { room, forks } = leftAfterJoinRules('12');
    expect(room.winner(forks, 'm.room.join_rules')).toBe('close');
    expect(room.winner(forks, 'm.room.member', ALICE)).toBe('leave-alice');
    expect(room.refusals(forks)).toEqual({});
  });
});

describe('MSC4297, problem B: an event between two conflicted ones is neither conflicted nor in the auth difference', () => {
  it('in version 11 the older power levels win', () => {
    const { room, forks } = powerLevelsBetween('11');
    expect(room.resolve(forks).authDifferenceCount).toBe(0);
    expect(room.winner(forks, 'm.room.power_levels')).toBe('power-levels');
    expect(room.refusals(forks)).toEqual({ 'promote-carol': 'insufficient-power' });
  });

  it('in version 12 the newer power levels win, because the conflicted state subgraph is replayed', () => {
    const { room, forks } = powerLevelsBetween('12');
    expect(room.resolve(forks).authDifferenceCount).toBe(0);
    expect(room.winner(forks, 'm.room.power_levels')).toBe('promote-carol');
  });
});

describe('MSC4289: the creators of a room of version 12', () => {
  const additional = { additional_creators: [BOB] };
  const HIGHEST = Number.MAX_SAFE_INTEGER;

  it('a creator wins over an admin with the highest level there is, whatever the timestamps say', () => {
    const room = new RoomBuilder('12');
    const base = room.startWith([BOB, CAROL], { [CAROL]: HIGHEST }, additional);
    const banned = room.member(base, 'ban-carol', BOB, CAROL, 'ban', 9_000);
    const closed = room.state(base, 'close', CAROL, 'm.room.join_rules', { join_rule: 'invite' }, 1);
    expect(room.winner([closed, banned], 'm.room.member', CAROL)).toBe('ban-carol');
    expect(room.winner([closed, banned], 'm.room.join_rules')).toBe('join-rules');
  });

  it('between two creators the later origin_server_ts wins', () => {
    const room = new RoomBuilder('12');
    const base = room.startWith([BOB, CAROL], {}, additional);
    const later = room.powerLevels(base, 'a-later', BOB, { [CAROL]: 1 }, 5_000);
    const earlier = room.powerLevels(base, 'b-earlier', ALICE, { [CAROL]: 2 }, 4_000);
    expect(room.winner([later, earlier], 'm.room.power_levels')).toBe('a-later');
    expect(room.winner([earlier, later], 'm.room.power_levels')).toBe('a-later');
  });

  it('an admin cannot ban a creator, nor one creator another', () => {
    const room = new RoomBuilder('12');
    const base = room.startWith([BOB, CAROL], { [CAROL]: HIGHEST }, additional);
    for (const [label, sender, target] of [
      ['ban-alice', CAROL, ALICE],
      ['ban-bob', ALICE, BOB],
    ] as const) {
      const fork = room.send(base, {
        label,
        sender,
        type: 'm.room.member',
        stateKey: target,
        content: { membership: 'ban' },
        forbidden: true,
      });
      expect(room.refusals([base, fork])).toEqual({ [label]: 'ban-insufficient-power' });
    }
  });

  it('the create event stands although no auth_events name it, also where one set lacks it', () => {
    const room = new RoomBuilder('12');
    const base = room.startWith([BOB]);
    const authEventsOnly = new Map([...base.state].filter(([key]) => !key.startsWith('m.room.create')));
    const { resolved } = room.resolve([base, { state: authEventsOnly, last: undefined }]);
    expect(resolved).toEqual(base.state);
  });
});

describe('MSC4289, the other way: the creator of a room of version 11', () => {
  it('loses to an admin whose level is higher, and can be demoted and banned', () => {
    const room = new RoomBuilder('11');
    let base = room.startWith([BOB, CAROL], { [CAROL]: 100 });
    base = room.powerLevels(base, 'demote-alice', ALICE, { [ALICE]: 50, [CAROL]: 100 });
    const banned = room.member(base, 'ban-alice', CAROL, ALICE, 'ban', 9_000);
    const renamed = room.state(base, 'topic', ALICE, 'm.room.topic', { topic: 'x' }, 1);
    expect(room.winner([renamed, banned], 'm.room.member', ALICE)).toBe('ban-alice');
    expect(room.winner([renamed, banned], 'm.room.topic')).toBeUndefined();
    expect(room.refusals([renamed, banned])).toEqual({ topic: 'sender-not-joined' });
  });

  it('has no more power for additional_creators, whom version 11 does not know', () => {
    const room = new RoomBuilder('11');
    const base = room.startWith([BOB, CAROL], { [CAROL]: 50 }, { additional_creators: [BOB] });
    const ban = { label: 'ban-carol', sender: BOB, type: 'm.room.member', stateKey: CAROL };
    const forbidden = room.send(base, { ...ban, content: { membership: 'ban' }, forbidden: true });
    expect(room.refusals([base, forbidden])).toEqual({ 'ban-carol': 'ban-insufficient-power' });
  });
});
