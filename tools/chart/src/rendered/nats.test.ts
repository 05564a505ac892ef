/** The servers of NATS: nats-server itself reads what is rendered for it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { initNats } from '@ironflow/nats-accounts';
import { createScratch } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { createCertificate } from '@ironflow/testing/certificates';
import type { Certificate } from '@ironflow/testing/certificates';
import type { CaseName } from '../cases.js';
import { find, podSpecOf } from '../manifests.js';
import { workspace } from '../places.js';
import { runProgram } from '../run-program.js';
import { renderCase } from '../testing/rendered.js';

let scratch: Scratch;
let program: string;
let certificate: Certificate;

beforeAll(async () => {
  scratch = await createScratch('chart-nats');
  certificate = await createCertificate();
  const finder = join(workspace, 'tools/setup/nats-server.mjs');
  const env = { NODE_OPTIONS: '' };
  program = (await runProgram(process.execPath, { args: [finder], env })).trim();
  const operator = await initNats({
    ...{ folder: scratch.file('operator'), name: 'ironflow', accountsFolder: scratch.file('accounts') },
  });
  expect(operator.serverConfig).toBe(scratch.file('operator', 'operator.conf'));
}, 120_000);
afterAll(() => scratch.remove());

/** With this machine's folders in the place of the container's. */
async function configOf(name: CaseName): Promise<string> {
  const manifests = await renderCase(name);
  const config = manifests.find(({ kind, data }) => kind === 'ConfigMap' && data?.['nats.conf'])!;
  return config
    .data!['nats.conf']!.replaceAll('/etc/nats/tls/tls.crt', certificate.certFile)
    .replaceAll('/etc/nats/tls/ca.crt', certificate.certFile)
    .replaceAll('/etc/nats/tls/tls.key', certificate.keyFile)
    .replaceAll('"/data"', `"${scratch.file('data')}"`);
}

test.each([
  'defaults',
  'dev',
  'large',
  'NATS in operator mode',
  'NATS with a password of yours',
  'everything',
] as const)('nats-server takes the configuration of: %s', async (name) => {
  const folder = scratch.file('config');
  await mkdir(folder, { recursive: true });
  const file = join(folder, 'nats.conf');
  await writeFile(file, await configOf(name));
  const env = { POD_NAME: 'ironflow-nats-0', NATS_USER: 'ironflow', NATS_PASSWORD: 'p123e4' };
  await runProgram(program, { args: ['-t', '--config', file], env });
});

test('in production writes are on the disk before they are acknowledged, and servers know each other by certificate', async () => {
  const config = await configOf('production');
  expect(config).toContain('sync_interval: always');
  expect(config).toMatch(/cluster \{[^]*verify: true/);
  expect(config.match(/nats-route:\/\//g)).toHaveLength(3);
});

test('a server that goes is a lame duck first, and has the time for it', async () => {
  const pod = podSpecOf(find(await renderCase('production'), 'StatefulSet', 'ironflow-nats'))!;
  expect(pod.containers[0]).toMatchObject({
    lifecycle: { preStop: { exec: { command: ['nats-server', '-sl=ldm=/var/run/nats/nats.pid'] } } },
  });
  const seconds = Number(/lame_duck_duration: "(\d+)s"/.exec(await configOf('production'))![1]);
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(seconds + 10);
});

test('services know every server by a name that its certificate has', async () => {
  const manifests = await renderCase('production');
  const { dnsNames } = find(manifests, 'Certificate', 'ironflow-nats-tls').spec as { dnsNames: string[] };
  const pod = podSpecOf(find(manifests, 'Deployment', 'ironflow-ingest'))!;
  const urls = pod.containers[0]!.env!.find(({ name }) => name === 'NATS_URL')!.value!.split(',');
  expect(urls).toHaveLength(3);
  for (const url of urls) {
    const host = new URL(url).hostname;
    expect(dnsNames).toContain(host.replace(/^[^.]+/, '*'));
  }
});
