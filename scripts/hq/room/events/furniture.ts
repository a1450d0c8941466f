/**
 * The state that is neither spine nor membership: name, alias, topic, widgets, bridges and the like, each sent by the
 * administrator whose turn it was. Room name and canonical alias are there, so a partial answer needs no heroes.
 */

import type { JsonObject } from '../../../../src/kernel/matrix/json.js';
import { letters } from '../plan/names.js';
import { randomOf } from '../plan/random.js';
import type { RoomShape } from '../plan/room-shape.js';
import { ADMINS, FURNITURE, SPINE_ROUNDS } from '../plan/room-shape.js';
import type { BuiltEvent } from './build-event.js';
import { buildEvent } from './build-event.js';
import type { Spine } from './build-spine.js';
import { furnitureNid, roundTs } from './build-spine.js';

interface Piece {
  readonly type: string;
  readonly stateKey: string;
  readonly content: JsonObject;
}

/** All administrators have joined and the furniture can be sent from this round on. */
const FIRST_ROUND = ADMINS;
/** After the spine's events of the round, before the shards'. */
const DELAY_MS = 60_000;

/** Makes the furniture; its NIDs follow the spine's state. */
export function furniture(
  shape: RoomShape,
  spine: Omit<Spine, 'stateKeys'>,
): readonly { readonly type: string; readonly stateKey: string; readonly event: BuiltEvent }[] {
  const random = randomOf(shape.seed, 'furniture');
  return pieces(shape).map((piece, n) => {
    const round = FIRST_ROUND + random.below(SPINE_ROUNDS - FIRST_ROUND);
    const turn = round % ADMINS;
    const { powerLevels, joinRules, admins } = spine.rounds[round]!;
    const sender = spine.adminIds[turn] as string;
    const event = buildEvent(
      spine.builder,
      {
        ...piece,
        nid: furnitureNid(n),
        sender,
        originServerTs: roundTs(round) + DELAY_MS + n,
        prevs: [joinRules],
      },
      (type) => {
        if (type === 'm.room.create') return spine.create;
        return type === 'm.room.power_levels' ? powerLevels : admins[turn];
      },
    );
    return { type: piece.type, stateKey: piece.stateKey, event };
  });
}

function pieces(shape: RoomShape): Piece[] {
  const random = randomOf(shape.seed, 'furniture contents');
  const home = shape.servers[0] as string;
  const single: Readonly<Record<string, JsonObject>> = {
    'm.room.name': { name: 'Rehearsal HQ (synthetic)' },
    'm.room.canonical_alias': { alias: `#hq:${home}`, alt_aliases: [`#rehearsal:${home}`] },
    'm.room.topic': { topic: 'A synthetic room in the shape of a very large one. Nobody here is real.' },
    'm.room.avatar': { url: `mxc://${home}/${letters(random, 24)}` },
    'm.room.history_visibility': { history_visibility: 'shared' },
    'm.room.guest_access': { guest_access: 'forbidden' },
    'm.room.pinned_events': { pinned: [] },
    'm.room.server_acl': { allow: ['*'], allow_ip_literals: false, deny: ['*.spam.example'] },
    'org.matrix.room.preview_urls': { disable: false },
    'm.room.bot.options': {},
  };
  const made: Piece[] = Object.entries(single).map(([type, content]) => ({ type, stateKey: '', content }));
  for (let i = 0; made.length < FURNITURE; i++) made.push(i % 2 === 0 ? widget(home, i) : bridge(home, i));
  return made;
}

function widget(home: string, i: number): Piece {
  const id = `widget_${String(i).padStart(3, '0')}`;
  const content = {
    creatorUserId: `@admin1:${home}`,
    data: { title: `Dashboard ${i}` },
    id,
    name: `Dashboard ${i}`,
    type: 'm.custom',
    url: `https://${home}/widgets/${id}?room=$matrix_room_id&user=$matrix_user_id`,
  };
  return { type: 'im.vector.modular.widgets', stateKey: id, content };
}

function bridge(home: string, i: number): Piece {
  const stateKey = `org.example.appservice://irc/network${i}/%23hq`;
  const content = {
    bridgebot: `@bridge${i}:${home}`,
    channel: { id: '#hq', external_url: `irc://network${i}.example/%23hq` },
    network: { id: `network${i}`, displayname: `Network ${i}` },
    protocol: { id: 'irc', displayname: 'IRC' },
  };
  return { type: 'm.bridge', stateKey, content };
}
