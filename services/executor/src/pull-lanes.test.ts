import { afterEach, expect, test } from '@jest/globals';
import type { Delivery, JetStream } from '@ironflow/jetstream';
import { createLogger, createMetrics, createSpanRecorder } from '@ironflow/service';
import { createExecutorMetrics } from './executor-metrics.js';
import { createShares } from './load-bound.js';
import type { Workers } from './pull-driver.js';
import { createPullLanes } from './pull-lanes.js';
import type { PullLanes } from './pull-lanes.js';
import { createSettlement } from './settlement.js';
import { createFakeRun } from './testing/fake-run.js';
import { createWorkerConnection } from './worker-connection.js';
import type { WorkerConnection } from './worker-connection.js';

const scope = { environmentId: 'e', project: 'p', env: 'e' };
const all = { scope, appId: 'app' };
const delivery = {} as Delivery;
const running: PullLanes[] = [];
afterEach(() => Promise.all(running.splice(0).map((lanes) => lanes.stop())));

/** Lanes whose deliveries the test makes, and drives itself. */
function setup() {
  const consumers = new Map<string, Parameters<JetStream['consume']>[1]>();
  const woken: string[] = [];
  const driven: { workers: Workers; conclude: () => void }[] = [];
  const lanes = createPullLanes({
    executor: 'x',
    jetstream: {
      provisioner: undefined as never,
      consume: ({ durable }, consumer) => {
        const lane = durable.split('_').at(-1)!;
        consumers.set(lane, consumer);
        return { wake: () => woken.push(lane), stop: () => undefined };
      },
    },
    presence: { put: async () => 1, delete: async () => undefined } as never,
    load: createShares(1_000),
    logger: createLogger({ service: 'executor', level: 'silent' }),
    drive: (_delivery, workers) => new Promise((conclude) => driven.push({ workers, conclude })),
  });
  running.push(lanes);
  return {
    lanes,
    woken,
    /** The number of messages that each lane would pull. */
    capacities: () =>
      Object.fromEntries([...consumers].map(([lane, consumer]) => [lane, consumer.capacity()])),
    join: (slots: number, buildId: string): WorkerConnection => {
      const connection = connectWorker(slots, buildId, () => lanes.changed(connection));
      lanes.join([{ ...all, buildId }, all], connection);
      return connection;
    },
    deliver: (lane: string) => {
      consumers.get(lane)!.onDelivery(delivery);
      return driven.at(-1)!;
    },
  };
}

function connectWorker(slots: number, buildId: string, onChange: () => void): WorkerConnection {
  const metrics = createExecutorMetrics(createMetrics({ service: 'executor' }));
  const spans = createSpanRecorder({ service: 'executor' });
  return createWorkerConnection({
    socket: { send: () => undefined, isCongested: () => false },
    slots,
    build: { buildId },
    settlement: createSettlement({ spans, metrics, now: () => 1, random: () => 0 }),
    logs: { add: () => undefined },
    metrics,
    onChange,
  });
}

test('what is delivered on one lane of a worker takes a slot of all its lanes, until its run has ended', async () => {
  const { join, deliver, capacities } = setup();
  const worker = join(2, 'b');
  expect(capacities()).toEqual({ 'app=b': 2, app: 2 });
  const { workers } = deliver('app=b');
  const other = deliver('app');
  expect(capacities()).toEqual({ 'app=b': 0, app: 0 });
  const run = createFakeRun({ buildId: 'b' });
  expect([workers.reserve(run), other.workers.reserve(createFakeRun())]).toEqual([true, true]);
  expect(capacities()).toEqual({ 'app=b': 0, app: 0 });
  expect(workers.pick(run)).toBe(worker);
  void worker.drive(run, { policy: undefined, report: { endpoint: 'worker' } });
  expect(capacities()).toEqual({ 'app=b': 0, app: 0 });
  const { runId, writer } = run;
  await worker.receive({ type: 'end', runId, writer, records: [], outcome: { kind: 'completed' } });
  expect(capacities()).toEqual({ 'app=b': 1, app: 1 });
});

test('a slot that was kept for a run that needs none is free again, and every lane of its worker hears of it', async () => {
  const { join, deliver, capacities, woken } = setup();
  join(1, 'b');
  const { workers, conclude } = deliver('app');
  expect(workers.reserve(createFakeRun())).toBe(true);
  woken.length = 0;
  conclude();
  await new Promise((resolve) => setImmediate(resolve));
  expect(capacities()).toEqual({ 'app=b': 1, app: 1 });
  expect(new Set(woken)).toEqual(new Set(['app=b', 'app']));
});

test('a run that is pinned gives the slot back that it had of a worker of another build', () => {
  const { join, deliver, capacities, woken } = setup();
  const [old] = [join(1, 'old'), join(2, 'new')];
  const { workers } = deliver('app');
  expect(capacities()).toEqual({ 'app=old': 1, 'app=new': 1, app: 2 });
  woken.length = 0;
  const run = createFakeRun({ buildId: 'old' });
  expect(workers.reserve(run)).toBe(true);
  expect(woken).toContain('app=new');
  expect(capacities()).toEqual({ 'app=old': 0, 'app=new': 2, app: 2 });
  expect(deliver('app').workers.reserve(createFakeRun({ buildId: 'old' }))).toBe(false);
  expect(workers.pick(run)).toBe(old);
});

test.each([
  ['drains', (_lanes: PullLanes, worker: WorkerConnection) => worker.drain()],
  ['is gone', (lanes: PullLanes, worker: WorkerConnection) => lanes.leave(worker)],
])('a slot of a worker that %s is another’s, if one is free', (_how, lose) => {
  const { lanes, join, deliver } = setup();
  const first = join(2, 'b');
  const [one, two] = [deliver('app').workers, deliver('app').workers];
  const run = createFakeRun();
  expect([one.reserve(run), two.reserve(run)]).toEqual([true, true]);
  const second = join(1, 'b');
  lose(lanes, first);
  expect(one.pick(run)).toBe(second);
  void second.drive(run, { policy: undefined, report: { endpoint: 'worker' } });
  expect(two.pick(run)).toBeUndefined();
});
