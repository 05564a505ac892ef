import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { appendFile, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import type { BackupManifest } from '@ironflow/schema';
import { createScratch, startNatsServer } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { createBackup } from './create-backup.js';
import { restoreBackup } from './restore-backup.js';
import { startS3 } from '../testing/s3-server.js';
import { verifyBackup } from './verify-backup.js';

const environmentId = '01940000-0000-7000-8000-000000000001';
const stock = { environmentId, name: 'stock' };
const stockStream = `KV_APP_${environmentId}_stock`;
const undo: (() => unknown)[] = [];
let folder: string;
let old: NatsServer;
let fresh: NatsServer;

beforeEach(async () => {
  const scratch = await createScratch('backup');
  undo.push(() => scratch.remove());
  folder = scratch.file('backups');
  old = await startServer(scratch.file('old'));
  fresh = await startServer(scratch.file('fresh'));
  const services = await openServices(old);
  await services.userBuckets.ensure(stock, { history: 2, maxBytes: 1_000_000 });
  const bucket = services.userBuckets.open(stock, async () => undefined);
  for (let key = 0; key < 20; key += 1) await bucket.put(`key-${key}`, JSON.stringify('x'.repeat(2_000)), {});
  await services.publisher.publish({ subject: 'public.a.b.topic.t', data: '"said"' });
  await services.publisher.publish({ subject: 'ironflow.a.b.ingest.x', data: '1' });
  await services.publisher.publish({ subject: 'ironflow.a.b.events.x', data: '1' });
}, 30_000);
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

async function startServer(storeDir: string): Promise<NatsServer> {
  const server = await startNatsServer({ storeDir });
  undo.push(() => server.kill());
  return server;
}

async function openServices({ url }: NatsServer): Promise<JetStream> {
  const jetstream = await connectJetStream({ url, name: 'services', replicas: 1 });
  undo.push(() => jetstream.close());
  return jetstream;
}

const envOf = ({ url }: NatsServer): NodeJS.ProcessEnv => ({ NATS_URL: url });
const namesOf = ({ streams }: BackupManifest): string[] =>
  streams.map(({ configuration }) => configuration.name);

test('what lives in NATS alone is backed up, verified, restored, and taken up by the services', async () => {
  const told: string[] = [];
  const { place, manifest } = await createBackup({
    env: envOf(old),
    target: folder,
    onProgress: ({ stream }) => told.push(stream),
  });
  expect(namesOf(manifest)).toContain(stockStream);
  expect(new Set(told)).toEqual(new Set(namesOf(manifest)));
  expect((await stat(place)).mode & 0o777).toBe(0o700);
  for (const file of await readdir(place)) expect((await stat(join(place, file))).mode & 0o777).toBe(0o600);
  expect(await verifyBackup({ env: {}, place, restoreCheck: true })).toEqual(manifest);

  const { restored } = await restoreBackup({ env: envOf(fresh), place });
  expect(restored.map(({ name, messages }) => [name, messages])).toEqual([
    ['INGEST', 1],
    [stockStream, 20],
    ['PUBSUB', 1],
  ]);
  const services = await openServices(fresh);
  const bucket = services.userBuckets.open(stock, () => Promise.reject(new Error('it is missing')));
  expect(await bucket.get('key-7')).toMatchObject({ value: JSON.stringify('x'.repeat(2_000)) });
  const scope = { organization: 'a', project: 'a', env: 'b', environmentId };
  expect(await services.topics.next(scope, 't', 1)).toMatchObject({ data: '"said"' });
  expect(await services.states.stream('EVENTS')).toMatchObject({ messages: 0 });
}, 60_000);

test('only what is asked for is backed up and restored', async () => {
  const { place, manifest } = await createBackup({
    env: envOf(old),
    target: folder,
    only: `${stockStream},EVENTS`,
  });
  expect(namesOf(manifest)).toEqual(['EVENTS', stockStream]);
  const { restored } = await restoreBackup({ env: envOf(fresh), place, only: 'streams' });
  expect(restored).toMatchObject([{ name: 'EVENTS', messages: 1 }]);
  await expect(createBackup({ env: envOf(old), target: folder, only: 'x' })).rejects.toThrow(
    'there is no stream x',
  );
});

test('a stream that is there is replaced only if it is named', async () => {
  const { place } = await createBackup({ env: envOf(old), target: folder, only: 'buckets' });
  const services = await openServices(fresh);
  await services.userBuckets.ensure(stock, { history: 1, maxBytes: 1_000 });
  await expect(restoreBackup({ env: envOf(fresh), place })).rejects.toMatchObject({ code: 'stream_exists' });
  await restoreBackup({ env: envOf(fresh), place, replace: [stockStream] });
  const bucket = services.userBuckets.open(stock, async () => undefined);
  expect(await bucket.get('key-7')).toMatchObject({ revision: 8 });
});

test('a backup that is damaged or not whole is refused before anything is touched', async () => {
  const { place, manifest } = await createBackup({ env: envOf(old), target: folder });
  const { file } = manifest.streams.find(({ configuration }) => configuration.name === stockStream)!;
  const path = join(place, file.name);
  const whole = await readFile(path);
  const refuses = async (rule: RegExp): Promise<void> => {
    await expect(verifyBackup({ env: {}, place })).rejects.toThrow(rule);
    await expect(restoreBackup({ env: envOf(fresh), place })).rejects.toThrow(rule);
  };
  await truncate(path, whole.length - 10);
  await refuses(/has \d+ bytes of \d+/);
  const flipped = Buffer.from(whole);
  flipped[100]! ^= 1;
  await writeFile(path, flipped);
  await refuses(/its hash is another/);
  await appendFile(path, 'x');
  await refuses(/bytes of/);
  await writeFile(path, whole);
  await verifyBackup({ env: {}, place });

  const text = await readFile(join(place, 'manifest.json'), 'utf8');
  const cases: [string, RegExp][] = [
    [text.replace(`"messages": 20`, `"messages": 21`), /not those of the manifest/],
    [text.slice(0, 100), /it is no JSON/],
  ];
  for (const [changed, rule] of cases) {
    await writeFile(join(place, 'manifest.json'), changed);
    await refuses(rule);
  }
  await expect(verifyBackup({ env: {}, place: folder })).rejects.toMatchObject({ code: 'backup_incomplete' });
  const { restored } = await (async () => {
    await writeFile(join(place, 'manifest.json'), text);
    return restoreBackup({ env: envOf(fresh), place });
  })();
  expect(restored).toHaveLength(3);
}, 60_000);

test('S3-compatible storage: large files in parts, the same checks, and what is wrong in its own words', async () => {
  const s3 = await startS3('backups');
  undo.push(() => s3.stop());
  const services = await openServices(old);
  // More than a part, and nothing that could be compressed.
  await services.userBuckets.ensure({ environmentId, name: 'large' }, { history: 1, maxBytes: 100_000_000 });
  const large = services.userBuckets.open({ environmentId, name: 'large' }, async () => undefined);
  for (let key = 0; key < 25; key += 1) {
    const noise = Buffer.from(
      Uint8Array.from({ length: 1_000_000 }, () => 35 + Math.floor(Math.random() * 56)),
    );
    await large.put(`key-${key}`, noise.toString('latin1'), {});
  }
  const env = { ...envOf(old), ...s3.env };
  const { place, manifest } = await createBackup({ env, target: 's3://backups/nightly/', only: 'buckets' });
  expect(place).toMatch(/^s3:\/\/backups\/nightly\/\w+-\w+$/);
  expect(Math.max(...manifest.streams.map(({ file }) => file.bytes))).toBeGreaterThan(16 * 1024 * 1024);
  expect(await verifyBackup({ env: s3.env, place })).toEqual(manifest);
  const { restored } = await restoreBackup({ env: { ...envOf(fresh), ...s3.env }, place });
  expect(restored.map(({ messages }) => messages)).toEqual([25, 20]);

  const refusals: [NodeJS.ProcessEnv, string, RegExp][] = [
    [{}, place, /AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set both/],
    [s3.env, 's3://', /names no bucket/],
    [s3.env, 's3://backups/none', /has no manifest\.json/],
    // Who asks is looked at; signatures are not, by this server.
    [{ ...s3.env, AWS_ACCESS_KEY_ID: 'nobody' }, place, /answered 403 InvalidAccessKeyId/],
    [s3.env, 'gs://x/y', /is no place for a backup/],
  ];
  for (const [of, where, rule] of refusals) {
    await expect(verifyBackup({ env: of, place: where })).rejects.toThrow(rule);
  }
}, 120_000);
