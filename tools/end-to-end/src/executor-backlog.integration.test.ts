/** What a scheduler answers to those that decide how many executors there should be. */
import { createServer } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { services } from '@ironflow/platform';
import { backlogPath, executorBacklogSchema } from '@ironflow/schema';
import type { ExecutorBacklog } from '@ironflow/schema';
import { createFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';

const patience = { timeoutMs: 15_000, intervalMs: 100 };
let world: PlatformUnderTest;
/** In front of a scheduler, which has no port of its own here. */
let door: Server;

beforeAll(async () => {
  world = await startPlatformUnderTest({ IRONFLOW_PUSH_CONCURRENCY: '2' });
  const scheduler = await world.startReplica(services.scheduler as unknown as typeof services.executor);
  door = createServer((request, response) => scheduler.http.handle(request, response));
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
}, 60_000);
afterAll(async () => {
  door?.close();
  await world?.stop();
}, 30_000);

async function askBacklog(): Promise<{ status: number; body: unknown }> {
  const { port } = door.address() as AddressInfo;
  const answer = await fetch(`http://127.0.0.1:${port}${backlogPath}`);
  return { status: answer.status, body: await answer.json() };
}

async function expectBacklog(expected: ExecutorBacklog): Promise<void> {
  await eventually(async () => {
    const { status, body } = await askBacklog();
    expect([status, executorBacklogSchema.parse(body)]).toEqual([200, expected]);
  }, patience);
}

test('what waits for calls of an executor counts, and is less for each that comes', async () => {
  const slow = createFunction({ id: 'slow-push', triggers: [{ event: 'slow.push' }] }, () =>
    Promise.resolve('done'),
  );
  const app = await world.tenant.startPushApp('slow-push', [slow]);
  await expectBacklog({ backlog: 0, active: 0, executors: 1, perExecutor: 0 });
  app.isHolding = true;
  const emitted = await Promise.all(
    Array.from({ length: 8 }, () => world.tenant.client.emit({ name: 'slow.push', data: {} })),
  );
  await expectBacklog({ backlog: 6, active: 2, executors: 1, perExecutor: 6 });
  await world.startReplica(services.executor);
  await expectBacklog({ backlog: 4, active: 4, executors: 2, perExecutor: 2 });
  app.release();
  for (const { ids } of emitted) await world.tenant.endedRunsOf(ids[0]!);
  await expectBacklog({ backlog: 0, active: 0, executors: 2, perExecutor: 0 });
}, 60_000);

test('what waits for a worker does not count: another executor would have none for it', async () => {
  let finish = (): void => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const slow = createFunction({ id: 'slow-pull', triggers: [{ event: 'slow.pull' }] }, () => finished);
  await world.tenant.startWorker('slow-pull', [slow], 1);
  const emitted = await Promise.all(
    Array.from({ length: 5 }, () => world.tenant.client.emit({ name: 'slow.pull', data: {} })),
  );
  await expectBacklog({ backlog: 0, active: 1, executors: 2, perExecutor: 0 });
  finish();
  for (const { ids } of emitted) await world.tenant.endedRunsOf(ids[0]!);
}, 60_000);

test('while NATS is away it is 503, and not a zero', async () => {
  const nats = world.platform.servers.nats!;
  await nats.kill();
  await eventually(async () => {
    const { status, body } = await askBacklog();
    expect([status, body]).toMatchObject([503, { error: { code: 'backlog_unknown' } }]);
  }, patience);
  await nats.restart();
  await expectBacklog({ backlog: 0, active: 0, executors: 2, perExecutor: 0 });
}, 60_000);
