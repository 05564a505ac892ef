import { afterAll, expect, test } from '@jest/globals';
import { sharedPostgres, stopSharedServers } from '@ironflow/testing';
import { cli } from './testing/recorded-terminal.js';

afterAll(stopSharedServers);

test('migrate brings an empty database to this schema, once, however many try at the same time', async () => {
  const env = { DATABASE_URL: await (await sharedPostgres()).createEmptyDatabase() };
  const results = await Promise.all([1, 2, 3].map(() => cli(['migrate', '--json'], { env })));
  expect(results.map(({ exitCode, err }) => ({ exitCode, err }))).toEqual(
    results.map(() => ({ exitCode: 0, err: '' })),
  );
  const applied = results.map(({ out }) => (JSON.parse(out) as { applied: string[] }).applied);
  expect(applied.filter((names) => names.length > 0)).toHaveLength(1);
  expect((await cli(['migrate'], { env })).out).toBe('the schema is current: nothing to do');
});

test('migrate names what it cannot use, and keeps the password to itself', async () => {
  const url = new URL(await (await sharedPostgres()).createEmptyDatabase());
  url.password = 'hunter2';
  const refused = await cli(['migrate'], { env: { DATABASE_URL: url.href } });
  expect(refused).toMatchObject({ exitCode: 1, out: '' });
  expect(refused.err).toMatch(
    /^ironflow: DATABASE_URL, 127.0.0.1:\d+\/test_\w+: password authentication failed/,
  );
  const half = { DATABASE_URL: url.href, IRONFLOW_SERVICE_PASSWORD: 'x' };
  expect((await cli(['migrate'], { env: half })).err).toContain('set both or neither');
  const other = await cli(['migrate', '--json'], { env: { DATABASE_URL: 'mysql://hunter2@x/y' } });
  expect(JSON.parse(other.err)).toMatchObject({ error: { code: 'config_invalid' } });
  expect(refused.err + other.err).not.toContain('hunter2');
});
