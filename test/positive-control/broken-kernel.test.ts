import { describe, expect, it } from 'vitest';
import { failuresOf } from './collect-tests.js';

describe('stories', () => {
  it('pass', async () => {
    expect(await failuresOf('test/rooms/forks.test.ts', {})).toEqual([]);
  });
  it('fail', async () => {
    const f = await failuresOf('test/rooms/forks.test.ts', {
      'src/kernel/event-auth/member/check-member-ban.ts': (o) => ({ ...o, checkMemberBan: () => ({ allowed: true }) }),
    });
    console.log(f);
    expect(f).not.toEqual([]);
  });
});
