import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { usageOf } from '@ironflow/bench';
import { createFunction } from '@ironflow/sdk';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';

const settleMs = 5_000;
const measureMs = 5_000;
/** Of one core, for all seven services, PostgreSQL and NATS. */
const shareMax = 0.15;

let world: PlatformUnderTest;

beforeAll(async () => {
  world = await startPlatformUnderTest();
}, 60_000);
afterAll(() => world?.stop(), 30_000);

test('an idle platform, with a worker and an endpoint connected, hardly uses the processor', async () => {
  const { tenant, platform } = world;
  const define = (id: string) =>
    createFunction({ id, triggers: [{ event: 'warm-up' }] }, async ({ step }) => {
      await step.sleep('nap', '10ms');
      return step.run('work', () => 'done');
    });
  await tenant.startWorker('idle-pull', [define('idle-pull')]);
  await tenant.startPushApp('idle-push', [define('idle-push')]);
  const { runs } = await tenant.client.emit({ name: 'warm-up' }, { wait: '15s' });
  expect(runs).toMatchObject([{ status: 'completed' }, { status: 'completed' }]);
  await delay(settleMs);

  const { postgres, nats } = platform.servers;
  const pids = { services: process.pid, postgres: postgres!.pid, nats: nats!.pid };
  const before = await cpuSecondsOf(pids);
  const startedMs = performance.now();
  await delay(measureMs);
  const after = await cpuSecondsOf(pids);
  const elapsedSeconds = (performance.now() - startedMs) / 1_000;
  const shares = Object.keys(pids).map(
    (name) => [name, ((after[name] ?? 0) - (before[name] ?? 0)) / elapsedSeconds] as const,
  );
  const total = shares.reduce((sum, [, share]) => sum + share, 0);
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  console.log(
    `idle: ${percent(total)} of a core (${shares.map(([name, share]) => `${name} ${percent(share)}`).join(', ')})`,
  );
  expect(total).toBeLessThan(shareMax);
}, 30_000);

/** Of each process with its children; the servers are children of this one, and counted by themselves. */
async function cpuSecondsOf(pids: Record<string, number>): Promise<Record<string, number>> {
  const entries = Object.entries(pids).map(async ([name, pid]) => {
    const { cpuSeconds } = await usageOf(pid, { withChildren: pid !== process.pid });
    return [name, cpuSeconds] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}
