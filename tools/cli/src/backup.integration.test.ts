import { afterAll, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import { createScratch, sharedNats, stopSharedServers } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { cli } from './testing/recorded-terminal.js';

let scratch: Scratch;
afterAll(async () => {
  await stopSharedServers();
  await scratch.remove();
});

test('backup create, verify and restore say what they have done, and what they will not do', async () => {
  scratch = await createScratch('cli-backup');
  const env = { NATS_URL: (await sharedNats()).url };
  const services = await connectJetStream({ url: env.NATS_URL, name: 'services', replicas: 1 });
  await services.publisher.publish({ subject: 'public.a.b.topic.t', data: '"said"' });
  await services.close();

  const created = await cli(['backup', 'create', scratch.path], { env });
  expect(created).toMatchObject({ exitCode: 0, err: '' });
  expect(created.out).toMatch(/^STREAM +MESSAGES +BYTES +FILE\n/);
  expect(created.out).toMatch(/^PUBSUB +1 +\d+ +\d+$/m);
  const place = created.out.split('\n').at(-1)!;
  const verified = await cli(['backup', 'verify', place, '--restore-check'], { env: {} });
  expect(verified.out).toContain('whole, and restored message by message');
  const json = await cli(['backup', 'verify', place, '--json'], { env: {} });
  expect(JSON.parse(json.out)).toMatchObject({ place, restoreCheck: false, format: 1 });

  const refused = await cli(['backup', 'restore', place, '--json'], { env });
  expect(JSON.parse(refused.err)).toMatchObject({ error: { code: 'stream_exists' } });
  const restored = await cli(['backup', 'restore', place, '--replace', 'PUBSUB,INGEST'], { env });
  expect(restored.out).toMatch(/^PUBSUB +1 +0 +1$/m);
  expect(restored.out).toContain('Now start the services.');
  expect((await cli(['backup', 'restore', place, '--replicas', '0'], { env })).err).toContain(
    'a number from 1 to 5',
  );
  const risky = await cli(['backup', 'create', scratch.path], {
    env: { NATS_URL: 'nats://db.example:4222' },
  });
  expect(risky.err).toContain('plain-nats');
}, 60_000);
