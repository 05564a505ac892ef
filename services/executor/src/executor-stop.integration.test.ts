import { beforeAll, describe, expect, test } from '@jest/globals';
import { createLifecycle, createLogger, startService } from '@ironflow/service';
import { eventually } from '@ironflow/testing';
import { executorService } from './executor-service.js';
import { completed, connectRawWorker, end, record } from './testing/raw-worker.js';
import { done, isActivate, patience, stepIds, useWorld } from './testing/suite.js';
import type { RunHandle, World } from './testing/world.js';

const suite = useWorld();
const { activated, connect, createApp, ended, open, start } = suite;
let world: World;
beforeAll(() => {
  world = suite.world();
});

describe('an executor that stops while it calls endpoints', () => {
  test('lets calls end within its time, and takes nothing new', async () => {
    let respond = (): void => undefined;
    const endpoint = await open((_request, response) => {
      respond = () => void response.end(JSON.stringify(done));
    });
    const [under, next] = [await suite.createPushRun(endpoint.url), await suite.createPushRun(endpoint.url)];
    const executor = await start({ drainTimeoutMs: 5_000 });
    await world.activate(under);
    await eventually(() => expect(endpoint.calls).toHaveLength(1), patience);
    const stopped = executor.stop();
    await world.activate(next);
    respond();
    await stopped;
    expect(await world.entries(under)).toMatchObject([{ run: { kind: 'completed' } }]);
    expect(await world.isActivated(next)).toBe(true);
    expect(endpoint.calls).toHaveLength(1);
    await start();
    await eventually(() => expect(endpoint.calls).toHaveLength(2), patience);
    respond();
    await ended(next);
  });

  test('hands back what does not end in time: another has it at once, and no attempt is used', async () => {
    let calls = 0;
    const endpoint = await open((_request, response) => {
      calls += 1;
      if (calls > 1) response.end(JSON.stringify(done));
    });
    const run = await suite.createPushRun(endpoint.url);
    const executor = await start({ drainTimeoutMs: 50 });
    await world.activate(run);
    await eventually(() => expect(calls).toBe(1), patience);
    await start();
    const stoppedAtMs = performance.now();
    await executor.stop();
    expect(await ended(run)).toMatchObject([
      { run: { kind: 'started', calls: 1 } },
      { run: { kind: 'completed' } },
    ]);
    // Far less than the ack wait that a killed one costs.
    expect(performance.now() - stoppedAtMs).toBeLessThan(4_000);
  });
});

describe('an executor that stops while it has workers', () => {
  test('lets runs end, sends idle workers away at once and the others after their runs', async () => {
    const appId = await createApp();
    const executor = await start({ drainTimeoutMs: 5_000 });
    const [idle, busy] = [
      await connect(executor, appId, { slots: 1 }),
      await connect(executor, appId, { slots: 1 }),
    ];
    const run = await activated(appId);
    const [free, working] = await eventually(() => {
      if (busy.received.some(isActivate)) return [idle, busy];
      if (idle.received.some(isActivate)) return [busy, idle];
      throw new Error('nobody has it yet');
    });
    const activation = await working.next('activate');
    const stopped = executor.stop();
    expect(await free.closed()).toMatchObject({ code: 1012 });
    await expect(connectRawWorker({ url: executor.url, apiKey: world.ours.apiKey })).rejects.toThrow('503');
    working.send(record(activation, 0, completed('one')));
    await working.next('recorded');
    working.send(end(activation));
    expect(await working.closed()).toMatchObject({ code: 1012 });
    await stopped;
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'completed' } });
  });

  test('hands back what does not end in time, for another to go on with at once', async () => {
    const appId = await createApp();
    const [first, second] = [await start({ drainTimeoutMs: 50 }), await start()];
    const worker = await connect(first, appId);
    const run = await activated(appId);
    const activation = await worker.next('activate');
    worker.send(record(activation, 0, completed('one')));
    await worker.next('recorded');
    const other = await connect(second, appId);
    const stoppedAtMs = performance.now();
    await first.stop();
    const again = await other.next('activate');
    expect(performance.now() - stoppedAtMs).toBeLessThan(4_000);
    expect(again.invocation.run.attempt).toBe(1);
    expect(again.invocation.memo.map(({ id }) => id)).toEqual(['one']);
    other.send(end(again));
    const entries = await ended(run);
    expect(stepIds(entries)).toEqual(['one']);
    expect(entries.at(-1)).toMatchObject({ run: { kind: 'completed' } });
  });
});

