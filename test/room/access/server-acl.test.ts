import { describe, expect, it } from 'vitest';
import type { ServerName } from '../../../src/kernel/matrix/ids.js';
import { aclAllows, globMatches } from '../../../src/room/access/server-acl.js';

const allows = (content: Parameters<typeof aclAllows>[0], server: string) => aclAllows(content, server as ServerName);

describe('a server ACL', () => {
  it('denies what deny names, then allows what allow names, then denies', () => {
    const acl = { allow: ['*.example.org', 'good.test'], deny: ['evil.*', 'bad.example.org'] };
    expect(allows(acl, 'a.example.org')).toBe(true);
    expect(allows(acl, 'good.test')).toBe(true);
    expect(allows(acl, 'bad.example.org')).toBe(false);
    expect(allows(acl, 'evil.example.org')).toBe(false);
    expect(allows(acl, 'other.test')).toBe(false);
  });

  it('looks neither at ports nor at case', () => {
    const acl = { allow: ['*'], deny: ['EVIL.test'] };
    expect(['evil.test', 'Evil.Test:8448', 'evil.test:1'].map((server) => allows(acl, server))).toEqual(
      Array(3).fill(false),
    );
    expect(allows(acl, 'evil.test.org:8448')).toBe(true);
  });

  it('denies IP literals where it says so, and only there', () => {
    for (const server of ['1.2.3.4', '1.2.3.4:8448', '[::1]', '[::1]:8448']) {
      expect(allows({ allow: ['*'], allow_ip_literals: false }, server)).toBe(false);
      expect(allows({ allow: ['*'], allow_ip_literals: 'false' }, server)).toBe(true);
      expect(allows({ allow: ['*'] }, server)).toBe(true);
    }
    expect(allows({ allow: ['[::1]'] }, '[::1]:8448')).toBe(true);
    expect(allows({ allow: ['*'], allow_ip_literals: false }, '1.2.3.4.test')).toBe(true);
  });

  it('allows nobody where it names nobody, and passes over what is no list of text', () => {
    expect(allows({}, 'a.test')).toBe(false);
    expect(allows({ allow: '*' }, 'a.test')).toBe(false);
    expect(allows({ allow: [7, '*'], deny: { 0: '*' } }, 'a.test')).toBe(true);
  });
});

describe('a glob', () => {
  it.each([
    ['*', '', true],
    ['a*c', 'ac', true],
    ['a*c', 'abbc', true],
    ['a*c', 'abcb', false],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['*.test', 'a.b.test', true],
    ['*.test', '.testing', false],
    ['a.c', 'abc', false],
    ['**a**', 'bab', true],
    ['', 'a', false],
  ])('%j on %j: %s', (glob, text, matches) => {
    expect(globMatches(glob, text)).toBe(matches);
  });

  it('of many stars takes no longer than its length times that of the text', () => {
    expect(globMatches(`${'a*'.repeat(20_000)}b`, 'a'.repeat(230))).toBe(false);
  });
});
