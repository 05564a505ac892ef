/** The table of scopes in docs/tenants.md, written from the routes. */
import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { keyScopes, routes } from '@ironflow/schema';
import type { Route } from '@ironflow/schema';
import { settleGenerated } from './generated-docs.mjs';

const document = fileURLToPath(new URL('../../../docs/tenants.md', import.meta.url));

test('every scope is shown with what it is for', () => {
  const rows = keyScopes.flatMap((scope) => {
    const needed = Object.values<Route>(routes)
      .filter((route) => route.scope === scope)
      .map(({ method, path, role }) => `\`${method} ${path}\` (${role})`);
    if (scope === 'workers:connect') needed.push('connecting workers (developer)');
    return needed.length === 0 ? [] : [`| \`${scope}\` | ${needed.join(', ')} |`];
  });
  const table = ['| scope | what it is for, and the role it takes |', '|---|---|', ...rows].join('\n');
  expect(settleGenerated(document, 'scopes', table)).toBeUndefined();
});
