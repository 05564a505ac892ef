import { setTimeout as delay } from 'node:timers/promises';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';

const settleMs = 5_000;
const measureMs = 5_000;
/** Of one core, for all seven services, PostgreSQL and NATS. */
const shareMax = 0.15;
const ticksPerSecond = 100;

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

/** Of each process with its children. */
async function cpuSecondsOf(pids: Record<string, number>): Promise<Record<string, number>> {
  const entries = Object.entries(pids).map(async ([name, pid]) => {
    // The servers are children of this process, and counted by themselves.
    const children = pid === process.pid ? [] : await childrenOf(pid);
    const seconds = await Promise.all([pid, ...children].map((of) => cpuSecondsOfOne(of)));
    return [name, seconds.reduce((sum, one) => sum + one, 0)] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text
    .split(' ')
    .map(Number)
    .filter((child) => child > 0);
}

async function cpuSecondsOfOne(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // Its own time in user and system mode, and that of children that have ended.
  const own = [11, 12, 13, 14].map((field) => Number(fields[field] ?? 0));
  return own.reduce((sum, ticks) => sum + ticks, 0) / ticksPerSecond;
}
