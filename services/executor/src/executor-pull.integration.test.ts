import { beforeAll, describe, expect, test } from '@jest/globals';
import { pullConsumer, subjects, workerPresenceKey } from '@ironflow/schema';
import type { ConsumerDefinition, Scope } from '@ironflow/schema';
import { createFunction, createWorker } from '@ironflow/sdk';
import type { IronflowFunction, Worker } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { completed, end, record } from './testing/raw-worker.js';
import { isActivate, patience, stepIds, useWorld } from './testing/suite.js';
import type { RunHandle, RunningExecutor, World } from './testing/world.js';

const suite = useWorld();
const { activated, connect, createApp, ended, start, undo } = suite;
const createRun = suite.createPullRun;
let world: World;
let scope: Scope;
beforeAll(() => {
  world = suite.world();
  scope = world.ours.scope;
});

const error = { name: 'Error', message: 'm' };

const definitionOf = (appId: string): ConsumerDefinition =>
  pullConsumer({
    environmentId: scope.environmentId,
    lane: { appId },
    filterSubject: subjects.pullActivationsOf(scope, { appId }),
  });

async function startWorker(
  executor: RunningExecutor,
  app: string,
  functions: IronflowFunction[],
): Promise<Worker> {
  const worker = createWorker({
    app,
    functions,
    ironflowUrl: executor.url,
    apiKey: world.ours.apiKey,
    handleSignals: false,
    log: () => {},
  });
  await worker.start();
  undo(() => worker.stop({ timeoutMs: 0 }));
  return worker;
}

