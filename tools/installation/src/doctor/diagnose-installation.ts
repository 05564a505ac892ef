/**
 * `ironflow doctor --installation`: what an installation stands on, looked at with the variables that its services have. Nothing of it is
 * changed (but see the probe in libs/jetstream), and nothing that is secret is said.
 */
import { readFile } from 'node:fs/promises';
import { checkMasterKeys, createDatabase, inspectPostgres, listNatsAccountKeys } from '@ironflow/database';
import type { Database, PostgresInspection } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import { findUnknownAccounts, inspectNats } from '@ironflow/jetstream';
import type { ClockReading, NatsInspection } from '@ironflow/jetstream';
import { parseAccountsFile } from '@ironflow/nats-accounts';
import {
  baseConfigShape,
  loadConfig,
  natsServersOf,
  serviceConfigShape,
  tenantDatabaseConfigShape,
} from '@ironflow/service';
import { z } from 'zod';
import { clockFindings } from './clock-findings.js';
import { fail, findingsOf, listed, note } from './finding.js';
import type { Finding, Problem } from './finding.js';
import { natsFindings } from './nats-findings.js';
import { masterKeyFindings, postgresFindings } from './postgres-findings.js';
import type { PostgresContext } from './postgres-findings.js';

export interface DiagnoseOptions {
  env: NodeJS.ProcessEnv;
  /** What else has a clock, such as the platform that answers over HTTP. */
  clocks: readonly ClockReading[];
}

const {
  NATS_URL,
  NATS_USER,
  NATS_PASSWORD,
  NATS_TOKEN,
  NATS_CREDS_FILE,
  NATS_TLS_CA_FILE,
  NATS_TLS_CERT_FILE,
  NATS_TLS_KEY_FILE,
  IRONFLOW_MASTER_KEY,
  IRONFLOW_DATABASE_CONNECTIONS,
  IRONFLOW_STREAM_REPLICAS,
  IRONFLOW_STREAMS,
} = serviceConfigShape;

const configSchema = z.object({
  ...{ NATS_URL, NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CREDS_FILE },
  ...{ NATS_TLS_CA_FILE, NATS_TLS_CERT_FILE, NATS_TLS_KEY_FILE },
  ...{ IRONFLOW_DATABASE_CONNECTIONS, IRONFLOW_STREAM_REPLICAS, IRONFLOW_STREAMS },
  IRONFLOW_MASTER_KEY: IRONFLOW_MASTER_KEY.optional(),
  DATABASE_URL: baseConfigShape.DATABASE_URL,
  TENANT_DATABASE_URL: tenantDatabaseConfigShape.TENANT_DATABASE_URL.optional(),
  NATS_ACCOUNTS_FILE: z.string().optional(),
});
type Config = z.infer<typeof configSchema>;

export async function diagnoseInstallation({ env, clocks }: DiagnoseOptions): Promise<Finding[]> {
  let config: Config;
  try {
    config = loadConfig(configSchema, env);
  } catch (error) {
    return findingsOf('variables', [fail(messageOf(error))], '');
  }
  const [nats, service, tenant] = await Promise.all([
    inspectNats(natsOptionsOf(config)),
    inspectPostgres({ url: config.DATABASE_URL, role: 'ironflow_service' }),
    config.TENANT_DATABASE_URL === undefined
      ? undefined
      : inspectPostgres({ url: config.TENANT_DATABASE_URL, role: 'ironflow_tenant' }),
  ]);
  const isReachable = service.kind === 'connected';
  return [
    ...absent(config),
    ...natsFindings(nats, { urls: config.NATS_URL, replicas: config.IRONFLOW_STREAM_REPLICAS }),
    ...(isReachable && nats.kind === 'connected' ? await diagnoseAccounts(config) : []),
    ...postgresFindings(service, contextOf(config, 'DATABASE_URL')),
    ...(tenant === undefined ? [] : postgresFindings(tenant, contextOf(config, 'TENANT_DATABASE_URL'))),
    ...(isReachable ? await diagnoseMasterKey(config) : []),
    ...clockFindings([...clocksOf(nats, service), ...clocks]),
  ];
}

