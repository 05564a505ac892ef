import { expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { z } from 'zod';
import { serviceNames, services } from '@ironflow/platform';
import { baseConfigShape, masterKeyConfigShape, tenantDatabaseConfigShape } from '@ironflow/service';
import { readDeployed } from './files-of-deploy.js';

const text = readDeployed('compose.yaml');
const compose = z
  .object({
    services: z.record(
      z.string(),
      z.looseObject({
        image: z.string(),
        build: z.object({ dockerfile: z.string(), args: z.object({ SERVICE: z.string() }) }).optional(),
        environment: z.record(z.string(), z.string()).default({}),
        ports: z.array(z.string()).default([]),
        volumes: z.array(z.string()).default([]),
        user: z.string(),
        read_only: z.boolean(),
        cap_drop: z.array(z.string()),
        stop_grace_period: z.string().optional(),
      }),
    ),
  })
  .parse(parse(text, { merge: true }));

const own = serviceNames.map((name) => [name, compose.services[name]!] as const);

test('there is every service of the platform, each from its own image', () => {
  for (const [name, service] of own) {
    expect(service.image).toContain(`ironflow/${name}:`);
    expect(service.build).toMatchObject({ dockerfile: 'deploy/Dockerfile', args: { SERVICE: name } });
  }
  const others = ['postgres', 'nats', 'migrate', 'gateway'];
  expect(Object.keys(compose.services).sort()).toEqual([...serviceNames, ...others].sort());
});

test.each(own)('%s is told what it knows, and all that it needs', (name, { environment }) => {
  const { configShape, databaseRole } = services[name];
  const shared = { ...baseConfigShape, ...masterKeyConfigShape, ...tenantDatabaseConfigShape };
  const known = Object.keys({ ...shared, ...configShape });
  expect(Object.keys(environment).filter((variable) => !known.includes(variable))).toEqual([]);
  expect(environment).toMatchObject({
    NATS_URL: 'tls://nats:4222',
    NATS_CREDS_FILE: expect.any(String),
    IRONFLOW_MASTER_KEY: expect.any(String),
    [databaseRole === 'tenant' ? 'TENANT_DATABASE_URL' : 'DATABASE_URL']: expect.stringContaining(
      `ironflow_${databaseRole}:`,
    ),
  });
  for (const url of [environment.DATABASE_URL, environment.TENANT_DATABASE_URL]) {
    expect(url || 'sslmode=verify-full').toContain('sslmode=verify-full');
  }
});

test('nobody but those who need it has the login that sees every environment', () => {
  const having = own.filter(([, { environment }]) => environment.DATABASE_URL).map(([name]) => name);
  expect(having).toEqual(serviceNames.filter((name) => name !== 'ingest'));
});

test('nothing secret has a default, and nothing is open beyond this machine by itself', () => {
  const secrets = /\$\{(\w*(?:PASSWORD|KEY|USER)\w*)([^}]*)\}/g;
  for (const [, name, rest] of text.matchAll(secrets)) {
    expect([name, rest]).toEqual([name, ':?run deploy/prepare.sh first']);
  }
  const published = Object.values(compose.services).flatMap(({ ports }) => ports);
  expect(published).toEqual(['${IRONFLOW_PUBLISH:-127.0.0.1:7400:7400}']);
});

test('every container runs as a user of a number, without rights, on a root that it cannot write', () => {
  for (const [name, { user, read_only, cap_drop }] of Object.entries(compose.services)) {
    expect([name, user, read_only, cap_drop]).toEqual([
      ...[name, '${IRONFLOW_USER:?run deploy/prepare.sh first}', true, ['ALL']],
    ]);
  }
});

test('every container has the secrets that are for it, and none those of the operator', () => {
  const folders = Object.entries(compose.services).map(([name, { volumes }]) => [
    name,
    volumes.flatMap((volume) => /^\.\/secrets\/?([^:]*):.*:ro$/.exec(volume)?.[1] ?? []),
  ]);
  expect(Object.fromEntries(folders)).toEqual({
    ...Object.fromEntries(serviceNames.map((name) => [name, ['services']])),
    api: ['services', 'api'],
    migrate: ['services'],
    postgres: ['postgres'],
    nats: ['nats-tls', 'nats-server'],
    gateway: [],
  });
});