describe('a pull run', () => {
  test('is driven over the socket of a worker, and every step is durable before the next one begins', async () => {
    const seen: [string, string[]][] = [];
    const runs: RunHandle[] = [];
    const look = async (id: string): Promise<string> => {
      seen.push([id, stepIds(await world.entries(runs[0]!))]);
      return id;
    };
    const chain = createFunction(
      { id: 'chain', triggers: [{ event: 'test.happened' }] },
      async ({ step }) => {
        for (const id of ['a', 'b', 'c']) await step.run(id, () => look(id));
        return 'done';
      },
    );
    const executor = await start();
    await startWorker(executor, 'chain', [chain]);
    const run = await world.createRun({ scope, appId: 'chain', functionId: 'chain', mode: 'pull' }, { a: 1 });
    runs.push(run);
    await world.activate(run);
    const entries = await ended(run);
    expect(stepIds(entries)).toEqual(['a', 'b', 'c']);
    expect(entries.at(-1)).toMatchObject({
      run: { kind: 'completed', served: 1, output: '"done"', call: { endpoint: 'worker', succeeded: true } },
    });
    expect(seen).toEqual([
      ['a', []],
      ['b', ['a']],
      ['c', ['a', 'b']],
    ]);
  });

  test('goes to the workers of its own environment only', async () => {
    const appId = await createApp();
    await world.register(world.theirs.scope, { id: appId }, { [appId]: {} });
    const executor = await start();
    const theirs = await connect(executor, appId, { apiKey: world.theirs.apiKey });
    const ours = await connect(executor, appId);
    const run = await activated(appId);
    ours.send(end(await ours.next('activate')));
    await ended(run);
    expect(theirs.received.map(({ type }) => type)).toEqual(['welcome']);
  });

  test('is never more than a worker has slots for', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId, { slots: 2 });
    const runs = [await activated(appId), await activated(appId), await activated(appId)];
    const first = await worker.next('activate', 1);
    expect(await world.jetstream.states.consumer(definitionOf(appId))).toMatchObject({
      pending: 1,
      ackPending: 2,
    });
    worker.send(end(first));
    const third = await worker.next('activate', 2);
    worker.send(end(worker.received.find(isActivate)!), end(third));
    for (const run of runs) await ended(run);
    expect(worker.received.filter(isActivate)).toHaveLength(3);
  });

  test('delivered when no worker has room any more is handed back, and comes again', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId, { slots: 1 });
    worker.send({ type: 'drain' });
    const run = await activated(appId);
    const other = await connect(executor, appId, { slots: 1 });
    other.send(end(await other.next('activate')));
    await ended(run);
    expect(worker.received.filter(isActivate)).toHaveLength(0);
  });

  test('is marked as called as often as it is, however many of both lanes of a worker wait for its one slot', async () => {
    const appId = await createApp();
    const executor = await start();
    const plain = await Promise.all(Array.from({ length: 60 }, () => createRun(appId)));
    const pinned = await Promise.all(Array.from({ length: 30 }, () => createRun(appId)));
    const text = `update runs set build_id = 'b', pinned_after = -1 where id = any($1::uuid[])`;
    await world.database.query({ name: 'test_pin', text }, [pinned.map(({ runId }) => runId)]);
    const runs = [...plain, ...pinned.map((run) => ({ ...run, buildId: 'b' }))];
    await Promise.all(runs.map((run) => world.activate(run)));
    const worker = await connect(executor, appId, { slots: 1, buildId: 'b' });
    const given = (): string[] =>
      worker.received.filter(isActivate).map(({ invocation }) => invocation.run.id);
    for (const [index] of runs.entries()) {
      worker.send(end(await worker.next('activate', index)));
    }
    expect(new Set(given())).toEqual(new Set(runs.map(({ runId }) => runId)));
    for (const run of runs) {
      const entries = await ended(run);
      const marks = entries.filter((entry) => entry.type === 'run' && entry.run.kind === 'started');
      expect(marks.length).toBeLessThanOrEqual(1);
    }
  }, 60_000);

  test('cannot be asked to be called again by its worker', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    worker.send(end(await worker.next('activate'), { kind: 'continue' }));
    expect(await ended(run)).toMatchObject([
      { run: { kind: 'call_failed', retry: { error: { name: 'bad_answer' } } } },
    ]);
  });

  test('that its worker declines waits for another, uses no attempt and tells the breaker nothing', async () => {
    const appId = await createApp({ attempts: 1 });
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    worker.send(end(await worker.next('activate'), { kind: 'declined', reason: 'function_not_found' }));
    const [entry, ...more] = await ended(run);
    expect(entry).toEqual({
      type: 'run',
      run: { kind: 'deferred', served: 1, inMs: 5_000, reason: 'function_not_found' },
    });
    expect(more).toEqual([]);
    expect(worker.received.filter(isActivate)).toHaveLength(1);
    await world.retryDue(run);
    await world.activate(run);
    const again = await worker.next('activate', 1);
    expect(again.invocation.run.attempt).toBe(1);
    worker.send(end(again));
    await ended(run);
  });

  test.each([
    ['an end', { type: 'end', records: [], outcome: { kind: 'threw', error, retryInMs: null } }],
    ['a record', { type: 'record', sequence: 0, records: [{ id: '' }] }],
  ])(
    'whose worker sends %s that breaks the protocol is a failed call; the others go on',
    async (_what, body) => {
      const appId = await createApp();
      const executor = await start();
      const worker = await connect(executor, appId);
      const [broken, whole] = [await activated(appId), await activated(appId)];
      const given = [await worker.next('activate'), await worker.next('activate', 1)];
      const ofBroken = given.find(({ invocation }) => invocation.run.id === broken.runId)!;
      const ofWhole = given.find(({ invocation }) => invocation.run.id === whole.runId)!;
      worker.send({ ...body, runId: broken.runId, writer: ofBroken.writer });
      expect(await worker.next('abort')).toMatchObject({ runId: broken.runId });
      expect(await ended(broken)).toMatchObject([
        {
          run: { kind: 'call_failed', call: { succeeded: false }, retry: { error: { name: 'bad_answer' } } },
        },
      ]);
      worker.send(end(ofWhole));
      expect(await ended(whole)).toMatchObject([{ run: { kind: 'completed' } }]);
    },
  );

  test('whose step returned what cannot be stored fails, and its worker is told to stop', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    const activation = await worker.next('activate');
    worker.send(record(activation, 0, completed('small', '1')));
    await worker.next('recorded');
    worker.send(record(activation, 1, completed('big', 'no json '.repeat(20_000))));
    await worker.next('abort');
    const entries = await ended(run);
    expect(stepIds(entries)).toEqual(['small']);
    expect(entries.at(-1)).toMatchObject({
      run: { kind: 'failed', error: { name: 'output_refused', message: expect.stringContaining('"big"') } },
    });
  });
});

describe('a record', () => {
  test('of another writer is refused, and its function is aborted', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    const activation = await worker.next('activate');
    const foreign = { ...activation, writer: { ...activation.writer, delivery: 9 } };
    worker.send(record(foreign, 0, completed('foreign')));
    expect(await worker.next('abort')).toMatchObject({ runId: run.runId, writer: foreign.writer });
    worker.send(end(foreign), record(activation, 0, completed('own')), end(activation));
    expect(stepIds(await ended(run))).toEqual(['own']);
  });

  test('of another worker’s run is refused', async () => {
    const appId = await createApp();
    const executor = await start();
    const [first, second] = [await connect(executor, appId), await connect(executor, appId)];
    const run = await activated(appId);
    const [worker, thief] = await eventually(() => {
      if (first.received.some(isActivate)) return [first, second];
      if (second.received.some(isActivate)) return [second, first];
      throw new Error('nobody has it yet');
    });
    const activation = await worker.next('activate');
    thief.send(record(activation, 0, completed('stolen')), end(activation));
    await thief.next('abort');
    worker.send(end(activation));
    expect(stepIds(await ended(run))).toEqual([]);
  });

  test('that comes with many others is written in few appends, each acknowledged', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    const activation = await worker.next('activate');
    const steps = Array.from({ length: 200 }, (_, index) =>
      record(activation, index, completed(`s${index}`)),
    );
    worker.send(...steps);
    await worker.next('recorded', 199);
    worker.send(end(activation));
    expect(stepIds(await ended(run))).toHaveLength(200);
    expect((await world.journal(run)).length).toBeLessThanOrEqual(4);
  });

  test('beyond what can be held in memory is not read before the others are durable, and none is lost', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    const activation = await worker.next('activate');
    const output = JSON.stringify('x'.repeat(400_000));
    for (let index = 0; index < 60; index += 1)
      worker.send(record(activation, index, completed(`s${index}`, output)));
    await worker.next('recorded', 59, 20_000);
    worker.send(end(activation));
    await ended(run);
    const recorded = worker.received.flatMap((message) =>
      message.type === 'recorded' ? [message.sequence] : [],
    );
    expect(recorded).toEqual(Array.from({ length: 60 }, (_, index) => index));
  });
});

