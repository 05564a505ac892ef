import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { workerPresenceKey } from '@ironflow/schema';
import { createLogger } from '@ironflow/service';
import { createManualClock, eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { createWorkerPresence } from './worker-presence.js';

let jetstream: JetStream;
beforeAll(async () => {
  const { url } = await sharedNats();
  jetstream = await connectJetStream({ url, name: 'presence-test', replicas: 1 });
});
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

const logger = createLogger({ service: 'test', level: 'silent' });
const app = (name: string) => ({ environmentId: '0190a000-0000-7000-8000-000000000001', appId: name });

async function put(appId: string, executor: string, slots: number): Promise<void> {
  const value = { ...app(appId), executor, slots };
  await jetstream.bucket('SYS_workers').put(workerPresenceKey(value), JSON.stringify(value));
}
async function watching(options: { ttlMs: number }) {
  const firstWorkers: string[] = [];
  const clock = createManualClock();
  const presence = createWorkerPresence({
    bucket: jetstream.bucket('SYS_workers'),
    onFirstWorker: ({ appId }) => firstWorkers.push(appId),
    clock,
    logger,
    ...options,
  });
  await presence.start();
  const expectPresent = (name: string, isPresent: boolean) =>
    eventually(() => expect(presence.isPresent(app(name))).toBe(isPresent));
  return { presence, clock, firstWorkers, expectPresent };
}

test('an app has a worker from the first entry of any executor until none has been seen for the time to live', async () => {
  const { presence, clock, firstWorkers, expectPresent } = await watching({ ttlMs: 15_000 });
  expect(presence.isPresent(app('a'))).toBe(false);
  await put('a', 'executor-1', 5);
  await expectPresent('a', true);
  await clock.advance(10_000);
  await put('a', 'executor-2', 5);
  // Entries are seen in the order in which they are put.
  await put('marker', 'executor-2', 5);
  await expectPresent('marker', true);
  expect(firstWorkers).toEqual(['a', 'marker']);
  await clock.advance(14_000);
  expect(presence.isPresent(app('a'))).toBe(true);
  await clock.advance(1_000);
  expect(presence.isPresent(app('a'))).toBe(false);
  await put('a', 'executor-1', 5);
  await eventually(() => expect(firstWorkers).toEqual(['a', 'marker', 'a']));
  presence.stop();
});

test('the lane of a build is present by itself, and not by workers of its app', async () => {
  const { presence, expectPresent } = await watching({ ttlMs: 15_000 });
  const old = { ...app('built'), buildId: 'old' };
  await put('built', 'executor-1', 1);
  await expectPresent('built', true);
  expect(presence.isPresent(old)).toBe(false);
  const entry = { ...old, executor: 'executor-1', slots: 1 };
  await jetstream.bucket('SYS_workers').put(workerPresenceKey(entry), JSON.stringify(entry));
  await eventually(() => expect(presence.isPresent(old)).toBe(true));
  expect(presence.isPresent({ ...old, buildId: 'new' })).toBe(false);
  await jetstream.bucket('SYS_workers').delete(workerPresenceKey(entry));
  await eventually(() => expect(presence.isPresent(old)).toBe(false));
  expect(presence.isPresent(app('built'))).toBe(true);
  presence.stop();
});

test('entries that were there before it began count, those without slots and deleted ones do not', async () => {
  await put('early', 'executor-1', 1);
  await put('idle', 'executor-1', 0);
  const { presence, expectPresent } = await watching({ ttlMs: 15_000 });
  await expectPresent('early', true);
  expect(presence.isPresent(app('idle'))).toBe(false);
  await jetstream
    .bucket('SYS_workers')
    .delete(workerPresenceKey({ ...app('early'), executor: 'executor-1' }));
  await expectPresent('early', false);
  presence.stop();
});
