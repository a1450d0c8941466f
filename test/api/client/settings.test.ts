import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/kernel/matrix/json.js';
import { ServedRoom } from '../federation/served-room.js';
import { ClientApi } from './client-api.js';

/** Specification v1.19, client-server API, "Predefined Rules": those that notify, and those that keep silent. */
const SILENT = [
  '.m.rule.master',
  '.m.rule.suppress_notices',
  '.m.rule.member_event',
  '.m.rule.reaction',
  '.m.rule.room.server_acl',
  '.m.rule.suppress_edits',
];
const NOTIFYING = [
  '.m.rule.invite_for_me',
  '.m.rule.is_user_mention',
  '.m.rule.is_room_mention',
  '.m.rule.tombstone',
  '.m.rule.call',
  '.m.rule.encrypted_room_one_to_one',
  '.m.rule.room_one_to_one',
  '.m.rule.message',
  '.m.rule.encrypted',
];

let served: ServedRoom;
let api: ClientApi;
let token: string;

beforeEach(async () => {
  served = new ServedRoom();
  api = new ClientApi(served.server);
  token = await api.tokenOf('erin');
});

afterEach(() => served.close());

describe('GET /pushrules/', () => {
  async function rules(): Promise<JsonObject[]> {
    const { body } = await api.call('GET', '/pushrules/', { token });
    const kinds = body.global as Readonly<Record<string, JsonObject[]>>;
    expect(Object.keys(kinds).sort()).toEqual(['content', 'override', 'room', 'sender', 'underride']);
    return Object.values(kinds).flat();
  }

  it('answers every predefined rule, and that each notifies or keeps silent', async () => {
    const found = await rules();
    const idsOf = (list: readonly JsonObject[]) => list.map(({ rule_id: id }) => id).sort();
    const silent = found.filter(({ actions }) => (actions as unknown[]).length === 0);
    expect(idsOf(silent)).toEqual(SILENT.toSorted());
    expect(idsOf(found.filter((rule) => !silent.includes(rule)))).toEqual(NOTIFYING.toSorted());
    expect(found.every((rule) => rule.default === true && rule.enabled === (rule.rule_id !== '.m.rule.master'))).toBe(
      true,
    );
  });

  it('escapes dots of keys, and names the user where a rule is about them', async () => {
    const byId = new Map((await rules()).map((rule) => [rule.rule_id, rule.conditions]));
    expect(byId.get('.m.rule.suppress_edits')).toEqual([
      { kind: 'event_property_is', key: 'content.m\\.relates_to.rel_type', value: 'm.replace' },
    ]);
    expect(byId.get('.m.rule.is_user_mention')).toEqual([
      { kind: 'event_property_contains', key: 'content.m\\.mentions.user_ids', value: '@erin:hs1' },
    ]);
  });

  it('answers the global rules alone at their own path', async () => {
    const all = await api.call('GET', '/pushrules/', { token });
    expect((await api.call('GET', '/pushrules/global/', { token })).body).toEqual(all.body.global);
  });
});
