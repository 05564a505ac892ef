/**
 * A migrated database with two environments, and both service roles logged in: what every integration test
 * here starts from. Everything is done in both environments or checked against the other.
 */
import { randomBytes } from 'node:crypto';
import { createId, deriveRunId } from '@ironflow/schema';
import type { AppManifest, Scope } from '@ironflow/schema';
import { sharedPostgres } from '@ironflow/testing';
import pg from 'pg';
import {
  createDatabase,
  createEnvelope,
  createIngestStore,
  createSchedulerStore,
  createTenantStore,
  migrate,
  serviceUrl,
} from '../src/index.js';
import type { Database, EnvironmentCredentials, NewEvent, NewRun, Secrets } from '../src/index.js';

export const passwords = { service: 'service:pa/ss', tenant: 'tenant@pa%ss' };
export const silent = (): void => undefined;

export interface Platform {
  ownerUrl: string;
  /** As superuser, around row-level security: for set-up and for looking at what is really there. */
  admin: pg.Pool;
  service: Database;
  tenant: Database;
  secrets: Secrets;
  masterKey: string;
  ours: EnvironmentCredentials;
  theirs: EnvironmentCredentials;
  close(): Promise<void>;
}

export async function createPlatform(): Promise<Platform> {
  const postgres = await sharedPostgres();
  const ownerUrl = await postgres.createDatabase();
  await migrate({ ownerUrl, log: silent, servicePasswords: passwords });
  const service = createDatabase({
    url: serviceUrl(ownerUrl, 'ironflow_service', passwords.service),
    applicationName: 'service test',
  });
  const tenant = createDatabase({
    url: serviceUrl(ownerUrl, 'ironflow_tenant', passwords.tenant),
    applicationName: 'tenant test',
  });
  const admin = new pg.Pool({ connectionString: ownerUrl, max: 4 });
  // The server is killed when the tests are over, possibly before this notices.
  admin.on('error', () => undefined);
  const masterKey = randomBytes(32).toString('base64');
  const secrets = createEnvelope(masterKey);
  const tenants = createTenantStore(service, secrets);
  const ours = await tenants.createEnvironment({ organization: 'acme', project: 'shop', env: 'prod' });
  const theirs = await tenants.createEnvironment({ organization: 'other', project: 'bank', env: 'prod' });
  const close = async (): Promise<void> => {
    await Promise.all([service.close(), tenant.close(), admin.end()]);
  };
  return { ownerUrl, admin, service, tenant, secrets, masterKey, ours, theirs, close };
}

export const freshId = (timeMs = Date.now()): string => createId(timeMs, randomBytes(10));

export function newEvent(changes: Partial<NewEvent> = {}): NewEvent {
  return { id: freshId(), name: 'order.created', data: '{"total":1}', source: 'http', ...changes };
}

/** A run of an event; its id has the event's time, as every run's has. */
export function newRun(scope: Scope, eventId: string, changes: Partial<NewRun> = {}): NewRun {
  return {
    id: deriveRunId({
      environmentId: scope.environmentId,
      eventId,
      functionId: changes.functionId ?? 'ship',
    }),
    environmentId: scope.environmentId,
    eventId,
    appId: 'shop',
    functionId: 'ship',
    functionHash: 'hash',
    mode: 'pull',
    status: 'queued',
    correlationId: eventId,
    ...changes,
  };
}

/** Stores events and routes each to one run, which is answered. */
export async function startRuns(
  platform: Platform,
  scope: Scope,
  count: number,
  changes: Partial<NewRun> = {},
): Promise<NewRun[]> {
  const events = Array.from({ length: count }, () => newEvent());
  await createIngestStore(platform.tenant).storeEvents(scope.environmentId, events);
  const runs = events.map((event) => newRun(scope, event.id, changes));
  const [environment] = (
    await platform.admin.query<{ registry_version: number }>(
      'select registry_version from environments where id = $1',
      [scope.environmentId],
    )
  ).rows;
  await createSchedulerStore(platform.service).routeEvents(
    events.map(({ id, name }) => ({
      id,
      awaitedAs: name,
      cancels: false,
      environmentId: scope.environmentId,
      registryVersion: environment!.registry_version,
    })),
    runs,
  );
  return runs;
}

export function manifest(changes: Partial<AppManifest> = {}): AppManifest {
  return { id: 'shop', mode: 'pull', functions: [functionConfig('ship')], ...changes };
}

export function functionConfig(
  id: string,
  triggers: AppManifest['functions'][number]['triggers'] = [{ event: 'order.*' }],
): AppManifest['functions'][number] {
  return { id, triggers, retries: { attempts: 3, initialDelayMs: 1_000, factor: 2, maxDelayMs: 300_000 } };
}
