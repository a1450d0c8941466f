/** Events by NID: records, bodies, IDs and status. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventKeyOf } from '../../src/kernel/matrix/event-key.js';
import type { EventId, UserId } from '../../src/kernel/matrix/ids.js';
import { roomVersionRules } from '../../src/kernel/matrix/room-versions.js';
import type { RecordDraft } from '../../src/store/event-record.js';
import {
  fillRecordNids,
  RECORD_AUTH_EVENTS_MAX,
  RecordFlag,
  readRecord,
  recordAuthNids,
  recordBodyBytes,
  recordBytesMax,
  recordIsRedacted,
  writeRecord,
} from '../../src/store/event-record.js';
import {
  eventStatus,
  eventStatuses,
  eventVerdict,
  StatusBit,
  setEventStatus,
  setEventStatuses,
  Verdict,
} from '../../src/store/event-status.js';
import {
  eventIdOfNid,
  eventNidOf,
  internEventIds,
  loadBody,
  loadEvent,
  loadRecord,
  putEvent,
  servedBody,
} from '../../src/store/events.js';
import type { EventNid, RoomNid } from '../../src/store/nids.js';
import { temporaryStore } from './temporary-store.js';

const store = temporaryStore();
const rules = roomVersionRules('11')!;
const nids = (...numbers: number[]) => numbers as EventNid[];

function draftOf(change: Partial<RecordDraft> = {}): RecordDraft {
  return {
    bodyBytes: 10,
    depth: 2 ** 53 - 1,
    originServerTs: 1_700_000_000_123,
    flags: RecordFlag.state,
    membership: 'join',
    type: 'm.room.member',
    stateKey: '@a:a.test',
    sender: '@a:a.test',
    eventKey: Buffer.alloc(32, 7),
    authCount: 0,
    ...change,
  };
}

describe('a compact record', () => {
  it('gives back what was written', () => {
    const text = fc.string({ unit: 'binary', maxLength: 40 });
    const auth = fc.array(fc.integer({ min: 1, max: 2 ** 32 - 1 }), { maxLength: RECORD_AUTH_EVENTS_MAX });
    fc.assert(
      fc.property(
        text,
        fc.option(text, { nil: undefined }),
        text,
        auth,
        fc.maxSafeInteger(),
        (type, stateKey, sender, authNids, ts) => {
          const flags = stateKey === undefined ? 0 : RecordFlag.state | RecordFlag.redacted;
          const draft = draftOf({ type, stateKey, sender, flags, originServerTs: ts, authCount: authNids.length });
          const buffer = Buffer.alloc(recordBytesMax(draft) + 5, 0xff);
          const length = writeRecord(buffer, 5, draft);
          expect(length).toBeLessThanOrEqual(recordBytesMax(draft));
          fillRecordNids(buffer, 5, 77 as RoomNid, nids(...authNids));
          const bytes = buffer.subarray(5, 5 + length);
          expect(readRecord(bytes)).toEqual({
            roomNid: 77,
            bodyBytes: 10,
            depth: 2 ** 53 - 1,
            originServerTs: ts,
            flags,
            membership: 'join',
            type,
            stateKey,
            sender,
            eventKey: Buffer.alloc(32, 7),
            authNids,
          });
          expect(recordAuthNids(bytes)).toEqual(authNids);
          expect([recordBodyBytes(bytes), recordIsRedacted(bytes)]).toEqual([10, stateKey !== undefined]);
        },
      ),
    );
  });

  it('knows the five memberships and takes any other value for none', () => {
    for (const membership of ['join', 'invite', 'leave', 'ban', 'knock', '', 'JOIN', 5, undefined, null]) {
      const buffer = Buffer.alloc(recordBytesMax(draftOf()));
      const bytes = buffer.subarray(0, writeRecord(buffer, 0, draftOf({ membership })));
      const known = typeof membership === 'string' && /^(join|invite|leave|ban|knock)$/.test(membership);
      expect(readRecord(bytes).membership).toBe(known ? membership : '');
    }
  });
});

describe('events of the store', () => {
  it('have one NID for an ID, made when it is first named', () => {
    const ids = [`$${'A'.repeat(43)}`, '$old:a.test', `$${'A'.repeat(42)}/`] as EventId[];
    expect(eventNidOf(store, ids[0]!)).toBeUndefined();
    const first = store.write((writer) => internEventIds(writer, [...ids, ids[0]!]));
    expect(first[3]).toBe(first[0]);
    expect(new Set(first).size).toBe(3);
    expect(ids.map((id) => eventNidOf(store, id))).toEqual(first.slice(0, 3));
    expect(first.slice(1, 3).map((nid) => eventIdOfNid(store, nid))).toEqual(ids.slice(1));
    expect(() => eventIdOfNid(store, first[0]!)).toThrow(/no record/);
  });

  it('are loaded as received, and redacted where the hash failed or a redaction applied', () => {
    const id = `$${'E'.repeat(43)}` as EventId;
    const json = { type: 'm.room.member', content: { membership: 'join', displayname: 'é' }, depth: 1 };
    const text = JSON.stringify(json);
    const nid = store.write((writer) => {
      const [made, auth] = internEventIds(writer, [id, `$${'I'.repeat(43)}` as EventId]) as [EventNid, EventNid];
      const draft = draftOf({ bodyBytes: Buffer.byteLength(text), eventKey: eventKeyOf(id), authCount: 1 });
      putEvent(writer, 4 as RoomNid, { nid: made, text, draft, authNids: [auth] });
      setEventStatus(writer, made, Verdict.accepted);
      return made;
    });
    expect(loadEvent(store, rules, nid)).toMatchObject({ eventId: id, status: Verdict.accepted, json });
    expect(loadBody(store, nid)?.toString()).toBe(text);
    expect(servedBody(store, rules, nid)?.toString()).toBe(text);
    expect(loadRecord(store, nid)).toMatchObject({ roomNid: 4, sender: '@a:a.test' as UserId, authNids: [nid + 1] });
    store.write((writer) => setEventStatus(writer, nid, Verdict.accepted | StatusBit.redacted));
    const redacted = { type: 'm.room.member', content: { membership: 'join' }, depth: 1 };
    expect(loadEvent(store, rules, nid)?.json).toEqual(redacted);
    expect(JSON.parse(servedBody(store, rules, nid)!.toString())).toEqual(redacted);
    expect(loadEvent(store, rules, (nid + 1) as EventNid)).toBeUndefined();
    expect(loadBody(store, (nid + 1) as EventNid)).toBeUndefined();
  });
});

describe('the status of events', () => {
  it('is kept for each by itself, over the ends of pages', () => {
    const model = new Map<number, number>();
    const changes = fc.array(
      fc.tuple(fc.oneof(fc.integer({ min: 4090, max: 4100 }), fc.integer({ min: 1, max: 13_000 })), fc.nat(31)),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(changes, (pairs) => {
        store.write((writer) =>
          setEventStatuses(
            writer,
            pairs.map(([nid]) => nid),
            (i) => pairs[i]![1],
          ),
        );
        for (const [nid, status] of pairs) model.set(nid, status);
        for (const [nid, status] of model) expect(eventStatus(store, nid as EventNid)).toBe(status);
        const range = [...eventStatuses(store, 4000 as EventNid, 9000)];
        expect(range).toEqual(range.map((_, i) => model.get(4000 + i) ?? 0));
      }),
      { numRuns: 20 },
    );
  });

  it('has no verdict until there is one, and bits beside the verdict', () => {
    const nid = 20_000 as EventNid;
    expect(eventVerdict(store, nid)).toBe(Verdict.none);
    store.write((writer) => setEventStatus(writer, nid, Verdict.rejected | StatusBit.outlier));
    expect([eventVerdict(store, nid), eventStatus(store, nid)]).toEqual([Verdict.rejected, 7]);
  });
});
