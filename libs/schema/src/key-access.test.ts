import { describe, expect, test } from '@jest/globals';
import { mayGrant, scopesAllow } from './key-access.js';
import type { KeyGrant, KeyScope } from './key-access.js';
import { routes } from './routes.js';
import type { Route } from './routes.js';

const all: KeyGrant = { role: 'admin', scopes: [] };
const narrowed: KeyGrant = { role: 'admin', scopes: ['keys:write', 'runs:read'] };

describe('a key gives', () => {
  test.each<[string, KeyGrant, KeyGrant, boolean]>([
    ['all that it has', all, all, true],
    ['a lower role', all, { role: 'viewer', scopes: [] }, true],
    ['no higher role', { role: 'developer', scopes: [] }, all, false],
    ['any scopes if it has none itself', all, { role: 'developer', scopes: ['runs:write'] }, true],
    ['scopes of its own', narrowed, { role: 'viewer', scopes: ['runs:read'] }, true],
    ['no scopes beyond', narrowed, { role: 'viewer', scopes: ['runs:read', 'runs:write'] }, false],
    ['never all if it is narrowed itself', narrowed, { role: 'viewer', scopes: [] }, false],
  ])('%s', (_name, held, wanted, may) => {
    expect(mayGrant(held, wanted)).toBe(may);
  });
});

test.each<[string, string[], KeyScope | undefined, boolean]>([
  ['one without scopes all', [], 'runs:write', true],
  ['one with scopes what they name', ['runs:read', 'kv:read'], 'kv:read', true],
  ['and nothing else', ['runs:read'], 'runs:write', false],
  ['and what needs no scope', ['runs:read'], undefined, true],
])('a key may: %s', (_name, held, needed, may) => {
  expect(scopesAllow(held, needed)).toBe(may);
});

test('what changes keys or tenants has a name for the audit log, and operators’ routes take no scope', () => {
  const managing = Object.values<Route>(routes).filter(({ path }) =>
    /^\/v1\/(keys|signing-keys|tenants|operator-keys)/.test(path),
  );
  expect(managing.length).toBeGreaterThan(10);
  for (const { method, path, audit, role, scope } of managing) {
    expect([path, audit !== undefined]).toEqual([path, method !== 'GET']);
    expect([path, scope === undefined]).toEqual([path, role === 'operator']);
  }
});
