/** An installation as its services leave it: a migrated PostgreSQL with an environment, a NATS server with the platform's streams. */
import { randomBytes } from 'node:crypto';
import { createDatabase, createTenantStore, migrate, openEnvelope, serviceUrl } from '@ironflow/database';
import type { Database } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import { createScratch, startNatsServer, startPostgres } from '@ironflow/testing';
import type { NatsServer, PostgresServer } from '@ironflow/testing';
import { diagnoseInstallation } from '../doctor/diagnose-installation.js';
import type { Finding } from '../doctor/finding.js';

export const passwords = { service: 'service-hunter2', tenant: 'tenant-hunter2' };

export interface Installation {
  nats: NatsServer;
  postgres: PostgresServer;
  /** As superuser. */
  admin: Database;
  /** As services have it. */
  env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

export async function startInstallation(): Promise<Installation> {
  const scratch = await createScratch('installation');
  const [nats, postgres] = await Promise.all([
    startNatsServer({ storeDir: scratch.file('nats') }),
    startPostgres({ dataDir: scratch.file('postgres') }),
  ]);
  const { env, admin } = await migrated(postgres.url);
  const jetstream = await connectJetStream({ url: nats.url, name: 'installation', replicas: 1 });
  await jetstream.close();
  return {
    ...{ nats, postgres, admin },
    env: { ...env, NATS_URL: nats.url },
    stop: async () => {
      await admin.close();
      await Promise.all([nats.kill(), postgres.kill()]);
      await scratch.remove();
    },
  };
}

/** A database with the schema, the logins and one environment. */
export async function migrated(ownerUrl: string): Promise<{ env: NodeJS.ProcessEnv; admin: Database }> {
  await migrate({ ownerUrl, log: () => undefined, servicePasswords: passwords });
  const url = serviceUrl(ownerUrl, 'ironflow_service', passwords.service);
  const masterKey = randomBytes(32).toString('base64');
  const service = createDatabase({ url, applicationName: 'installation' });
  const secrets = await openEnvelope(service, masterKey);
  const path = { organization: 'acme', project: 'shop', env: 'prod' };
  await createTenantStore(service, secrets).createEnvironment(path);
  await service.close();
  return {
    admin: createDatabase({ url: ownerUrl, applicationName: 'installation' }),
    env: {
      DATABASE_URL: url,
      TENANT_DATABASE_URL: serviceUrl(ownerUrl, 'ironflow_tenant', passwords.tenant),
      IRONFLOW_MASTER_KEY: masterKey,
    },
  };
}

/** By check, what is wrong; nothing of it may be secret. */
export async function failuresOf(
  env: NodeJS.ProcessEnv,
  clocks: Parameters<typeof diagnoseInstallation>[0]['clocks'] = [],
) {
  const findings = await diagnoseInstallation({ env, clocks });
  refuseSecrets(findings, env);
  return findings.filter(({ result }) => result === 'fail').map(({ check, detail }) => `${check}: ${detail}`);
}

export function refuseSecrets(findings: readonly Finding[], env: NodeJS.ProcessEnv): void {
  const text = JSON.stringify(findings);
  for (const secret of ['hunter2', env['IRONFLOW_MASTER_KEY'], env['NATS_PASSWORD'], env['NATS_TOKEN']]) {
    if (secret !== undefined && text.includes(secret)) throw new Error('a finding has a secret in it');
  }
}
