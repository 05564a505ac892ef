/** The CronJob that saves what lives in NATS alone. */
import { expect, test } from '@jest/globals';
import { find, podSpecOf } from '../manifests.js';
import type { Manifest } from '../manifests.js';
import { renderCase } from '../testing/rendered.js';

function backupOf(manifests: readonly Manifest[], name: string) {
  const job = find(manifests, 'CronJob', `${name}-backup`);
  const pod = podSpecOf(job)!;
  return { job, pod, container: pod.containers[0]! };
}

test('without being asked for there is none', async () => {
  const manifests = await renderCase('production');
  expect(manifests.filter(({ kind }) => kind === 'CronJob')).toEqual([]);
  expect(manifests.map(({ metadata }) => metadata.name)).not.toContain('ironflow-backup');
});

test('into S3 it goes with the logins of NATS and of the storage, and reaches nothing else', async () => {
  const manifests = await renderCase('everything');
  const { job, container } = backupOf(manifests, 'ironflow-engine');
  expect(job.spec).toMatchObject({
    schedule: '15 2 * * *',
    timeZone: 'Etc/UTC',
    concurrencyPolicy: 'Forbid',
  });
  expect(container.args).toEqual(['backup', 'create', 's3://backups/ironflow', '--only', 'all', '--json']);
  expect(
    container.env!.map(({ name, value, valueFrom }) => [name, value ?? valueFrom!.secretKeyRef!]),
  ).toEqual([
    ['AWS_ACCESS_KEY_ID', { name: 'storage', key: 'AWS_ACCESS_KEY_ID' }],
    ['AWS_ENDPOINT_URL_S3', 'https://storage.example.com:9000'],
    ['AWS_REGION', 'us-east-1'],
    ['AWS_SECRET_ACCESS_KEY', { name: 'storage', key: 'AWS_SECRET_ACCESS_KEY' }],
    ['NATS_PASSWORD', { name: 'ironflow-engine-nats-auth', key: 'password' }],
    ['NATS_TLS_CA_FILE', '/etc/ironflow/nats-ca/ca.crt'],
    ['NATS_URL', expect.stringContaining('tls://ironflow-engine-nats-0.')],
    ['NATS_USER', { name: 'ironflow-engine-nats-auth', key: 'user' }],
    ['NODE_EXTRA_CA_CERTS', '/etc/ironflow/storage-ca/ca.crt'],
  ]);
  const { egress } = find(manifests, 'NetworkPolicy', 'ironflow-engine-backup').spec as {
    egress: { ports: { port: number }[]; to?: unknown[] }[];
  };
  expect(egress.map(({ ports }) => ports.map(({ port }) => port))).toEqual([[4222], [9000]]);
  expect(egress[1]!.to).toEqual([{ ipBlock: { cidr: '10.2.0.0/16' } }]);
  expect(JSON.stringify(find(manifests, 'NetworkPolicy', 'ironflow-engine-nats').spec)).toContain('"backup"');
});

test('into a volume it goes without a login of any storage', async () => {
  const manifests = await renderCase('NATS in operator mode');
  const { pod, container } = backupOf(manifests, 'ironflow');
  expect(container.args).toEqual(['backup', 'create', '/backups', '--only', 'buckets', '--json']);
  expect(container.env!.map(({ name }) => name)).toEqual(['NATS_CREDS_FILE', 'NATS_TLS_CA_FILE', 'NATS_URL']);
  expect(pod.volumes!.find(({ name }) => name === 'backups')).toMatchObject({
    persistentVolumeClaim: { claimName: 'backups' },
  });
  // The accounts' signing keys are for the api alone.
  expect(JSON.stringify(pod)).not.toContain('accounts.json');
});

test('NATS of your own is asked at its ports, and Amazon at 443', async () => {
  const manifests = await renderCase('NATS of your own, by creds');
  const { container } = backupOf(manifests, 'ironflow');
  expect(container.env!.map(({ name }) => name)).toContain('NATS_TLS_CERT_FILE');
  const { egress } = find(manifests, 'NetworkPolicy', 'ironflow-backup').spec as {
    egress: { ports: { port: number }[] }[];
  };
  expect(egress.map(({ ports }) => ports.map(({ port }) => port))).toEqual([[4222, 4223], [443]]);
});
