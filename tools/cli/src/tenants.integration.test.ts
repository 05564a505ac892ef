/** Tenants and keys from the terminal, against one platform. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Platform } from '@ironflow/platform';
import { createClient } from '@ironflow/sdk';
import type { CreatedKey, CreatedSigningKey, TenantCredentials } from '@ironflow/sdk';
import { createLifecycle, createLogger } from '@ironflow/service';
import { createScratch, eventually, throwAwayPostgres } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { cli } from './testing/recorded-terminal.js';
import type { CliResult } from './testing/recorded-terminal.js';

const logger = createLogger({ service: 'cli-test', level: 'silent' });
const lifecycle = createLifecycle({ logger });
let scratch: Scratch;
let platform: Platform;

beforeAll(async () => {
  const { startPlatform } = await import('@ironflow/platform');
  scratch = await createScratch('cli-tenants');
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

const operate = (args: string[], input = ''): Promise<CliResult> =>
  cli(args, {
    env: { IRONFLOW_URL: platform.url, IRONFLOW_OPERATOR_KEY: platform.operatorKey },
    input,
  });
const asTenant = (args: string[], apiKey: string): Promise<CliResult> =>
  cli(args, { env: { IRONFLOW_URL: platform.url, IRONFLOW_API_KEY: apiKey } });

async function made(path: string, ...more: string[]): Promise<TenantCredentials> {
  const result = await operate(['tenants', 'create', path, '--json', ...more]);
  expect(result).toMatchObject({ exitCode: 0, err: '' });
  return JSON.parse(result.out) as TenantCredentials;
}

test('a tenant is made with its keys, printed once; asked again it is kept', async () => {
  const first = await operate(['tenants', 'create', 'acme/shop', '--env', 'prod']);
  expect(first.exitCode).toBe(0);
  expect(first.out).toMatch(/acme\/shop\/prod\s+http:\S+\s+ifk_\w{49}\s+whsec_\S+/);
  const again = await operate(['tenants', 'create', 'acme/shop', '--env', 'prod']);
  expect(again.out).toContain('acme/shop/prod was there already (active): --new-keys makes another key');
  expect(again.out).not.toContain('ifk_');
  expect((await made('shop', '--env', 'prod', '--new-keys')).environments[0]?.apiKey).toMatch(/^ifk_/);
  const list = await operate(['tenants', 'list']);
  expect(list.out).toMatch(/acme\/shop\/prod\s+active/);
  expect((await operate(['tenants', 'show', 'acme/shop'])).out).toMatch(/acme\/shop\/prod\s+active/);
  expect(await operate(['tenants', 'show', 'other/shop'])).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('belongs to "acme"'),
  });
});

test('a file of variables is for its owner alone, has what an app needs, and takes the place of none', async () => {
  const file = scratch.file('shop.env');
  const args = ['tenants', 'create', 'acme/filed', '--env', 'dev', '--env-file', file];
  const result = await operate(args);
  expect(result).toEqual({ exitCode: 0, out: `written to ${file}`, err: '' });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const text = readFileSync(file, 'utf8');
  expect(text).toMatch(/^IRONFLOW_URL=http\S+\nIRONFLOW_API_KEY=ifk_\w+\nIRONFLOW_SIGNING_KEY=whsec_\S+\n$/);
  const apiKey = /IRONFLOW_API_KEY=(\S+)/.exec(text)![1]!;
  expect((await asTenant(['functions', 'list'], apiKey)).exitCode).toBe(0);
  expect((await operate([...args, '--new-keys'])).exitCode).toBe(1);
  expect(readFileSync(file, 'utf8')).toBe(text);
  expect(
    await operate(['tenants', 'create', 'acme/filed', '--env-file', scratch.file('two.env')]),
  ).toMatchObject({ exitCode: 1, err: expect.stringContaining('--env') });
});

test('archived and restored, deleted only by its name', async () => {
  const { environments } = await made('acme/closing', '--env', 'prod');
  const apiKey = environments[0]!.apiKey!;
  const path = 'acme/closing/prod';
  expect((await operate(['tenants', 'archive', path])).out).toBe('archived');
  await eventually(async () =>
    expect(await asTenant(['functions', 'list'], apiKey)).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining('archived'),
    }),
  );
  expect((await operate(['tenants', 'restore', path])).out).toBe('active');
  await eventually(async () => expect((await asTenant(['functions', 'list'], apiKey)).exitCode).toBe(0));
  for (const typed of ['', 'acme/closing/dev\n']) {
    expect(await operate(['tenants', 'delete', path], typed)).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining('nothing was deleted'),
    });
  }
  expect((await operate(['tenants', 'delete', path, '--grace', '7'], `${path}\n`)).out).toMatch(
    /^archived; erased after 20/,
  );
  const confirmed = await operate(['tenants', 'delete', path, '--confirm', path, '--json']);
  expect(JSON.parse(confirmed.out)).toMatchObject({ state: 'deleting' });
});

test.each([
  [['tenants', 'create', 'Acme/shop'], 'must be 1 to 40'],
  [['tenants', 'create', 'a/b/c'], 'organization/project'],
  [['tenants', 'archive', 'shop'], 'project/environment'],
  [['tenants', 'delete', 'shop/prod', '--grace', '1000'], '0 to 365'],
  [['keys', 'create', 'x', '--role', 'owner'], 'Allowed choices'],
  [['keys', 'create', 'x', '--role', 'viewer', '--scopes', 'all'], '"all" is no scope'],
])('%j is refused with a reason', async (args, reason) => {
  expect(await operate(args)).toMatchObject({ exitCode: 1, err: expect.stringContaining(reason) });
});

test('without a key of an operator it is said where one comes from; the local platform’s is found beside it', async () => {
  const without = await cli(['tenants', 'list'], { env: { IRONFLOW_URL: platform.url } });
  expect(without).toMatchObject({ exitCode: 1, err: expect.stringContaining('IRONFLOW_OPERATOR_KEY') });
  const kept = JSON.parse(readFileSync(join(platform.dataFolder, 'credentials.json'), 'utf8')) as object;
  expect(kept).toMatchObject({ operatorKey: platform.operatorKey });
  const beside = await cli(['tenants', 'list'], { env: { IRONFLOW_DATA: platform.dataFolder } });
  expect(beside).toMatchObject({ exitCode: 0, err: '' });
  expect((await cli(['operator-keys', 'generate'])).out).toMatch(/^ifo_[0-9A-Za-z]{49}$/);
});

test('operators make keys for each other', async () => {
  const created = JSON.parse(
    (await operate(['operator-keys', 'create', 'alice', '--json'])).out,
  ) as CreatedKey;
  const alice = { IRONFLOW_URL: platform.url, IRONFLOW_OPERATOR_KEY: created.key };
  expect((await cli(['operator-keys', 'list'], { env: alice })).out).toMatch(/alice\s+live/);
  expect((await operate(['operator-keys', 'revoke', created.id])).out).toBe('revoked');
  expect((await cli(['tenants', 'list'], { env: alice })).exitCode).toBe(1);
});

test('keys are made narrow, rotated, listed and revoked', async () => {
  const { environments } = await made('acme/keyed', '--env', 'prod');
  const admin = environments[0]!.apiKey!;
  const result = await asTenant(
    ['keys', 'create', 'ci', '--role', 'developer', '--scopes', 'runs:read,apps:read', '--json'],
    admin,
  );
  const key = JSON.parse(result.out) as CreatedKey;
  expect((await asTenant(['apps', 'list'], key.key)).exitCode).toBe(0);
  expect((await asTenant(['functions', 'list'], key.key)).err).toContain('functions:read');
  const rotated = await asTenant(['keys', 'rotate', key.id, '--overlap', '0s'], admin);
  expect(rotated.out).toMatch(/key\s+ifk_\w{49}\s+\(not shown again\)/);
  expect((await asTenant(['apps', 'list'], key.key)).exitCode).toBe(1);
  const list = await asTenant(['keys', 'list'], admin);
  expect(list.out).toMatch(/ci\s+developer\s+apps:read runs:read\s+expired/);
  expect(list.out).not.toContain('ifk_');
  const { keys } = JSON.parse((await asTenant(['keys', 'list', '--json'], admin)).out) as {
    keys: { id: string; role: string }[];
  };
  const own = keys.find(({ role }) => role === 'admin')!;
  expect(await asTenant(['keys', 'revoke', own.id], admin)).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('last key'),
  });
});

test('signing keys are rotated and never listed', async () => {
  const { environments } = await made('acme/signed', '--env', 'prod');
  const { apiKey, signingKey } = environments[0] as { apiKey: string; signingKey: string };
  const rotated = JSON.parse(
    (await asTenant(['signing-keys', 'rotate', '--json'], apiKey)).out,
  ) as CreatedSigningKey;
  expect(rotated).toMatchObject({ version: 2, signingKey: expect.stringMatching(/^whsec_/) });
  expect(rotated.signingKey).not.toBe(signingKey);
  const list = await asTenant(['signing-keys', 'list'], apiKey);
  expect(list.out).toMatch(/^VERSION.*\n2 .*\n1 .*20\d\d/);
  expect(list.out).not.toContain('whsec_');
});

test('all of an environment is written into a folder, its manifest last, and nothing that is secret', async () => {
  const { environments } = await made('acme/exported', '--env', 'prod');
  const { apiKey, signingKey } = environments[0] as { apiKey: string; signingKey: string };
  const client = createClient({ ironflowUrl: platform.url, apiKey });
  await client.emit([
    { name: 'order.placed', data: { number: 1 } },
    { name: 'order.placed', data: { number: 2 } },
  ]);
  await client.secrets.set('STRIPE_KEY', 'sk_live_do_not_show');
  await client.kv('carts').create();
  await client.kv('carts').put('ada', { items: [7] });
  const folder = scratch.file('exported');
  const result = await asTenant(['environment', 'export', folder], apiKey);
  expect(result).toMatchObject({ exitCode: 0, err: '' });
  expect(result.out).toMatch(/events\.jsonl\s+2 /);
  const { files, ...manifest } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as {
    files: { file: string; rows: number; bytes: number; sha256: string }[];
  };
  expect(manifest).toMatchObject({ project: 'exported', env: 'prod' });
  for (const { file, rows, bytes, sha256 } of files) {
    const text = readFileSync(join(folder, file), 'utf8');
    expect([file, text.split('\n').length - 1, Buffer.byteLength(text)]).toEqual([file, rows, bytes]);
    expect(createHash('sha256').update(text).digest('hex')).toBe(sha256);
    for (const hidden of ['sk_live', apiKey, signingKey]) expect(text).not.toContain(hidden);
  }
  const rowsOf = (file: string) =>
    readFileSync(join(folder, file), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
  expect(rowsOf('events.jsonl')).toMatchObject([{ data: { number: 1 } }, { data: { number: 2 } }]);
  expect(rowsOf('secrets.jsonl')).toMatchObject([{ name: 'STRIPE_KEY', version: 1 }]);
  expect(rowsOf('kv/carts.jsonl')).toMatchObject([{ key: 'ada', value: { items: [7] } }]);
  expect(rowsOf('audit_entries.jsonl')).toContainEqual(
    expect.objectContaining({ action: 'environment.export', target_id: 'runs' }),
  );
  expect((await asTenant(['environment', 'export', folder], apiKey)).err).toContain('EEXIST');
  const viewer = JSON.parse(
    (await asTenant(['keys', 'create', 'v', '--role', 'viewer', '--json'], apiKey)).out,
  ) as CreatedKey;
  const refused = await asTenant(['environment', 'export', scratch.file('refused')], viewer.key);
  expect(refused).toMatchObject({ exitCode: 1, err: expect.stringContaining('admin') });
  expect(existsSync(scratch.file('refused'))).toBe(false);
});
