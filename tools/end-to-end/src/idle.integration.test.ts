import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { usageOf } from '@ironflow/bench';
import { createFunction } from '@ironflow/sdk';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';

/** A backend of Postgres may keep the count of its transactions to itself for 10 s before `pg_stat_database` has them. */
const settleMs = 11_000;
const measureMs = 10_000;
/**
 * Of all seven services, a second: sweeps, timers, presence and signs of life. Counted and not timed, since a share of a
 * core says as much of the machine; it is printed beside them.
 */
const transactionsMax = 8;
const messagesMax = 10;

let world: PlatformUnderTest;

beforeAll(async () => {
  world = await startPlatformUnderTest();
}, 60_000);
afterAll(() => world?.stop(), 30_000);

test('an idle platform, with a worker and an endpoint connected, asks next to nothing of its servers', async () => {
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
  const before = { cpu: await cpuSecondsOf(pids), work: await workOf() };
  const startedMs = performance.now();
  await delay(measureMs);
  const after = { cpu: await cpuSecondsOf(pids), work: await workOf() };
  const elapsedSeconds = (performance.now() - startedMs) / 1_000;
  const shares = Object.keys(pids).map((name) => {
    const share = ((after.cpu[name] ?? 0) - (before.cpu[name] ?? 0)) / elapsedSeconds;
    return `${name} ${(share * 100).toFixed(1)} %`;
  });
  const transactions = (after.work.transactions - before.work.transactions) / elapsedSeconds;
  const messages = (after.work.messages - before.work.messages) / elapsedSeconds;
  console.log(
    `idle, a second: ${transactions.toFixed(1)} transactions, ${messages.toFixed(1)} messages; of a core: ${shares.join(', ')}`,
  );
  expect(transactions).toBeLessThan(transactionsMax);
  expect(messages).toBeLessThan(messagesMax);
}, 60_000);

/** What PostgreSQL has committed and NATS has been sent, so far. */
async function workOf(): Promise<{ transactions: number; messages: number }> {
  const [row] = await world.query<{ commits: number }>(
    'select xact_commit::float8 as commits from pg_stat_database where datname = current_database()',
  );
  const varz = await fetch(`${world.platform.servers.nats!.monitorUrl}/varz`);
  const { in_msgs: messages } = (await varz.json()) as { in_msgs: number };
  return { transactions: row!.commits, messages };
}

/** Of each process with its children; the servers are children of this one, and counted by themselves. */
async function cpuSecondsOf(pids: Record<string, number>): Promise<Record<string, number>> {
  const entries = Object.entries(pids).map(async ([name, pid]) => {
    const { cpuSeconds } = await usageOf(pid, { withChildren: pid !== process.pid });
    return [name, cpuSeconds] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}
