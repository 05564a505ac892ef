import { describe, expect, test } from '@jest/globals';
import { refusalOfRevocation, refusalOfRotation } from './key-rules.js';
import type { KeyState } from './key-rules.js';

const admin: KeyState = { id: 'admin', role: 'admin', scopes: [], live: true, replaced: false };
const other: KeyState = { ...admin, id: 'other' };

describe('revoking', () => {
  test.each<[string, KeyState[], 'not_found' | 'last_admin' | undefined]>([
    ['one that is not there', [other], 'not_found'],
    ['one of two', [admin, other], undefined],
    ['the only one', [admin], 'last_admin'],
    ['beside a developer’s', [admin, { ...other, role: 'developer' }], 'last_admin'],
    [
      'beside one that is narrowed to something else',
      [admin, { ...other, scopes: ['runs:read'] }],
      'last_admin',
    ],
    ['beside one that is narrowed to keys', [admin, { ...other, scopes: ['keys:write'] }], undefined],
    ['beside one that has ended', [admin, { ...other, live: false }], 'last_admin'],
    ['beside one that ends with its overlap', [admin, { ...other, replaced: true }], 'last_admin'],
    ['one that was replaced itself', [{ ...admin, replaced: true }, other], undefined],
    ['one that has ended itself', [{ ...admin, live: false }], undefined],
  ])('%s', (_name, keys, refusal) => {
    expect(refusalOfRevocation(keys, 'admin')).toBe(refusal);
  });
});

describe('rotating', () => {
  const reader = { role: 'admin', scopes: ['keys:write', 'runs:read'] } as const;
  test.each<[string, KeyState[], Parameters<typeof refusalOfRotation>[2], string | undefined]>([
    ['one that is not there', [other], admin, 'not_found'],
    ['one that has ended', [{ ...admin, live: false }], admin, 'ended'],
    ['by one that may do all', [admin], admin, undefined],
    ['by one that is narrowed, a key that is not', [admin], reader, 'exceeds'],
    ['by one that is narrowed, a key within that', [{ ...admin, scopes: ['runs:read'] }], reader, undefined],
    ['once more within its overlap', [{ ...admin, replaced: true }], admin, undefined],
  ])('%s', (_name, keys, by, refusal) => {
    expect(refusalOfRotation(keys, 'admin', by)).toBe(refusal);
  });
});