describe('the service', () => {
  test('cuts its workers’ sockets after their runs were handed back, which costs them no attempt', async () => {
    const appId = await createApp();
    const logger = createLogger({ service: 'executor', level: 'silent' });
    const lifecycle = createLifecycle({ logger });
    suite.undo(() => lifecycle.stop());
    const service = await startService(executorService, {
      env: { ...world.serviceEnv, PORT: '0', HOST: '127.0.0.1', IRONFLOW_DRAIN_TIMEOUT_MS: '200' },
      lifecycle,
      logger,
      listen: true,
    });
    const worker = await connect({ url: service.url! }, appId);
    const run = await activated(appId);
    const activation = await worker.next('activate');
    worker.send(record(activation, 0, completed('one')));
    await worker.next('recorded');
    await lifecycle.stop();
    await worker.closed();
    const other = await connect(await start(), appId);
    const again = await other.next('activate');
    expect(again.invocation).toMatchObject({ run: { attempt: 1 }, memo: [{ id: 'one' }] });
    other.send(end(again));
    expect(await ended(run)).toMatchObject([
      { step: { id: 'one' } },
      { run: { kind: 'started', calls: 1 } },
      { run: { kind: 'completed' } },
    ]);
  });

  test('whose workers leave while it drains hands their runs back', async () => {
    const appId = await createApp();
    const [first, second] = [await start({ drainTimeoutMs: 10_000 }), await start()];
    const worker = await connect(first, appId);
    const run = await activated(appId);
    await worker.next('activate');
    const stopped = first.stop();
    worker.terminate();
    await stopped;
    const other = await connect(second, appId);
    const again = await other.next('activate');
    expect(again.invocation.run.attempt).toBe(1);
    other.send(end(again));
    expect(await ended(run)).toMatchObject([
      { run: { kind: 'started', calls: 1 } },
      { run: { kind: 'completed' } },
    ]);
  });
});

describe('a worker that drains', () => {
  test('is told when nothing more comes, behind everything that was on its way', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId, { slots: 1_000 });
    const runs = await Promise.all(Array.from({ length: 20 }, () => activated(appId)));
    await worker.next('activate');
    worker.send({ type: 'drain' });
    await worker.next('drained');
    const last = await activated(appId);
    const other = await connect(executor, appId, { slots: 1_000 });
    await eventually(() => {
      const all = [...worker.received, ...other.received].filter(isActivate);
      expect(all).toHaveLength(21);
    }, patience);
    expect(worker.received.at(-1)).toEqual({ type: 'drained' });
    for (const one of [worker, other])
      one.send(...one.received.filter(isActivate).map((given) => end(given)));
    for (const run of [...runs, last]) await ended(run);
  });

  test('and leaves before its runs end has not failed: they go on elsewhere, and no attempt is used', async () => {
    const appId = await createApp({ attempts: 1 });
    const executor = await start();
    const worker = await connect(executor, appId);
    const runs = [await activated(appId), await activated(appId)];
    const given = [await worker.next('activate'), await worker.next('activate', 1)];
    worker.send(record(given[0]!, 0, completed('kept')));
    await worker.next('recorded');
    worker.send({ type: 'drain' });
    await worker.next('drained');
    worker.terminate();
    const other = await connect(executor, appId);
    const again = [await other.next('activate'), await other.next('activate', 1)];
    expect(again.map(({ invocation }) => invocation.run.attempt)).toEqual([1, 1]);
    other.send(...again.map((one) => end(one)));
    const entries = (await Promise.all(runs.map(ended))).flat();
    expect(stepIds(entries)).toEqual(['kept']);
    const ends = entries.filter((entry) => entry.type === 'run' && entry.run.kind !== 'started');
    expect(ends).toMatchObject([{ run: { kind: 'completed' } }, { run: { kind: 'completed' } }]);
  });
});

test('executors that start and stop over and over lose no run, and call each function until it ends', async () => {
  const endpoint = await open((_request, response) => response.end(JSON.stringify(done)));
  const first = await suite.createPushRun(endpoint.url);
  const runs: RunHandle[] = [];
  for (let round = 0; round < 10; round += 1) {
    const executor = await world.startExecutor({ drainTimeoutMs: round % 2 === 0 ? 0 : 50 });
    const fresh = await Promise.all(Array.from({ length: 6 }, () => world.createRun(first)));
    await Promise.all(fresh.map((run) => world.activate(run)));
    runs.push(...fresh);
    if (round % 3 === 0) {
      await eventually(async () => expect(await executor.metrics()).toMatch(/calls_total/), patience);
    }
    await Promise.all([executor.stop(), executor.stop()]);
  }
  await start();
  for (const run of runs) {
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'completed', served: 1 } });
  }
}, 60_000);
