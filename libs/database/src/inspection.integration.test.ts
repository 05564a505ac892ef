/** What `inspectPostgres` expects of a database is what the migrations make. What it finds in broken ones is shown in tools/platform. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, passwords } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { expectedRights } from './expected-rights.js';
import { inspectPostgres, serviceUrl } from './index.js';
import type { ServiceRole } from './index.js';

let platform: Platform;
beforeAll(async () => {
  platform = await createPlatform();
}, 60_000);
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const roles: [ServiceRole, string][] = [
  ['ironflow_service', passwords.service],
  ['ironflow_tenant', passwords.tenant],
];

test.each(roles)('the rights of %s are those that a migrated database has', async (role, password) => {
  const inspection = await inspectPostgres({ url: serviceUrl(platform.ownerUrl, role, password), role });
  expect(inspection).toMatchObject({
    kind: 'connected',
    facts: {
      login: { name: role, isSuperuser: false, bypassesRowSecurity: false, isOwner: false, isRole: true },
      schema: { isServed: true },
      unprotectedTables: [],
      seesEveryEnvironment: role === 'ironflow_service',
      rights: { missing: [], excessive: [] },
      missingPartitions: [],
      spillError: undefined,
    },
  });
  const { rows: tables } = await platform.admin.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
      and not relispartition order by 1`,
  );
  // One that is missing would be nobody's to judge.
  expect(Object.keys(expectedRights.ironflow_service.tables).sort()).toEqual(
    tables.map(({ name }) => name).sort(),
  );
  const { rows: functions } = await platform.admin.query<{ name: string }>(
    `select distinct p.proname as name from pg_proc p where p.pronamespace = 'public'::regnamespace
      and has_function_privilege($1, p.oid, 'execute')
      and not exists (select from aclexplode(p.proacl) a where a.grantee = 0 and a.privilege_type = 'EXECUTE')
      and p.proacl is not null order by 1`,
    [role],
  );
  expect([...expectedRights[role].functions].sort()).toEqual(functions.map(({ name }) => name).sort());
});
