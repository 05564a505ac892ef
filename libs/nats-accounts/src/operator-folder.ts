/**
 * The folder that `ironflow nats init` makes: what NATS servers and services of an installation in operator mode are configured with.
 * Everything but the servers' part is secret, and can be read by its owner alone.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { IronflowError, messageOf } from '@ironflow/errors';
import { createInstallation } from './installation.js';
import type { OperatorServerConfig } from './installation.js';

export interface NatsOperatorFolder {
  path: string;
  /** For `include` in a server's configuration. */
  serverConfig: string;
  /** For NATS_CREDS_FILE of every service. */
  platformCreds: string;
  /** For NATS_ACCOUNTS_FILE of the api service. */
  accounts: string;
  /** For people who look after the servers. */
  systemCreds: string;
  /** To be kept offline. */
  keys: string;
}

export interface InitNatsOptions {
  folder: string;
  /** Of the operator; shows in the servers' monitoring. */
  name: string;
  /** Where a server keeps the accounts that it is told of. */
  accountsFolder: string;
}

export function natsOperatorFolder(folder: string): NatsOperatorFolder {
  const path = resolve(folder);
  return {
    path,
    serverConfig: join(path, 'operator.conf'),
    platformCreds: join(path, 'platform.creds'),
    accounts: join(path, 'accounts.json'),
    systemCreds: join(path, 'system.creds'),
    keys: join(path, 'keys'),
  };
}

/** Refuses a folder that has something in it: keys that are overwritten are lost for good. */
export async function initNats(options: InitNatsOptions): Promise<NatsOperatorFolder> {
  const folder = natsOperatorFolder(options.folder);
  await mkdir(folder.path, { recursive: true, mode: 0o700 });
  if ((await readdir(folder.path)).length > 0) {
    const message = `${folder.path} is not empty: keys that are there would be lost`;
    throw new IronflowError('conflict', 'folder_not_empty', message);
  }
  const { server, credentials, accounts, identitySeeds } = await createInstallation(options);
  await mkdir(folder.keys, { mode: 0o700 });
  await writeSecret(folder.platformCreds, credentials.platform);
  await writeSecret(folder.systemCreds, credentials.system);
  await writeSecret(folder.accounts, `${JSON.stringify(accounts, undefined, 2)}\n`);
  await writeSecret(join(folder.keys, 'operator.nk'), `${identitySeeds.operator}\n`);
  await writeSecret(join(folder.keys, 'system-account.nk'), `${identitySeeds.systemAccount}\n`);
  await writeSecret(join(folder.keys, 'platform-account.nk'), `${identitySeeds.platformAccount}\n`);
  // nats-server reads JSON as its own notation.
  await writeFile(folder.serverConfig, `${JSON.stringify(server, undefined, 2)}\n`, { flag: 'wx' });
  return folder;
}

export async function readOperatorServerConfig(folder: string): Promise<OperatorServerConfig> {
  const { serverConfig } = natsOperatorFolder(folder);
  try {
    return JSON.parse(await readFile(serverConfig, 'utf8')) as OperatorServerConfig;
  } catch (error) {
    const message = `IRONFLOW_NATS_OPERATOR: ${serverConfig} cannot be read: ${messageOf(error)}; \`ironflow nats init\` makes it`;
    throw new IronflowError('invalid', 'config_invalid', message, { cause: error });
  }
}

async function writeSecret(file: string, text: string): Promise<void> {
  await writeFile(file, text, { mode: 0o600, flag: 'wx' });
}
