import { rm } from 'node:fs/promises';
import { get } from 'node:https';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { executorService } from '@ironflow/executor';
import { createFunction } from '@ironflow/sdk';
import { createLifecycle, createLogger, startService } from '@ironflow/service';
import { createScratch, startNatsServer, startPostgres } from '@ironflow/testing';
import { createCertificate } from '@ironflow/testing/certificates';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';

const undo: (() => unknown)[] = [];
let world: PlatformUnderTest;
let env: NodeJS.ProcessEnv;
let certificate: Awaited<ReturnType<typeof createCertificate>>;
let other: typeof certificate;

beforeAll(async () => {
  const scratch = await createScratch('encryption');
  undo.push(() => scratch.remove());
  certificate = await createCertificate();
  other = await createCertificate();
  for (const { folder } of [certificate, other]) undo.push(() => rm(folder, { recursive: true }));
  const authorization = { user: 'platform', password: 'secret' };
  const postgres = await startPostgres({
    ...{ dataDir: join(scratch.path, 'postgres'), durable: false, tls: certificate },
  });
  undo.push(() => postgres.stop());
  const nats = await startNatsServer({
    ...{ storeDir: join(scratch.path, 'nats'), tls: certificate, authorization },
  });
  undo.push(() => nats.stop());
  env = {
    DATABASE_URL: `${postgres.url}?sslmode=verify-full&sslrootcert=${certificate.certFile}`,
    NATS_URL: nats.url.replace('nats:', 'tls:'),
    NATS_TLS_CA_FILE: certificate.certFile,
    NATS_USER: authorization.user,
    NATS_PASSWORD: authorization.password,
  };
  world = await startPlatformUnderTest(env);
  undo.push(() => world.stop());
});

afterAll(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

async function startExecutor(changes: NodeJS.ProcessEnv) {
  const logger = createLogger({ service: 'executor', level: 'silent' });
  const lifecycle = createLifecycle({ logger });
  undo.push(() => lifecycle.stop());
  const own = { ...world.platform.serviceEnv, HOST: '127.0.0.1', PORT: '0', ...changes };
  return startService(executorService, { env: own, lifecycle, logger, listen: true });
}

function statusOf(url: string, ca: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(url, { ca }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).once('error', reject);
  });
}

test('runs pass through servers that are spoken to by TLS alone', async () => {
  const double = createFunction({ id: 'double', triggers: [{ event: 'asked' }] }, ({ event, step }) =>
    step.run('double', () => 2 * (event.data as { of: number }).of),
  );
  await world.tenant.startWorker('encrypted', [double]);
  const { ids } = await world.tenant.client.emit({ name: 'asked', data: { of: 21 } });
  const [run] = await world.tenant.endedRunsOf(ids[0]!);
  expect(run).toMatchObject({ status: 'completed', output: 42 });
  const connections = await world.query<{ ssl: boolean }>(
    `select s.ssl from pg_stat_ssl s join pg_stat_activity a using (pid) where a.application_name like 'ironflow-%'`,
  );
  expect(connections.length).toBeGreaterThan(5);
  expect(connections.filter(({ ssl }) => !ssl)).toEqual([]);
});

test('a service listens by https with its own certificate', async () => {
  const { certFile: TLS_CERT_FILE, keyFile: TLS_KEY_FILE } = certificate;
  const { url } = await startExecutor({ TLS_CERT_FILE, TLS_KEY_FILE });
  expect(url).toMatch(/^https:/);
  expect(await statusOf(`${url}/healthz`, certificate.cert)).toBe(200);
  await expect(statusOf(`${url}/healthz`, other.cert)).rejects.toThrow(/certificate/);
});

test('servers with a certificate of somebody else are not spoken to', async () => {
  await expect(startExecutor({ NATS_TLS_CA_FILE: other.certFile })).rejects.toThrow(/cannot connect to NATS/);
  const url = world.platform.serviceEnv.DATABASE_URL!.replace(certificate.certFile, other.certFile);
  await expect(startExecutor({ DATABASE_URL: url })).rejects.toThrow(/certificate/);
});

test.each([
  ['a certificate without its key', { TLS_CERT_FILE: '/tmp/c.pem' }, /TLS_CERT_FILE and TLS_KEY_FILE/],
  ['one that is not there', { TLS_CERT_FILE: '/no', TLS_KEY_FILE: '/no' }, /cannot be read/],
  ['every interface without TLS', { HOST: '0.0.0.0' }, /plain-http.*IRONFLOW_ACCEPT_RISKS=plain-http/],
  [
    'a risk that nobody knows',
    { IRONFLOW_ACCEPT_RISKS: 'everything' },
    /IRONFLOW_ACCEPT_RISKS: must be some of/,
  ],
])('%s is refused at the start', async (_what, changes, message) => {
  await expect(startExecutor(changes)).rejects.toThrow(message);
});

test('what is protected otherwise starts once that is said', async () => {
  const { url } = await startExecutor({ HOST: '0.0.0.0', IRONFLOW_ACCEPT_RISKS: 'plain-http' });
  expect(url).toMatch(/^http:/);
});
