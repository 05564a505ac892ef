import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { defaultQuotas } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, newEvent, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createExecutorStore, createIngestStore, createQuotaStore, measureStorage } from './index.js';
import type { QuotaStore } from './index.js';

let platform: Platform;
let quotas: QuotaStore;
let ours: string;
let theirs: string;

beforeAll(async () => {
  platform = await createPlatform();
  quotas = createQuotaStore(platform.tenant);
  ours = platform.ours.scope.environmentId;
  theirs = platform.theirs.scope.environmentId;
});
afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

test('what is not set is the default; what is not named stays; null is the default again', async () => {
  expect((await quotas.read(ours)).quotas).toEqual(defaultQuotas);
  await quotas.set(ours, { eventsPerSecond: 5, storageBytes: 2 ** 40 });
  await quotas.set(ours, { queuedRuns: 7 });
  const set = { eventsPerSecond: 5, storageBytes: 2 ** 40, queuedRuns: 7 };
  expect((await quotas.read(ours)).quotas).toEqual({ ...defaultQuotas, ...set });
  await quotas.set(ours, { eventsPerSecond: null });
  const { eventsPerSecond, queuedRuns } = await quotas.describe(ours);
  expect(eventsPerSecond).toMatchObject({ limit: defaultQuotas.eventsPerSecond, isDefault: true });
  expect(queuedRuns).toMatchObject({ limit: 7, isDefault: false });
  expect((await quotas.read(theirs)).quotas).toEqual(defaultQuotas);
});

test('queued runs are counted up to the quota, of the one environment', async () => {
  await quotas.set(ours, { queuedRuns: 3 });
  await startRuns(platform, platform.ours.scope, 2);
  expect((await quotas.read(ours)).use.queuedRuns).toBe(2);
  await startRuns(platform, platform.ours.scope, 4);
  expect((await quotas.read(ours)).use.queuedRuns).toBe(3);
  expect((await quotas.read(theirs)).use.queuedRuns).toBe(0);
  expect((await quotas.describe(ours)).eventsPerSecond.used).toBeCloseTo(0.6, 5);
});

test('what is stored is measured: about right, of the one environment, and again when it has changed', async () => {
  const before = (await quotas.read(theirs)).use.storageBytes;
  expect(before).toBe(0);
  // Noise is not made smaller by compression.
  const data = JSON.stringify(Array.from({ length: 20_000 }, () => Math.random().toString(36)).join(''));
  const events = Array.from({ length: 8 }, () => newEvent({ data }));
  await createIngestStore(platform.tenant).storeEvents(theirs, events);
  await measureStorage(platform.service, 1_000);
  const { storageBytes } = (await quotas.read(theirs)).use;
  expect(storageBytes).toBeGreaterThan(0.5 * 8 * data.length);
  expect(storageBytes).toBeLessThan(1.5 * 8 * data.length);
  expect((await quotas.read(ours)).use.storageBytes).toBeLessThan(20_000);
  await platform.admin.query('delete from events where environment_id = $1', [theirs]);
  await measureStorage(platform.service, 1_000);
  expect((await quotas.read(theirs)).use.storageBytes).toBe(0);
  const fields = JSON.stringify({ noise: data.slice(1, 10_000) });
  const ids = { environmentId: theirs, runId: freshId(), id: freshId() };
  await createExecutorStore(platform.service).storeLogLines(
    [{ ...ids, atMs: 1, level: 'info', message: 'm', fields }],
    1,
  );
  await measureStorage(platform.service, 1_000);
  expect((await quotas.read(theirs)).use.storageBytes).toBeGreaterThan(5_000);
  await expect(measureStorage(platform.tenant, 1)).rejects.toMatchObject({ code: '42501' });
});