describe('a worker that is lost', () => {
  test('is a failed call of each function, told once, and its runs are called again at once', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId);
    const runs = [await activated(appId), await activated(appId)];
    const activation = await worker.next('activate', 1);
    worker.send(record(activation, 0, completed('kept')));
    await worker.next('recorded');
    const lostAtMs = performance.now();
    worker.terminate();
    const entries = await Promise.all(runs.map(ended));
    expect(performance.now() - lostAtMs).toBeLessThan(2_000);
    const ends = entries.map((all) => all.at(-1));
    for (const last of ends) {
      expect(last).toMatchObject({
        run: {
          kind: 'call_failed',
          served: 1,
          retry: { attempt: 1, inMs: 0, error: { name: 'worker_lost' } },
        },
      });
    }
    const told = ends.filter((last) => last?.type === 'run' && 'call' in last.run);
    expect(told).toMatchObject([{ run: { call: { endpoint: 'worker', succeeded: false } } }]);
    expect(stepIds(entries.flat())).toEqual(['kept']);
  });

  test('a second time in a row waits as long as the policy says, then fails the run', async () => {
    const appId = await createApp({ attempts: 3, initialDelayMs: 10_000 });
    const executor = await start();
    const run = await createRun(appId);
    for (let loss = 0; loss < 3; loss += 1) {
      const worker = await connect(executor, appId);
      if (loss > 0) await world.retryDue(run);
      await world.activate(run);
      await worker.next('activate');
      worker.terminate();
      await eventually(async () => expect(await world.entries(run)).toHaveLength(loss + 1), patience);
      await ended(run);
    }
    const [first, second, third] = await world.entries(run);
    expect(first).toMatchObject({ run: { kind: 'call_failed', retry: { attempt: 1, inMs: 0 } } });
    expect(second).toMatchObject({ run: { kind: 'call_failed', retry: { attempt: 2 } } });
    const inMs = second?.type === 'run' && second.run.kind === 'call_failed' ? second.run.retry.inMs : 0;
    expect(inMs).toBeGreaterThan(0);
    expect(third).toMatchObject({ run: { kind: 'failed', error: { name: 'worker_lost' } } });
  });
});

describe('presence', () => {
  test('is told while an executor has a worker of the app, and withdrawn with the last one', async () => {
    const appId = await createApp();
    const executor = await start();
    const workers = [
      await connect(executor, appId, { slots: 3 }),
      await connect(executor, appId, { slots: 4 }),
    ];
    const presence = world.jetstream.bucket('SYS_workers');
    const { executor: id } = await workers[0]!.next('welcome');
    const key = workerPresenceKey({ environmentId: scope.environmentId, appId, executor: id });
    await eventually(async () =>
      expect(JSON.parse((await presence.get(key))!.value)).toEqual({
        environmentId: scope.environmentId,
        appId,
        executor: id,
        slots: 7,
      }),
    );
    workers[0]!.terminate();
    await eventually(async () => expect(await executor.metrics()).toMatch(/worker_connections\S* 1/));
    expect(await presence.get(key)).toBeDefined();
    workers[1]!.terminate();
    await eventually(async () => expect(await presence.get(key)).toBeUndefined());
  });

  test('counts all slots while every one of them is busy, and none of a worker that drains', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId, { slots: 2 });
    const other = await connect(executor, appId, { slots: 1 });
    const runs = [await activated(appId), await activated(appId), await activated(appId)];
    const given = [await worker.next('activate'), await worker.next('activate', 1)];
    const taken = await other.next('activate');
    const { executor: id } = await worker.next('welcome');
    const key = workerPresenceKey({ environmentId: scope.environmentId, appId, executor: id });
    const presence = world.jetstream.bucket('SYS_workers');
    const slots = async (): Promise<number> =>
      (JSON.parse((await presence.get(key))!.value) as { slots: number }).slots;
    // Told again, with every slot busy.
    await presence.delete(key);
    await eventually(async () => expect(await slots()).toBe(3), patience);
    worker.send({ type: 'drain' });
    await eventually(async () => expect(await slots()).toBe(1), { timeoutMs: 2_000 });
    worker.send(...given.map((one) => end(one)));
    other.send(end(taken));
    for (const run of runs) await ended(run);
  });
});