function natsOptionsOf(config: Config) {
  return {
    ...natsServersOf(config),
    user: config.NATS_USER,
    password: config.NATS_PASSWORD,
    token: config.NATS_TOKEN,
    credsFile: config.NATS_CREDS_FILE,
    replicas: config.IRONFLOW_STREAM_REPLICAS,
    overrides: config.IRONFLOW_STREAMS,
  };
}

/** What is not given is not looked at, which is said. */
function absent(config: Config): Finding[] {
  const names = (['TENANT_DATABASE_URL', 'IRONFLOW_MASTER_KEY'] as const).filter(
    (name) => config[name] === undefined,
  );
  if (names.length === 0) return [];
  return [{ check: 'variables', ...note(`not set, and so not checked: ${names.join(', ')}`) }];
}

/** Of one replica of each of the seven services, of which api has two. */
const loginsOfServices = 8;

function contextOf(config: Config, variable: PostgresContext['variable']): PostgresContext {
  const { hostname, port, pathname } = new URL(config[variable]!);
  return {
    variable,
    check: variable === 'DATABASE_URL' ? 'postgres' : 'postgres of tenants',
    role: variable === 'DATABASE_URL' ? 'ironflow_service' : 'ironflow_tenant',
    where: `${hostname}:${port === '' ? 5432 : port}${pathname}`,
    connectionsWanted: loginsOfServices * config.IRONFLOW_DATABASE_CONNECTIONS,
  };
}

async function diagnoseMasterKey(config: Config): Promise<Finding[]> {
  if (config.IRONFLOW_MASTER_KEY === undefined) return [];
  const masterKeys = config.IRONFLOW_MASTER_KEY;
  return withDatabase(config, 'master key', async (database) =>
    masterKeyFindings(await checkMasterKeys(database, masterKeys)),
  );
}

/** Of an installation whose NATS servers are in operator mode. */
async function diagnoseAccounts(config: Config): Promise<Finding[]> {
  const { NATS_ACCOUNTS_FILE: file } = config;
  if (file === undefined) return [];
  return withDatabase(config, 'nats accounts', async (database) => {
    const { systemCredentials: creds } = parseAccountsFile(await readFile(file, 'utf8'));
    const accounts = await listNatsAccountKeys(database);
    const keys = accounts.map(({ publicKey }) => publicKey);
    const unknown = new Set(await findUnknownAccounts({ ...natsServersOf(config), creds }, keys));
    const names = accounts
      .filter(({ publicKey }) => unknown.has(publicKey))
      .map(({ scope }) => `${scope.project}/${scope.env}`);
    const remedy = 'the api service tells them as it starts; does it run, with this NATS_ACCOUNTS_FILE?';
    const problems: Problem[] =
      names.length === 0 ? [] : [fail(`the servers do not know the accounts of ${listed(names)}: ${remedy}`)];
    return findingsOf('nats accounts', problems, `the servers know all ${keys.length}`);
  });
}

async function withDatabase(
  { DATABASE_URL: url }: Config,
  check: string,
  work: (database: Database) => Promise<Finding[]>,
): Promise<Finding[]> {
  const database = createDatabase({ url, applicationName: 'ironflow-doctor', maxConnections: 1 });
  try {
    return await work(database);
  } catch (error) {
    return findingsOf(check, [fail(`it could not be looked at: ${messageOf(error)}`)], '');
  } finally {
    await database.close();
  }
}

function clocksOf(nats: NatsInspection, postgres: PostgresInspection): ClockReading[] {
  const ofNats = nats.kind === 'connected' && nats.jetstream === 'available' ? nats.clocks : [];
  return [
    ...(postgres.kind === 'connected' ? [{ name: 'PostgreSQL', ...postgres.facts.clock }] : []),
    ...ofNats.map((reading) => ({ ...reading, name: `nats-server ${reading.name}` })),
  ];
}
