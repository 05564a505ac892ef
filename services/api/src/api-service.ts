/** How the api is configured and wired. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { createDatabase, parseOperatorKey } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import { connectAccountResolver } from '@ironflow/jetstream';
import { parseAccountsFile } from '@ironflow/nats-accounts';
import { baseConfigShape, systemClock } from '@ironflow/service';
import type { ServiceDefinition, ServiceRuntime } from '@ironflow/service';
import { createApi } from './api.js';

const configShape = {
  /**
   * For operators, for telling services which registries changed, and servers of accounts. Of tenants' requests it serves only rotations of
   * data keys.
   */
  DATABASE_URL: baseConfigShape.DATABASE_URL,
  /** The first key of an operator, with which tenants and further keys of operators are made. */
  IRONFLOW_OPERATOR_KEY: z
    .string()
    .refine(
      (text) => parseOperatorKey(text).ok,
      'must be an operator key: "ifo_" and 49 letters and digits, as `ironflow operator-keys generate` prints one',
    )
    .optional(),
  /** Live views of runs at once, in one process, and as many subscriptions of topics. */
  IRONFLOW_RUN_WATCHERS_MAX: z.coerce.number().int().min(1).max(100_000).default(1_000),
  /** `accounts.json` of `ironflow nats init`: with it tenants may have credentials for NATS. */
  NATS_ACCOUNTS_FILE: z.string().optional(),
};

export const apiService: ServiceDefinition<typeof configShape> = {
  name: 'api',
  description: 'Management, queries and live views over HTTP',
  databaseRole: 'tenant',
  configShape,
  start: async (runtime, config) => {
    const platformDatabase = createDatabase({
      url: config.DATABASE_URL,
      applicationName: 'ironflow-api-platform',
      maxConnections: 2,
    });
    const file = config.NATS_ACCOUNTS_FILE;
    const accounts = file === undefined ? undefined : await openAccounts(file, runtime);
    const api = createApi({
      ...runtime,
      accounts,
      platformDatabase,
      operatorKey: config.IRONFLOW_OPERATOR_KEY,
      clock: systemClock,
      streamsMax: config.IRONFLOW_RUN_WATCHERS_MAX,
    });
    await api.start();
    return {
      stop: async () => {
        await api.stop();
        await platformDatabase.close();
      },
    };
  },
};

async function openAccounts(file: string, { natsServers, logger }: ServiceRuntime) {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    const message = `bad configuration: NATS_ACCOUNTS_FILE cannot be read: ${messageOf(error)}`;
    throw new IronflowError('invalid', 'config_invalid', message, { cause: error });
  });
  const { signers, systemCredentials: creds } = parseAccountsFile(text);
  const resolver = await connectAccountResolver({
    ...natsServers,
    name: 'ironflow-api-accounts',
    creds,
    log: { info: (message) => logger.info(message), warn: (message) => logger.warn(message) },
  });
  return { resolver, signers };
}
