/** What Helm runs before, and on request: migrations and the test. */
import { expect, test } from '@jest/globals';
import { find, podSpecOf } from '../manifests.js';
import { render, renderCase } from '../testing/rendered.js';

test('the schema is brought up before anything else, by the owner’s login alone', async () => {
  const job = find(await renderCase('production'), 'Job', 'ironflow-migrate');
  expect(job.metadata.annotations).toMatchObject({
    'helm.sh/hook': 'pre-install,pre-upgrade',
    'helm.sh/hook-weight': '-5',
    'helm.sh/hook-delete-policy': 'before-hook-creation,hook-succeeded',
  });
  expect(job.spec).toMatchObject({ activeDeadlineSeconds: 900, backoffLimit: 2 });
  const pod = podSpecOf(job)!;
  const { env, args, image } = pod.containers[0]!;
  expect(args).toEqual(['migrate']);
  expect(image).toBe('ironflow/cli:0.1.0');
  expect(env!.map(({ name, valueFrom }) => [name, valueFrom!.secretKeyRef!.name])).toEqual([
    ['DATABASE_URL', 'ironflow-postgres-owner'],
    ['IRONFLOW_SERVICE_PASSWORD', 'ironflow-postgres-owner'],
    ['IRONFLOW_TENANT_PASSWORD', 'ironflow-postgres-owner'],
  ]);
  // Nothing that is made later, as the service account is.
  expect(pod).not.toHaveProperty('serviceAccountName');
});

test('the test comes by the URL that everybody uses', async () => {
  const pod = find(await renderCase('production'), 'Pod', 'ironflow-smoke-test');
  expect(pod.metadata.annotations).toMatchObject({ 'helm.sh/hook': 'test' });
  const { args, env } = podSpecOf(pod)!.containers[0]!;
  expect(args).toEqual(['smoke-test']);
  expect(env!.find(({ name }) => name === 'IRONFLOW_URL')!.value).toBe('https://ironflow.example.com');
  const without = await renderCase('defaults');
  expect(without.filter(({ kind }) => kind === 'Pod')).toEqual([]);
});

test('an authority that is made is kept, with certificates of the names that are asked for', async () => {
  const manifests = await renderCase('defaults');
  const authority = find(manifests, 'Secret', 'ironflow-ca');
  expect(authority.metadata.annotations).toEqual({ 'helm.sh/resource-policy': 'keep' });
  const { X509Certificate } = await import('node:crypto');
  const certificateOf = (name: string, key: string) =>
    new X509Certificate(Buffer.from(find(manifests, 'Secret', name).data![key]!, 'base64'));
  const issuer = certificateOf('ironflow-ca', 'tls.crt');
  for (const [name, hosts] of [
    ['ironflow-services-tls', ['ironflow', 'ironflow-api', 'ironflow-api.ironflow.svc']],
    ['ironflow-nats-tls', ['ironflow-nats-0.ironflow-nats-headless.ironflow.svc.cluster.local', 'localhost']],
  ] as const) {
    const certificate = certificateOf(name, 'tls.crt');
    expect(certificate.verify(issuer.publicKey)).toBe(true);
    for (const host of hosts) expect([host, certificate.checkHost(host)]).not.toEqual([host, undefined]);
    expect(certificateOf(name, 'ca.crt').fingerprint256).toBe(issuer.fingerprint256);
  }
});

test('without an authority of the chart’s own no Secret with one is rendered', async () => {
  const made = (await renderCase('certificates of yours')).filter(({ kind }) => kind === 'Secret');
  expect(made.map(({ metadata }) => metadata.name)).toEqual(['ironflow-nats-auth']);
});

test('alerts and dashboards are those of the repository', async () => {
  const manifests = await renderCase('production');
  const rules = find(manifests, 'PrometheusRule', 'ironflow').spec as { groups: unknown[] };
  expect(rules.groups.length).toBeGreaterThan(0);
  const dashboards = manifests.filter(({ metadata }) => metadata.labels?.grafana_dashboard === '1');
  expect(dashboards.length).toBeGreaterThan(0);
  for (const { data } of dashboards) for (const text of Object.values(data!)) JSON.parse(text);
});

test('objects of yours are rendered as templates', async () => {
  const manifests = await renderCase('everything');
  find(manifests, 'ConfigMap', 'ironflow-extra');
  find(manifests, 'ConfigMap', 'ironflow-text');
  const none = await render({
    values: { secrets: { existingSecret: 's' }, postgres: { existingSecret: 'p' } },
  });
  expect(none.filter(({ kind }) => kind === 'ConfigMap')).toHaveLength(1);
});
