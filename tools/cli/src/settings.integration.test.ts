/** Settings declared in a file, from the terminal, against one platform. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readFile, writeFile } from 'node:fs/promises';
import type { Platform } from '@ironflow/platform';
import { createClient } from '@ironflow/sdk';
import type { Client, TenantCredentials } from '@ironflow/sdk';
import { createLifecycle, createLogger } from '@ironflow/service';
import { createScratch, throwAwayPostgres } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { cli } from './testing/recorded-terminal.js';
import type { CliResult } from './testing/recorded-terminal.js';

const logger = createLogger({ service: 'cli-test', level: 'silent' });
const lifecycle = createLifecycle({ logger });
let scratch: Scratch;
let platform: Platform;

beforeAll(async () => {
  const { startPlatform } = await import('@ironflow/platform');
  scratch = await createScratch('cli-settings');
  platform = await startPlatform({
    dataFolder: scratch.file('data'),
    env: {},
    lifecycle,
    loggerFor: () => logger,
    say: () => undefined,
    port: 0,
    postgres: throwAwayPostgres(),
  });
}, 120_000);
afterAll(async () => {
  await lifecycle.stop();
  await scratch.remove();
}, 60_000);

interface Environment {
  client: Client;
  run: (args: string[], given?: { input?: string; operator?: boolean }) => Promise<CliResult>;
  envFile: string;
}

async function environment(project: string, env: string): Promise<Environment> {
  const operator = { IRONFLOW_URL: platform.url, IRONFLOW_OPERATOR_KEY: platform.operatorKey };
  const made = await cli(['tenants', 'create', project, '--env', env, '--json'], { env: operator });
  const { environments } = JSON.parse(made.out) as TenantCredentials;
  const apiKey = environments[0]!.apiKey!;
  const variables = { IRONFLOW_URL: platform.url, IRONFLOW_API_KEY: apiKey };
  const envFile = scratch.file(`${project}-${env}.env`);
  await writeFile(envFile, `IRONFLOW_URL=${platform.url}\nIRONFLOW_API_KEY=${apiKey}\n`);
  return {
    client: createClient({ ironflowUrl: platform.url, apiKey }),
    run: (args, { input = '', operator: asOperator = false } = {}) =>
      cli(['settings', ...args], { env: { ...(asOperator ? operator : {}), ...variables }, input }),
    envFile,
  };
}

async function file(name: string, text: string): Promise<string> {
  const path = scratch.file(name);
  await writeFile(path, text);
  return path;
}

const registered = { id: 'app', mode: 'pull' as const };

test('a file is compared, asked about, applied, and then nothing is left to change', async () => {
  const { client, run } = await environment('declared', 'prod');
  await client.apps.register({
    ...registered,
    functions: [{ id: 'send', triggers: [{ cron: '0 0 1 1 *', id: 'yearly' }] }],
  } as never);
  await client.config.set('limits', { perDay: 1, perUser: 2 });
  await client.config.set('old', true);
  const path = await file(
    'one.yaml',
    `version: 1
config: { pricing: { currency: EUR }, limits: { perDay: 3, perUser: 2 } }
kv: { sessions: { ttlSeconds: 60, maxBytes: 1048576 } }
webhooks: { hub: { provider: github, paused: true } }
functions: { send: { paused: true, concurrency: 3 } }
schedules: { send.yearly: { paused: true } }
quotas: { queuedRuns: 5 }
retention: { days: 90 }
`,
  );
  const diff = await run(['diff', path]);
  expect(diff).toMatchObject({ exitCode: 0, err: '' });
  expect(diff.out.split('\n')).toEqual([
    '+ quotas queuedRuns: 5',
    '+ retention days: 90',
    '+ kv sessions: {"ttlSeconds":60,"history":1,"maxBytes":1048576}',
    '~ config limits perDay: 1 → 3',
    '+ config pricing: {"currency":"EUR"}',
    expect.stringMatching(/^\+ webhooks hub: \{"provider":"github"/),
    '~ functions send paused: false → true',
    '~ functions send concurrency: none → 3',
    '~ schedules send.yearly paused: false → true',
  ]);
  expect((await run(['diff', path, '--exit-code'])).exitCode).toBe(1);
  expect(await run(['apply', path])).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('IRONFLOW_OPERATOR_KEY'),
  });
  expect(await run(['apply', path], { input: 'no', operator: true })).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('nothing was changed'),
  });
  expect((await client.config.list()).map(({ name }) => name)).toEqual(['limits', 'old']);

  const applied = await run(['apply', path], { input: 'yes\n', operator: true });
  expect(applied).toMatchObject({ exitCode: 0 });
  expect(applied.out).toMatch(/8 applied\nwebhook hub: http\S+, secret \S+ \(not shown again\)$/);
  expect(await run(['diff', path, '--exit-code'])).toMatchObject({ exitCode: 0, out: 'nothing to change' });
  expect((await client.config.get('limits')).data).toEqual({ perDay: 3, perUser: 2 });
  expect((await client.webhooks.get('hub')).status).toBe('paused');
  expect(await client.functions.get('send')).toMatchObject({
    ...{ pausedAt: expect.any(String), concurrencyLimit: 3 },
  });
  expect((await client.quotas.get()).queuedRuns).toMatchObject({ limit: 5, isDefault: false });
  expect(await client.retention.get()).toEqual({ days: 90 });
  expect((await client.config.get('old')).data).toBe(true);

  const pruned = await run(['apply', path, '--prune', '--yes']);
  expect(pruned).toMatchObject({ exitCode: 0, out: '- config old\n1 applied' });
  await expect(client.config.get('old')).rejects.toMatchObject({ code: 'config_not_found' });
}, 60_000);

test('what is exported is what may be applied, and has no secret in it', async () => {
  const { client, run } = await environment('exported', 'prod');
  await client.config.set('pricing', { currency: 'EUR', steps: [1, 2] });
  await client.kv('sessions').create({ ttl: '60s', history: 3 });
  const { secret } = await client.webhooks.create({ id: 'hub', provider: 'github' });
  await client.secrets.set('STRIPE_KEY', 'sk_live_do_not_show');
  const path = scratch.file('exported.yaml');
  expect(await run(['export', '--output', path])).toMatchObject({ exitCode: 0, err: '' });
  const text = await readFile(path, 'utf8');
  expect(text).toContain('STRIPE_KEY');
  for (const hidden of ['sk_live', secret!]) expect(text).not.toContain(hidden);
  expect((await run(['diff', path, '--exit-code'])).out).toBe('nothing to change');
  expect((await run(['export', '--output', path])).exitCode).toBe(1);
});

test('settings are promoted from one environment to another, once its secrets are set', async () => {
  const staging = await environment('promoted', 'staging');
  const prod = await environment('promoted', 'prod');
  await staging.client.config.set('pricing', { currency: 'EUR' });
  await staging.client.kv('sessions').create();
  await staging.client.secrets.set('STRIPE_KEY', 'of staging');
  await prod.client.config.set('pricing', { currency: 'USD' });
  await prod.client.config.set('own', 1);
  const promote = ['promote', '--to-env-file', prod.envFile, '--yes'];
  const without = await staging.run(promote);
  expect(without).toMatchObject({ exitCode: 1, err: expect.stringContaining('secrets STRIPE_KEY') });
  expect(without.out).toContain('! secrets STRIPE_KEY is not set');
  expect((await prod.client.config.get('pricing')).data).toEqual({ currency: 'USD' });

  await prod.client.secrets.set('STRIPE_KEY', 'of prod');
  expect((await staging.run([...promote, '--only', 'kv'])).out).toMatch(/^\+ kv sessions: .*\n1 applied$/);
  const promoted = await staging.run(promote);
  expect(promoted).toMatchObject({ exitCode: 0, err: '' });
  expect(promoted.out).toBe('~ config pricing currency: "USD" → "EUR"\n1 applied');
  expect(await prod.client.secrets.get('STRIPE_KEY')).toBe('of prod');
  expect((await prod.client.config.get('own')).data).toBe(1);
  expect((await staging.run(promote)).out).toBe('nothing to change');
});

test('what is wrong is told, and nothing is changed', async () => {
  const { client, run } = await environment('refused', 'prod');
  const broken = await file('broken.yaml', 'version: 1\nconfig: { pricing: 1 }\nkv: { "a b": {} }\n');
  expect(await run(['apply', broken, '--yes'])).toMatchObject({
    exitCode: 1,
    err: expect.stringMatching(/broken\.yaml:3:\d+: kv.* must be 1 to 64/),
  });
  const impossible = await file(
    'impossible.yaml',
    'version: 1\nconfig: { pricing: 1 }\nfunctions: { nobody: { paused: true } }\n',
  );
  expect(await run(['apply', impossible, '--yes'])).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('functions nobody'),
  });
  expect(await client.config.list()).toEqual([]);
  expect(await run(['diff', scratch.file('none.yaml')])).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('none.yaml'),
  });
  expect(await run(['promote', '--to-env-file', broken])).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('IRONFLOW_URL and IRONFLOW_API_KEY'),
  });
});
