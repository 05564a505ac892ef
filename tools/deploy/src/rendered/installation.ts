/** What an installation brings to the chart: PostgreSQL with TLS, the Secrets that the values name, and what its operator knows. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { generateOperatorKey, serviceUrl } from '@ironflow/database';
import { initNats } from '@ironflow/nats-accounts';
import type { Lifecycle } from '@ironflow/service';
import { startPostgres } from '@ironflow/testing';
import { createCertificate } from '@ironflow/testing/certificates';
import { secretsFrom } from './manifest.js';
import type { Contents } from './manifest.js';

export interface Installation {
  /** By the names in values.yaml. */
  secrets: Contents;
  operatorKey: string;
  /** Of PostgreSQL's superuser, from this process. */
  ownerUrl: string;
  /** A creds file of the platform's own account. */
  platformCreds: string;
  /** Names that pods know it by. */
  hosts: Record<string, string>;
}

const postgresHost = 'postgres.ironflow.test';

export async function prepareInstallation(of: {
  folder: string;
  /** Where pods reach this process. */
  hostAddress: string;
  lifecycle: Lifecycle;
}): Promise<Installation> {
  const { folder, hostAddress, lifecycle } = of;
  const certificate = await createCertificate([postgresHost]);
  const postgres = await lifecycle.start('postgres', () =>
    startPostgres({ dataDir: join(folder, 'postgres'), tls: certificate, connectionsMax: 500 }),
  );
  const port = await forward({ host: hostAddress, toPort: postgres.port, lifecycle });
  const nats = await initNats({
    folder: join(folder, 'nats-operator'),
    name: 'local',
    accountsFolder: '/data/accounts',
  });
  const [service, tenant] = [password(), password()];
  const ownerUrl = urlForPods(postgres.url, port);
  const operatorKey = generateOperatorKey();
  return {
    secrets: secretsFrom({
      'ironflow-secrets': {
        IRONFLOW_MASTER_KEY: randomBytes(32).toString('base64'),
        IRONFLOW_OPERATOR_KEY: operatorKey,
      },
      'ironflow-postgres': {
        DATABASE_URL: serviceUrl(ownerUrl, 'ironflow_service', service),
        TENANT_DATABASE_URL: serviceUrl(ownerUrl, 'ironflow_tenant', tenant),
      },
      'ironflow-postgres-owner': {
        OWNER_DATABASE_URL: ownerUrl,
        IRONFLOW_SERVICE_PASSWORD: service,
        IRONFLOW_TENANT_PASSWORD: tenant,
      },
      'ironflow-postgres-ca': { 'ca.crt': certificate.cert },
      'ironflow-nats-operator': {
        'operator.conf': await readFile(nats.serverConfig, 'utf8'),
        'platform.creds': await readFile(nats.platformCreds, 'utf8'),
        'accounts.json': await readFile(nats.accounts, 'utf8'),
      },
    }),
    operatorKey,
    ownerUrl: postgres.url,
    platformCreds: nats.platformCreds,
    hosts: { [postgresHost]: hostAddress },
  };
}

function urlForPods(url: string, port: number): string {
  const forPods = new URL(url);
  forPods.host = `${postgresHost}:${port}`;
  forPods.search = new URLSearchParams({
    sslmode: 'verify-full',
    sslrootcert: '/etc/ironflow/postgres/ca.crt',
  }).toString();
  return forPods.href;
}

function password(): string {
  return randomBytes(24).toString('base64url');
}

/** The server listens on loopback alone; what is spoken is encrypted all the way. Answers with the port. */
async function forward(of: { host: string; toPort: number; lifecycle: Lifecycle }): Promise<number> {
  const port = 5432;
  const server = createServer({ noDelay: true }, (inside) => {
    const outside = connect({ host: '127.0.0.1', port: of.toPort, noDelay: true });
    inside.on('error', () => outside.destroy());
    outside.on('error', () => inside.destroy());
    inside.on('close', () => outside.destroy());
    outside.on('close', () => inside.destroy());
    inside.pipe(outside).pipe(inside);
  });
  await new Promise<void>((resolve) => server.listen(port, of.host, resolve));
  of.lifecycle.onStop('way to postgres', () => void server.close());
  return port;
}
