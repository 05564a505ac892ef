import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { connectJetStream } from './jetstream.js';
import type { JetStream } from './jetstream.js';

const patience = { timeoutMs: 15_000 };
let server: NatsServer;
let jetstream: JetStream;
beforeAll(async () => {
  server = await sharedNats();
  jetstream = await connectJetStream({ url: server.url, name: 'test', replicas: 1 });
});
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

test('of 20 that create the same key exactly one succeeds, and its value is what is read', async () => {
  const bucket = jetstream.bucket('SYS_cron_triggers');
  const created = await Promise.all(
    Array.from({ length: 20 }, (_, index) => bucket.create('firing', `${index}`)),
  );
  expect(created.filter(Boolean)).toHaveLength(1);
  expect((await bucket.get('firing'))!.value).toBe(`${created.indexOf(true)}`);
});

test('of 20 that update from the same revision exactly one succeeds', async () => {
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  await bucket.put('breaker', 'closed');
  const { revision } = (await bucket.get('breaker'))!;
  const updated = await Promise.all(
    Array.from({ length: 20 }, (_, index) => bucket.update('breaker', `${index}`, revision)),
  );
  expect(updated.filter(Boolean)).toHaveLength(1);
});

test('a deleted key is not there and can be created again', async () => {
  const bucket = jetstream.bucket('SYS_functions');
  await bucket.put('gone', '1');
  await bucket.delete('gone');
  expect(await bucket.get('gone')).toBeUndefined();
  expect(await bucket.create('gone', '2')).toBe(true);
});

test('entries are those that the filter names, as they are now, and no more than asked for', async () => {
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  for (const key of ['ours.a', 'ours.b', 'ours.gone', 'theirs.a']) await bucket.put(key, `${key} 1`);
  await bucket.put('ours.b', 'ours.b 2');
  await bucket.delete('ours.gone');
  const entries = await bucket.entries('ours.*', 10);
  expect(new Map(entries.map(({ key, value }) => [key, value]))).toEqual(
    new Map([
      ['ours.a', 'ours.a 1'],
      ['ours.b', 'ours.b 2'],
    ]),
  );
  expect(await bucket.entries('ours.*', 1)).toHaveLength(1);
  expect(await bucket.entries('nobody.*', 10)).toEqual([]);
});

test('a watcher is told what is there, what changes, and what changes after everything was lost', async () => {
  const bucket = jetstream.bucket('SYS_functions');
  await bucket.put('early', '1');
  const told: string[] = [];
  const stop = await bucket.watch((key) => told.push(key));
  expect(told).toContain('early');
  await bucket.put('later', '1');
  await eventually(() => expect(told).toContain('later'));
  await server.kill();
  await server.restart({ wipe: true });
  await eventually(() => bucket.put('after-wipe', '1'), patience);
  await eventually(() => expect(told).toContain('after-wipe'));
  expect(await bucket.keys()).toEqual(['after-wipe']);
  stop();
  const count = told.length;
  await bucket.put('unheard', '1');
  await jetstream.connection.nats.flush();
  expect(told).toHaveLength(count);
});

test('a key that changes is told at once, and once more when it has been quiet for a moment', async () => {
  const bucket = jetstream.bucket('SYS_workers');
  const told: { key: string; atMs: number }[] = [];
  const stop = await bucket.watch((key) => told.push({ key, atMs: performance.now() }));
  for (let count = 0; count < 5; count += 1) await bucket.put('busy', `${count}`);
  await eventually(() => expect(told.length).toBe(6));
  expect(told[5]!.atMs - told[4]!.atMs).toBeGreaterThan(450);
  expect(told.every(({ key }) => key === 'busy')).toBe(true);
  stop();
});

test('a key written while a watcher had no connection is told when it is back', async () => {
  const bucket = jetstream.bucket('SYS_functions');
  const told: string[] = [];
  const stop = await bucket.watch((key) => told.push(key));
  await jetstream.connection.nats.reconnect();
  await eventually(() => expect(jetstream.isConnected()).toBe(true));
  await eventually(() => bucket.put('missed', '1'), patience);
  await eventually(() => expect(told).toContain('missed'), patience);
  stop();
});
