import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pullConsumer, subjects, workerPresenceKey } from '@ironflow/schema';
import type { ConsumerDefinition, JournalEntry, Scope } from '@ironflow/schema';
import { createFunction, createWorker } from '@ironflow/sdk';
import type { IronflowFunction, Worker } from '@ironflow/sdk';
import { eventually, stopSharedServers } from '@ironflow/testing';
import { completed, connectRawWorker, end, record } from './testing/raw-worker.js';
import type { RawWorker } from './testing/raw-worker.js';
import { createWorld } from './testing/world.js';
import type { RunHandle, RunningExecutor, World } from './testing/world.js';

let world: World;
let scope: Scope;
const undo: (() => unknown)[] = [];
beforeAll(async () => {
  world = await createWorld();
  scope = world.ours.scope;
}, 60_000);
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});
afterAll(async () => {
  await world.stop();
  await stopSharedServers();
});

const patience = { timeoutMs: 15_000 };

async function start(changes?: Parameters<World['startExecutor']>[0]): Promise<RunningExecutor> {
  const executor = await world.startExecutor(changes);
  undo.push(() => executor.stop());
  return executor;
}

async function connect(
  executor: RunningExecutor,
  appId: string,
  options: { slots?: number; apiKey?: string } = {},
): Promise<RawWorker> {
  const { apiKey = world.ours.apiKey, ...more } = options;
  const worker = await connectRawWorker({ url: executor.url, apiKey, hello: { appId, ...more } });
  undo.push(() => worker.terminate());
  await worker.next('welcome');
  return worker;
}

/** An app with one function of the same name. */
async function createApp(options: { attempts?: number; initialDelayMs?: number } = {}): Promise<string> {
  const appId = `app${Math.random().toString(36).slice(2)}`;
  await world.register(scope, { id: appId }, { [appId]: options });
  return appId;
}

const createRun = (appId: string, data?: unknown): Promise<RunHandle> =>
  world.createRun({ scope, appId, functionId: appId, mode: 'pull' }, data);

async function activated(appId: string): Promise<RunHandle> {
  const run = await createRun(appId);
  await world.activate(run);
  return run;
}

const definitionOf = (appId: string): ConsumerDefinition =>
  pullConsumer({
    environmentId: scope.environmentId,
    appId,
    filterSubject: subjects.pullActivationsOf(scope, appId),
  });

const stepIds = (entries: JournalEntry[]): string[] =>
  entries.flatMap((entry) => (entry.type === 'step' ? [entry.step.id] : []));

