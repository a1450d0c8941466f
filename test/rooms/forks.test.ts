/** Stories of two forks of one room, named by what must win. Each runs in every room version it is said for. */

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ALICE, BOB, CAROL, MALLORY, RoomBuilder } from './room-builder.js';

const V2_AND_LATER = ['2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12'];

/** The power levels that Alice's users entry needs in versions where the creator is listed. */
function levels(room: RoomBuilder, users: Record<string, number>): Record<string, number> {
  return room.rules.privilegedCreators ? users : { [ALICE]: 100, ...users };
}

describe.each(V2_AND_LATER)('Two forks of a room of version %s', (version) => {
  it('the demotion of a moderator wins over the ban that the moderator sent meanwhile', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB, MALLORY], { [BOB]: 50 });
    const demoted = room.powerLevels(base, 'demote-bob', ALICE, levels(room, { [BOB]: 0 }), 5_000);
    const banned = room.member(base, 'ban-mallory', BOB, MALLORY, 'ban', 4_000);
    const forks = [demoted, banned];
    expect(room.winner(forks, 'm.room.power_levels')).toBe('demote-bob');
    expect(room.winner(forks, 'm.room.member', MALLORY)).toBe('join-mallory');
    expect(room.refusals(forks)).toEqual({ 'ban-mallory': 'ban-insufficient-power' });
  });

  it('the ban of a moderator wins over the power levels that the moderator sent meanwhile', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([CAROL, MALLORY], { [MALLORY]: 50 });
    const banned = room.member(base, 'ban-mallory', ALICE, MALLORY, 'ban', 5_000);
    const promoted = room.powerLevels(
      base,
      'promote-carol',
      MALLORY,
      levels(room, { [MALLORY]: 50, [CAROL]: 50 }),
      4_000,
    );
    const forks = [banned, promoted];
    expect(room.winner(forks, 'm.room.member', MALLORY)).toBe('ban-mallory');
    expect(room.winner(forks, 'm.room.power_levels')).toBe('power-levels');
    expect(room.refusals(forks)).toEqual({ 'promote-carol': 'sender-not-joined' });
  });

  it('the ban by the stronger moderator wins over the ban that the banned one sent meanwhile', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB, CAROL, MALLORY], { [BOB]: 75, [MALLORY]: 50 });
    const banned = room.member(base, 'ban-mallory', BOB, MALLORY, 'ban', 9_000);
    const revenge = room.member(base, 'ban-carol', MALLORY, CAROL, 'ban', 1);
    expect(room.winner([revenge, banned], 'm.room.member', CAROL)).toBe('join-carol');
    expect(room.winner([revenge, banned], 'm.room.member', MALLORY)).toBe('ban-mallory');
  });

  it('closed join rules win over a join that came meanwhile, whatever its timestamp says', () => {
    const room = new RoomBuilder(version);
    const base = room.start();
    const closed = room.state(base, 'close', ALICE, 'm.room.join_rules', { join_rule: 'invite' }, 5_000);
    const joined = room.member(base, 'join-mallory', MALLORY, MALLORY, 'join', 1);
    const forks = [closed, joined];
    expect(room.winner(forks, 'm.room.join_rules')).toBe('close');
    expect(room.winner(forks, 'm.room.member', MALLORY)).toBeUndefined();
    expect(room.refusals(forks)).toEqual({ 'join-mallory': 'join-not-invited' });
  });

  it('a ban wins over the topic that the banned user set meanwhile; the old topic stays', () => {
    const room = new RoomBuilder(version);
    let base = room.startWith([MALLORY], { [MALLORY]: 50 });
    base = room.state(base, 'old-topic', ALICE, 'm.room.topic', { topic: 'old' });
    const banned = room.member(base, 'ban-mallory', ALICE, MALLORY, 'ban', 9_000);
    const renamed = room.state(base, 'new-topic', MALLORY, 'm.room.topic', { topic: 'new' }, 4_000);
    const forks = [banned, renamed];
    expect(room.winner(forks, 'm.room.topic')).toBe('old-topic');
    expect(room.winner(forks, 'm.room.member', MALLORY)).toBe('ban-mallory');
  });

  it('the power levels of the admin win over those of the moderator whom they demote', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB, CAROL], { [BOB]: 50 });
    const admin = room.powerLevels(base, 'by-admin', ALICE, levels(room, { [BOB]: 0 }), 9_000);
    const moderator = room.powerLevels(base, 'by-moderator', BOB, levels(room, { [BOB]: 50, [CAROL]: 50 }), 1);
    const forks = [moderator, admin];
    expect(room.winner(forks, 'm.room.power_levels')).toBe('by-admin');
    expect(room.refusals(forks)).toEqual({ 'by-moderator': 'insufficient-power' });
  });

  it('the power levels of the moderator stand on those of the admin that leave them their power', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB, CAROL], { [BOB]: 50 });
    const admin = room.powerLevels(base, 'by-admin', ALICE, levels(room, { [BOB]: 50, [MALLORY]: 10 }), 9_000);
    const moderator = room.powerLevels(base, 'by-moderator', BOB, levels(room, { [BOB]: 50, [CAROL]: 50 }), 1);
    expect(room.winner([moderator, admin], 'm.room.power_levels')).toBe('by-moderator');
  });

  it('joins of different users that came at the same time all win', () => {
    const room = new RoomBuilder(version);
    const base = room.start();
    const forks = [BOB, CAROL, MALLORY].map((user, index) =>
      room.member(base, `join-${index}`, user, user, 'join', 4_000),
    );
    expect(room.winner(forks, 'm.room.member', BOB)).toBe('join-0');
    expect(room.winner(forks, 'm.room.member', CAROL)).toBe('join-1');
    expect(room.winner(forks, 'm.room.member', MALLORY)).toBe('join-2');
  });

  it('of two topics on the same power levels the later origin_server_ts wins', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB], { [BOB]: 50 });
    const later = room.state(base, 'a-later', BOB, 'm.room.topic', { topic: 'b' }, 4_001);
    const earlier = room.state(base, 'b-earlier', ALICE, 'm.room.topic', { topic: 'a' }, 4_000);
    expect(room.winner([later, earlier], 'm.room.topic')).toBe('a-later');
  });

  it('of two topics with the same origin_server_ts the greater event ID wins', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB], { [BOB]: 50 });
    const small = room.state(base, 'Z', ALICE, 'm.room.topic', { topic: 'Z' }, 4_000);
    const great = room.state(base, 'a', BOB, 'm.room.topic', { topic: 'a' }, 4_000);
    expect(room.winner([great, small], 'm.room.topic')).toBe('a');
  });

  it('a topic on newer power levels wins over one on older ones, whatever the timestamps say', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB], { [BOB]: 50 });
    const old = room.state(base, 'on-old', BOB, 'm.room.topic', { topic: 'old' }, 9_000);
    let newer = room.powerLevels(base, 'newer-levels', ALICE, levels(room, { [BOB]: 60 }), 4_000);
    newer = room.state(newer, 'on-new', ALICE, 'm.room.topic', { topic: 'new' }, 4_001);
    expect(room.winner([old, newer], 'm.room.topic')).toBe('on-new');
  });

  it('an event that its own auth events refuse never enters the resolved state', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB, CAROL], { [BOB]: 50 });
    const good = room.state(base, 'good', BOB, 'm.room.topic', { topic: 'good' }, 4_000);
    const topic = { label: 'bad', sender: CAROL, type: 'm.room.topic', stateKey: '', content: {}, ts: 5_000 };
    const bad = room.add(base, { ...room.make(base, topic), rejected: true });
    expect(room.winner([good, bad], 'm.room.topic')).toBe('good');
    expect(room.refusals([good, bad])).toEqual({ bad: 'event-rejected' });
  });

  it('an event that rests on a rejected one never enters the resolved state', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB, CAROL], { [BOB]: 50 });
    const good = room.state(base, 'good', BOB, 'm.room.topic', { topic: 'good' }, 4_000);
    const users = levels(room, { [BOB]: 50, [CAROL]: 50 });
    const grab = { label: 'grab', sender: CAROL, type: 'm.room.power_levels', stateKey: '', content: { users } };
    const grabbed = room.add(base, { ...room.make(base, grab), rejected: true });
    const topic = { label: 'bad', sender: CAROL, type: 'm.room.topic', stateKey: '', content: {}, ts: 5_000 };
    const bad = room.add(grabbed, { ...room.make(grabbed, topic), rejected: true });
    expect(room.winner([good, bad], 'm.room.topic')).toBe('good');
    expect(room.winner([good, bad], 'm.room.power_levels')).toBe('power-levels');
    expect(room.refusals([good, bad])).toEqual({ bad: 'event-rejected', grab: 'event-rejected' });
  });

  it('an event that only the state before it refused is resolved like any other', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB], { [BOB]: 50 });
    const good = room.state(base, 'good', BOB, 'm.room.topic', { topic: 'good' }, 4_000);
    const topic = { label: 'late', sender: ALICE, type: 'm.room.topic', stateKey: '', content: {}, ts: 5_000 };
    const late = room.add(base, { ...room.make(base, topic), rejected: true });
    expect(room.winner([good, late], 'm.room.topic')).toBe('late');
    expect(room.refusals([good, late])).toEqual({});
  });

  it('a rejected event in the state authorises nothing', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB, CAROL], { [BOB]: 50 });
    const users = levels(room, { [BOB]: 0 });
    const levelsEvent = {
      label: 'demote',
      sender: ALICE,
      type: 'm.room.power_levels',
      stateKey: '',
      content: { users },
    };
    const demoted = room.add(base, { ...room.make(base, levelsEvent), rejected: true });
    const topic = room.state(base, 'topic', BOB, 'm.room.topic', { topic: 'x' });
    expect(room.winner([demoted, topic], 'm.room.topic')).toBe('topic');
  });

  it('an event that nobody has leaves the state to the one that is known', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB], { [BOB]: 50 });
    const known = room.state(base, 'known', BOB, 'm.room.topic', { topic: 'known' });
    const unknown = room.state(base, 'unknown', ALICE, 'm.room.topic', { topic: 'unknown' });
    room.events.delete(room.idOf('unknown'));
    expect(room.winner([unknown, known], 'm.room.topic')).toBe('known');
    expect(room.refusals([unknown, known])).toEqual({ unknown: 'event-missing' });
  });

  it('equal state sets, and a single one, are their own resolution', () => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB]);
    expect(room.resolve([base]).resolved).toEqual(base.state);
    expect(room.resolve([base, base]).resolved).toEqual(base.state);
    expect(room.resolve([]).resolved).toEqual(new Map());
  });
});

