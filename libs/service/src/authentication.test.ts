import { describe, expect, test } from '@jest/globals';
import type { Authenticator, Principal } from '@ironflow/database';
import { requirePrincipal } from './authentication.js';

const viewer: Principal = {
  scope: { project: 'shop', env: 'prod', environmentId: '01890000-0000-7000-8000-000000000000' },
  keyId: '01890000-0000-7000-8000-000000000001',
  role: 'viewer',
  scopes: [],
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
    expect(await requirePrincipal(authenticator, authorization, 'viewer')).toEqual(viewer);
  });

  test.each([undefined, '', 'ifk_good', 'Basic ifk_good', 'Bearer ', 'Bearer ifk_good ifk_good'])(
    'is refused with "%s", and nobody is asked',
    async (authorization) => {
      asked.length = 0;
      const entering = requirePrincipal(authenticator, authorization, 'viewer');
      await expect(entering).rejects.toMatchObject({ category: 'unauthenticated', code: 'api_key_invalid' });
      expect(asked).toEqual([]);
    },
  );

  test('with an unknown key is refused like one without', async () => {
    const entering = requirePrincipal(authenticator, 'Bearer ifk_other', 'viewer');
    await expect(entering).rejects.toMatchObject({ category: 'unauthenticated', code: 'api_key_invalid' });
  });

  test('whose key has too small a role is told which it takes', async () => {
    const entering = requirePrincipal(authenticator, 'Bearer ifk_good', 'developer');
    await expect(entering).rejects.toMatchObject({
      category: 'forbidden',
      code: 'role_insufficient',
      message: expect.stringContaining('at least developer'),
    });
  });
});
