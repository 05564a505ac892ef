/** The seven services as they are rendered, against what their code asks for. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { serviceNames, services } from '@ironflow/platform';
import type { ServiceName } from '@ironflow/platform';
import { readServiceConfig, serviceVariables, stopTimes } from '@ironflow/service';
import type { ServiceDefinition } from '@ironflow/service';
import { cases } from '../cases.js';
import type { CaseName } from '../cases.js';
import type { Values } from '../helm.js';
import { find, podSpecOf } from '../manifests.js';
import type { Container, EnvEntry, Manifest, PodSpec } from '../manifests.js';
import { caseNames, render, renderCase } from '../testing/rendered.js';

type AnyDefinition = ServiceDefinition<Record<string, never>>;

const definitionOf = (name: ServiceName) => services[name] as unknown as AnyDefinition;
const isProduction = (name: CaseName): boolean =>
  ((cases[name] as Values).values as { profile?: string }).profile === undefined && name !== 'dev';

/** What the keys of Secrets hold. */
const secrets: Record<string, string> = {
  IRONFLOW_MASTER_KEY: `${'A'.repeat(43)}=`,
  IRONFLOW_OPERATOR_KEY: '',
  DATABASE_URL: 'postgresql://ironflow_service:p@db.example.com/ironflow?sslmode=verify-full',
  TENANT_DATABASE_URL: 'postgresql://ironflow_tenant:p@db.example.com/ironflow?sslmode=verify-full',
  user: 'ironflow',
  password: 'secret',
  token: 'secret',
  headers: 'authorization=secret',
};

interface Rendered {
  deployment: Manifest;
  pod: PodSpec;
  container: Container;
  env: Record<string, string>;
}

function serviceIn(manifests: readonly Manifest[], name: ServiceName): Rendered {
  const deployment = manifests.find(
    ({ kind, metadata }) =>
      kind === 'Deployment' && metadata.labels?.['app.kubernetes.io/component'] === name,
  )!;
  const pod = podSpecOf(deployment)!;
  const container = pod.containers[0]!;
  const valueOf = ({ value, valueFrom }: EnvEntry): string =>
    value ?? (valueFrom?.secretKeyRef === undefined ? 'a-node' : secrets[valueFrom.secretKeyRef.key]!);
  const env = Object.fromEntries((container.env ?? []).map((entry) => [entry.name, valueOf(entry)]));
  return { deployment, pod, container, env };
}

describe.each(caseNames)('%s', (caseName) => {
  let manifests: Manifest[];
  beforeAll(async () => {
    manifests = await renderCase(caseName);
  }, 60_000);

  test.each(serviceNames)('%s starts with what it is told', (name) => {
    const { env, container } = serviceIn(manifests, name);
    const known = new Set([...serviceVariables(definitionOf(name)), 'OTEL_LOG_LEVEL', 'NODE_NAME']);
    expect(Object.keys(env).filter((variable) => !known.has(variable))).toEqual([]);
    const names = (container.env ?? []).map((entry) => entry.name);
    expect(names).toEqual([...new Set(names)]);
    expect(() => readServiceConfig(definitionOf(name), { env, listen: true })).not.toThrow();
    if (isProduction(caseName)) expect(env.IRONFLOW_ACCEPT_RISKS).toBeUndefined();
  });

  test.each(serviceNames)('%s has the login of its role and no other', (name) => {
    const { env } = serviceIn(manifests, name);
    const { databaseRole } = definitionOf(name);
    const logins = ['DATABASE_URL', 'TENANT_DATABASE_URL'].filter((login) => env[login] !== undefined);
    const both = ['DATABASE_URL', 'TENANT_DATABASE_URL'];
    const role = databaseRole === 'tenant' ? ['TENANT_DATABASE_URL'] : ['DATABASE_URL'];
    expect(logins).toEqual(name === 'api' ? both : role);
    expect('IRONFLOW_OPERATOR_KEY' in env).toBe(name === 'api');
  });

  test.each(serviceNames)('files that %s is told of are mounted', (name) => {
    const { env, container, pod } = serviceIn(manifests, name);
    const files = Object.entries(env).filter(([variable]) => variable.endsWith('_FILE'));
    for (const [, file] of files) {
      const mount = container.volumeMounts!.find(({ mountPath }) => file.startsWith(`${mountPath}/`))!;
      const volume = pod.volumes!.find((one) => one.name === mount.name)!;
      const paths = volume.secret!.items!.map(({ path }) => `${mount.mountPath}/${path}`);
      expect(paths).toContain(file);
    }
  });

  test.each(serviceNames)('%s is killed only once its own stop has given up', (name) => {
    const { pod, env, container } = serviceIn(manifests, name);
    const definition = definitionOf(name);
    const { own } = readServiceConfig(definition, { env, listen: true });
    const { stopTimeoutMs } = stopTimes(definition.drainTimeoutMs?.(own));
    const { lifecycle } = container as { lifecycle?: { preStop: { sleep: { seconds: number } } } };
    const sleepMs = (lifecycle?.preStop.sleep.seconds ?? 0) * 1_000;
    expect(pod.terminationGracePeriodSeconds! * 1_000).toBeGreaterThan(sleepMs + stopTimeoutMs);
  });

  test.each(serviceNames)('%s is asked whether it is up, alive and ready, as it listens', (name) => {
    const { container, env } = serviceIn(manifests, name);
    const scheme = env.TLS_CERT_FILE === undefined ? 'HTTP' : 'HTTPS';
    const asks = (path: string) => expect.objectContaining({ httpGet: { path, port: 'http', scheme } });
    expect(container).toMatchObject({
      startupProbe: asks('/healthz'),
      livenessProbe: asks('/healthz'),
      readinessProbe: asks('/readyz'),
      ports: [{ name: 'http', containerPort: Number(env.PORT) }],
    });
  });

  test('only the number of replicas that nobody else decides is in a Deployment', () => {
    for (const name of serviceNames) {
      const { deployment } = serviceIn(manifests, name);
      const scalers = manifests.filter(
        ({ kind, spec }) =>
          ['HorizontalPodAutoscaler', 'ScaledObject'].includes(kind) &&
          (spec as { scaleTargetRef: { name: string } }).scaleTargetRef.name === deployment.metadata.name,
      );
      expect(scalers.length).toBeLessThan(2);
      expect('replicas' in deployment.spec!).toBe(scalers.length === 0);
    }
  });
});

