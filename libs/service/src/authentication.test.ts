import { describe, expect, test } from '@jest/globals';
import { createOperatorKey } from '@ironflow/database';
import type { Authenticator, Principal } from '@ironflow/database';
import type { KeyScope } from '@ironflow/schema';
import { requirePrincipal } from './authentication.js';

const viewer: Principal = {
  scope: { project: 'shop', env: 'prod', environmentId: '01890000-0000-7000-8000-000000000000' },
  keyId: '01890000-0000-7000-8000-000000000001',
  role: 'viewer',
  scopes: [],
  archived: false,
};
const asked: string[] = [];
const authenticator: Authenticator = {
  authenticate: (key) => {
    asked.push(key);
    return Promise.resolve(key === 'ifk_good' ? viewer : undefined);
  },
};

describe('a caller', () => {
  test.each(['Bearer ifk_good', 'bearer  ifk_good '])('is let in by "%s"', async (authorization) => {
    expect(await requirePrincipal(authenticator, authorization, { role: 'viewer' })).toEqual(viewer);
  });

  test.each([undefined, '', 'ifk_good', 'Basic ifk_good', 'Bearer ', 'Bearer ifk_good ifk_good'])(
    'is refused with "%s", and nobody is asked',
    async (authorization) => {
      asked.length = 0;
      const entering = requirePrincipal(authenticator, authorization, { role: 'viewer' });
      await expect(entering).rejects.toMatchObject({ category: 'unauthenticated', code: 'api_key_invalid' });
      expect(asked).toEqual([]);
    },
  );

  test('with an unknown key is refused like one without', async () => {
    const entering = requirePrincipal(authenticator, 'Bearer ifk_other', { role: 'viewer' });
    await expect(entering).rejects.toMatchObject({ category: 'unauthenticated', code: 'api_key_invalid' });
  });

  test('whose key has too small a role is told which it takes', async () => {
    const entering = requirePrincipal(authenticator, 'Bearer ifk_good', { role: 'developer' });
    await expect(entering).rejects.toMatchObject({
      category: 'forbidden',
      code: 'role_insufficient',
      message: expect.stringContaining('at least developer'),
    });
  });

  test('of an archived environment is told so, whatever the role', async () => {
    const archived: Authenticator = { authenticate: () => Promise.resolve({ ...viewer, archived: true }) };
    await expect(requirePrincipal(archived, 'Bearer ifk_good', { role: 'admin' })).rejects.toMatchObject({
      category: 'forbidden',
      code: 'environment_archived',
    });
  });

  test('with the key of an operator is told that it takes another kind, and nobody is asked', async () => {
    asked.length = 0;
    const entering = requirePrincipal(authenticator, `Bearer ${createOperatorKey(new Uint8Array(32))}`, {
      role: 'viewer',
    });
    await expect(entering).rejects.toMatchObject({
      category: 'forbidden',
      code: 'role_insufficient',
      message: expect.stringContaining('operator'),
    });
    expect(asked).toEqual([]);
  });

  test('whose key is narrowed to other scopes is told which it takes; without scopes the role alone decides', async () => {
    const narrowed: Authenticator = {
      authenticate: () => Promise.resolve({ ...viewer, scopes: ['runs:read'] }),
    };
    const enter = (scope: KeyScope) =>
      requirePrincipal(narrowed, 'Bearer ifk_good', { role: 'viewer', scope });
    await expect(enter('runs:read')).resolves.toMatchObject({ scopes: ['runs:read'] });
    await expect(enter('events:read')).rejects.toMatchObject({
      category: 'forbidden',
      code: 'scope_missing',
      message: expect.stringContaining('this takes events:read'),
    });
    const unnarrowed = requirePrincipal(authenticator, 'Bearer ifk_good', {
      role: 'viewer',
      scope: 'events:read',
    });
    await expect(unnarrowed).resolves.toEqual(viewer);
  });
});