async function ended(run: RunHandle): Promise<JournalEntry[]> {
  return eventually(async () => {
    const entries = await world.entries(run);
    const last = entries.at(-1);
    if (last?.type !== 'run' || last.run.kind === 'started') throw new Error('the activation goes on');
    if (await world.isActivated(run)) throw new Error('the activation is not acknowledged');
    return entries;
  }, patience);
}

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
  undo.push(() => worker.stop({ timeoutMs: 0 }));
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

  test('whose step returned more than a message holds fails, and its worker is told to stop', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    const activation = await worker.next('activate');
    worker.send(record(activation, 0, completed('small', '1')));
    await worker.next('recorded');
    worker.send(record(activation, 1, completed('big', JSON.stringify('"'.repeat(262_000)))));
    await worker.next('abort');
    const entries = await ended(run);
    expect(stepIds(entries)).toEqual(['small']);
    expect(entries.at(-1)).toMatchObject({
      run: { kind: 'failed', error: { name: 'output_too_large', message: expect.stringContaining('"big"') } },
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
      if (loss > 0) await world.wake(run);
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
});

describe('two executors with the same activation', () => {
  test('write one journal: one wins each append, the other stops and sends nothing', async () => {
    const appId = await createApp();
    const [first, second] = [await start(), await start()];
    const a = await connect(first, appId, { slots: 1 });
    const run = await activated(appId);
    const stale = await a.next('activate');
    a.send(record(stale, 0, completed('one')));
    await a.next('recorded');
    const answers = hearAnswers(first);
    // The durable is made anew: its count begins at 1 again, and nothing tells the first executor.
    const b = await connect(second, appId, { slots: 1 });
    await world.jetstream.connection.request({
      subject: `$JS.API.CONSUMER.DELETE.STEPS.${definitionOf(appId).durable}`,
      data: '',
    });
    await world.jetstream.provisioner.ensureConsumer(definitionOf(appId));
    const current = await b.next('activate', 0, 15_000);
    expect(current.writer).toMatchObject({ activation: stale.writer.activation, delivery: 1 });
    expect(current.invocation.memo.map(({ id }) => id)).toEqual(['one']);
    b.send(record(current, 0, completed('two')));
    await b.next('recorded');
    a.send(record(stale, 1, completed('two')));
    await a.next('abort');
    const heard = answers.length;
    a.send(record(stale, 2, completed('three')), end(stale));
    b.send(end(current));
    expect(stepIds(await ended(run))).toEqual(['one', 'two']);
    expect(a.received.filter(({ type }) => type === 'recorded')).toHaveLength(1);
    expect(answers).toHaveLength(heard);
  });

  test('of which the older wins an append make the newer one start again from it', async () => {
    const appId = await createApp();
    const [first, second] = [await start(), await start()];
    const a = await connect(first, appId, { slots: 1 });
    const run = await activated(appId);
    const stale = await a.next('activate');
    const b = await connect(second, appId, { slots: 1 });
    await handBackForeign(appId);
    const current = await b.next('activate');
    expect(current.writer.delivery).toBe(2);
    a.send(record(stale, 0, completed('one')));
    await a.next('recorded');
    // The newer one ran the same step meanwhile: it is told that the run has moved on, and gets it as it is now.
    b.send(record(current, 0, completed('one')));
    await b.next('abort');
    const again = await b.next('activate', 1);
    expect(again.invocation.memo.map(({ id }) => id)).toEqual(['one']);
    // What was on its way from the start before counts for nothing.
    b.send(record(current, 1, completed('late')), end(current));
    b.send(record(again, 0, completed('two')));
    await b.next('recorded');
    a.send(record(stale, 1, completed('two')));
    await a.next('abort');
    b.send(end(again));
    expect(stepIds(await ended(run))).toEqual(['one', 'two']);
  });

  test('that are one and the same executor give the run to its newer delivery', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId, { slots: 5 });
    const run = await activated(appId);
    const stale = await worker.next('activate');
    await handBackForeign(appId);
    const current = await worker.next('activate', 1);
    expect(await worker.next('abort')).toMatchObject({ writer: stale.writer });
    worker.send(record(stale, 0, completed('stale')), record(current, 0, completed('one')), end(current));
    expect(stepIds(await ended(run))).toEqual(['one']);
    await eventually(async () => expect(await executor.metrics()).toMatch(/active_activations\S* 0/));
  });
});

describe('an executor that stops', () => {
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

const isActivate = <Message extends { type: string }>(
  message: Message,
): message is Extract<Message, { type: 'activate' }> => message.type === 'activate';

/** What an executor's own connection publishes about its deliveries from now on. */
function hearAnswers(executor: RunningExecutor): string[] {
  const answers: string[] = [];
  const { nats } = executor.jetstream.connection;
  const publish = nats.publish.bind(nats);
  nats.publish = (subject, ...rest) => {
    if (subject.startsWith('$JS.ACK.')) answers.push(subject);
    publish(subject, ...rest);
  };
  undo.push(() => (nats.publish = publish));
  return answers;
}

/** A stale executor's nak: NATS does not check whose the message is. The first sign of life tells its subject. */
async function handBackForeign(appId: string): Promise<void> {
  const { connection } = world.jetstream;
  let subject: string | undefined;
  const stop = connection.listen(`$JS.ACK.STEPS.${definitionOf(appId).durable}.>`, (message) => {
    subject ??= message.subject;
  });
  await connection.nats.flush();
  await eventually(() => expect(subject).toBeDefined());
  stop();
  connection.publish({ subject: subject!, data: '-NAK' });
}