test('a service differs where its values say so, also by false and 0', async () => {
  const values = {
    secrets: { existingSecret: 's' },
    postgres: { existingSecret: 'p' },
    services: {
      cron: { preStopSeconds: 0, podDisruptionBudget: { enabled: false }, env: { LOG_LEVEL: 'debug' } },
    },
  };
  const manifests = await render({ values });
  const { container, env } = serviceIn(manifests, 'cron');
  expect(container).not.toHaveProperty('lifecycle');
  expect(env.LOG_LEVEL).toBe('debug');
  expect(serviceIn(manifests, 'api').env.LOG_LEVEL).toBe('info');
  const budgets = manifests.filter(({ kind }) => kind === 'PodDisruptionBudget');
  expect(budgets.map(({ metadata }) => metadata.name)).not.toContain('ironflow-cron');
  expect(budgets).toHaveLength(serviceNames.length);
});

test('images come from where the values say, by tag or digest', async () => {
  const manifests = await renderCase('everything');
  const image = (name: ServiceName) => serviceIn(manifests, name).container.image;
  expect(image('ingest')).toBe('registry.example.com/ironflow/ingest:1.2.3');
  expect(image('scheduler')).toBe('registry.example.com/ironflow/scheduler:1.2.2');
  expect(image('api')).toBe(`registry.example.com/ironflow/api@sha256:${'0'.repeat(64)}`);
  const nats = podSpecOf(manifests.find(({ kind }) => kind === 'StatefulSet')!)!;
  expect(nats.containers[0]!.image).toMatch(/^registry\.example\.com\/nats:/);
});

test('executors are scaled by the backlog that a service tells, or by their CPU', async () => {
  const url = 'https://ironflow-scheduler.ironflow.svc:8080/backlog';
  const keda = find(await renderCase('production'), 'ScaledObject', 'ironflow-executor');
  expect(keda.spec).toMatchObject({
    minReplicaCount: 3,
    fallback: { replicas: 3 },
    triggers: [
      { metadata: { url, valueLocation: 'active', targetValue: '250' } },
      {
        metadata: { url, valueLocation: 'backlog', targetValue: '20' },
        authenticationRef: { name: 'ironflow-executor' },
      },
    ],
  });
  const hpa = find(await renderCase('everything'), 'HorizontalPodAutoscaler', 'ironflow-engine-ingest');
  expect(hpa.spec).toMatchObject({ minReplicas: 2, maxReplicas: 10 });
});
