import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createScratch } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { initNats, natsOperatorFolder, readOperatorServerConfig } from './operator-folder.js';

let scratch: Scratch;
beforeAll(async () => {
  scratch = await createScratch('operator');
});
afterAll(() => scratch.remove());

const options = (folder: string) => ({ folder, name: 'test', accountsFolder: '/data/accounts' });

test('the folder has what servers and services need, and secrets are their owner’s alone', async () => {
  const folder = await initNats(options(scratch.file('first')));
  expect((await readdir(folder.path)).sort()).toEqual([
    ...['accounts.json', 'keys', 'operator.conf', 'platform.creds', 'system.creds'],
  ]);
  const config = await readOperatorServerConfig(folder.path);
  expect(config.resolver).toMatchObject({ type: 'full', dir: '/data/accounts' });
  expect(Object.keys(config.resolver_preload)).toContain(config.system_account);
  const secrets = [
    folder.accounts,
    folder.platformCreds,
    folder.systemCreds,
    join(folder.keys, 'operator.nk'),
  ];
  for (const file of secrets) expect([file, (await stat(file)).mode & 0o777]).toEqual([file, 0o600]);
  expect((await stat(folder.keys)).mode & 0o777).toBe(0o700);
  // Servers are many machines: nothing that signs is on them.
  expect(await readFile(folder.serverConfig, 'utf8')).not.toMatch(/S[OAU][A-Z2-7]{56}/);
});

test('a folder that has something in it is left alone', async () => {
  const folder = scratch.file('kept');
  await initNats(options(folder));
  const { accounts } = natsOperatorFolder(folder);
  const before = await readFile(accounts, 'utf8');
  await expect(initNats(options(folder))).rejects.toThrow(/not empty/);
  expect(await readFile(accounts, 'utf8')).toBe(before);
});

test('a folder that init has not made is named', async () => {
  await expect(readOperatorServerConfig(scratch.file('nothing'))).rejects.toThrow(/IRONFLOW_NATS_OPERATOR/);
});