describe('A topic on newer power levels, where all forks agree on the power levels', () => {
  const winnerIn = (version: string) => {
    const room = new RoomBuilder(version);
    const base = room.startWith([BOB], { [BOB]: 50 });
    const old = room.state(base, 'on-old', BOB, 'm.room.topic', { topic: 'old' }, 9_000);
    let newer = room.powerLevels(base, 'newer-levels', ALICE, levels(room, { [BOB]: 60 }), 4_000);
    // Both forks have an event that cites the newer levels, so that these are in no auth difference.
    newer = room.state(newer, 'name', ALICE, 'm.room.name', { name: 'x' }, 4_001);
    const renamed = room.state(newer, 'on-new', ALICE, 'm.room.topic', { topic: 'new' }, 4_002);
    const key = 'm.room.topic\0';
    return room.winner(
      [renamed, { ...newer, state: new Map(newer.state).set(key, old.state.get(key)!) }],
      'm.room.topic',
    );
  };

  it('wins in version 11, where the mainline is that of the unconflicted power levels', () => {
    expect(winnerIn('11')).toBe('on-new');
  });
  it('loses to a later timestamp in version 12, where the partially resolved state then has no power levels', () => {
    expect(winnerIn('12')).toBe('on-old');
  });
});

describe('Two forks of a room of version 1', () => {
  it('the newest of the conflicting topics that is allowed wins', () => {
    const room = new RoomBuilder('1');
    const base = room.startWith([BOB, MALLORY], { [BOB]: 50 });
    const short = room.state(base, 'short', ALICE, 'm.room.topic', { topic: 'short' });
    let long = room.state(base, 'name', ALICE, 'm.room.name', { name: 'x' });
    long = room.state(long, 'long', BOB, 'm.room.topic', { topic: 'long' });
    expect(room.winner([short, long], 'm.room.topic')).toBe('long');
    expect(room.winner([short, long], 'm.room.name')).toBe('name');
  });

  it('conflicting power levels are taken from the oldest on, until one is not allowed', () => {
    const room = new RoomBuilder('1');
    const base = room.startWith([BOB, CAROL], { [BOB]: 50 });
    const demoted = room.powerLevels(base, 'demote-bob', ALICE, { [ALICE]: 100, [BOB]: 0 });
    let longer = room.state(base, 'name', ALICE, 'm.room.name', { name: 'x' });
    longer = room.powerLevels(longer, 'by-bob', BOB, { [ALICE]: 100, [BOB]: 50, [CAROL]: 50 });
    expect(room.winner([longer, demoted], 'm.room.power_levels')).toBe('demote-bob');
    expect(room.refusals([longer, demoted])).toEqual({ 'by-bob': 'insufficient-power' });
  });

  it('with equal depth the event whose ID has the smaller SHA-1 wins', () => {
    const room = new RoomBuilder('1');
    const base = room.startWith([BOB], { [BOB]: 50 });
    const labels = ['x', 'y', 'z'];
    const forks = labels.map((label) => room.state(base, label, BOB, 'm.room.topic', { topic: label }));
    const sha1 = (label: string) => createHash('sha1').update(room.idOf(label)).digest('hex');
    const [smallest] = [...labels].sort((a, b) => (sha1(a) < sha1(b) ? -1 : 1));
    expect(room.winner(forks, 'm.room.topic')).toBe(smallest);
    expect(room.winner(forks.reverse(), 'm.room.topic')).toBe(smallest);
  });

  it('where no contender is allowed the oldest stands', () => {
    const room = new RoomBuilder('1');
    const base = room.startWith([BOB], { [BOB]: 50 });
    const old = room.state(base, 'old', BOB, 'm.room.topic', { topic: 'old' });
    const newer = room.state(old, 'newer', BOB, 'm.room.topic', { topic: 'newer' });
    const gone = [old, newer].map((fork) => ({
      ...fork,
      state: room.member(fork, 'leave-bob', BOB, BOB, 'leave').state,
    }));
    expect(room.winner(gone, 'm.room.topic')).toBe('old');
  });
});
