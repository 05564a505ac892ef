import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { ackWaitMs, subjects } from '@ironflow/schema';
import type { JournalEntry, Scope } from '@ironflow/schema';
import { createScratch, eventually, startNatsServer, stopSharedServers } from '@ironflow/testing';
import type { NatsServer, Scratch } from '@ironflow/testing';
import { listen } from './testing/endpoint.js';
import { completed, connectRawWorker, end, record } from './testing/raw-worker.js';
import { createWorld } from './testing/world.js';
import type { RunHandle, RunningExecutor, World } from './testing/world.js';

/** So few that a test can fill it. */
const resultsBytesMax = 1024 * 1024;
let scratch: Scratch;
let nats: NatsServer;
let world: World;
let scope: Scope;
const undo: (() => unknown)[] = [];
beforeAll(async () => {
  scratch = await createScratch('executor-fencing');
  nats = await startNatsServer({ storeDir: scratch.path });
  world = await createWorld({ nats, overrides: { RESULTS: { maxBytes: resultsBytesMax } } });
  scope = world.ours.scope;
}, 60_000);
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});
afterAll(async () => {
  await world.stop();
  await nats.stop();
  await scratch.remove();
  await stopSharedServers();
});

const patience = { timeoutMs: 20_000 };

async function start(changes?: Parameters<World['startExecutor']>[0]): Promise<RunningExecutor> {
  const executor = await world.startExecutor(changes);
  undo.push(() => executor.stop());
  return executor;
}

async function connect(executor: RunningExecutor, appId: string, slots = 10) {
  const hello = { appId, slots };
  const worker = await connectRawWorker({ url: executor.url, apiKey: world.ours.apiKey, hello });
  undo.push(() => worker.terminate());
  await worker.next('welcome');
  return worker;
}

async function createRun(url?: string): Promise<RunHandle> {
  const id = `app${Math.random().toString(36).slice(2)}`;
  await world.register(scope, { id, ...(url === undefined ? {} : { url }) }, { [id]: {} });
  return world.createRun({ scope, appId: id, functionId: id, mode: url === undefined ? 'pull' : 'push' });
}

async function ended(run: RunHandle): Promise<JournalEntry[]> {
  return eventually(async () => {
    if (await world.isActivated(run)) throw new Error('the activation is not acknowledged');
    return world.entries(run);
  }, patience);
}

/** Everything that an executor sends about one delivery of the run: answers to it, and appends under it. */
function hear(executor: RunningExecutor, run: RunHandle, deliveryCount: number): string[] {
  const heard: string[] = [];
  const { nats: client } = executor.jetstream.connection;
  const publish = client.publish.bind(client);
  client.publish = (subject, payload, options) => {
    const tokens = subject.split('.');
    const isAnswer = subject.startsWith('$JS.ACK.STEPS.') && Number(tokens[4]) === deliveryCount;
    const isAppend =
      subject.startsWith(subjects.journalOf(run.scope, run.runId).slice(0, -1)) &&
      String(payload).includes(`"delivery":${deliveryCount}`);
    if (isAnswer || isAppend) heard.push(`${isAnswer ? 'answer' : 'append'} ${String(payload).slice(0, 4)}`);
    publish(subject, payload, options);
  };
  undo.push(() => (client.publish = publish));
  return heard;
}

test('an executor without NATS for longer than the ack wait sends nothing more of what it had', async () => {
  const run = await createRun();
  const executor = await start();
  const worker = await connect(executor, run.appId);
  await world.activate(run);
  const stale = await worker.next('activate');
  worker.send(record(stale, 0, completed('one')));
  await worker.next('recorded');
  await nats.stop();
  await eventually(() => expect(executor.jetstream.isConnected()).toBe(false));
  const heard = hear(executor, run, 1);
  worker.send(record(stale, 1, completed('two')));
  // The worker is told as soon as the executor cannot be sure any more, with NATS still away.
  expect(await worker.next('abort', 0, ackWaitMs + 3_000)).toMatchObject({ writer: stale.writer });
  await nats.restart();
  const current = await worker.next('activate', 1, 20_000);
  expect(current.writer).toMatchObject({ activation: stale.writer.activation, delivery: 2 });
  expect(current.invocation.memo.map(({ id }) => id)).toEqual(['one']);
  worker.send(record(stale, 2, completed('late')), end(stale));
  worker.send(record(current, 0, completed('two')), end(current));
  const entries = await ended(run);
  expect(entries.map((entry) => (entry.type === 'step' ? entry.step.id : entry.run.kind))).toEqual([
    'one',
    'started',
    'two',
    'completed',
  ]);
  expect(heard).toEqual([]);
}, 60_000);

test('an executor that was suspended for longer than the ack wait aborts its call and writes nothing', async () => {
  let suspendedMs = 0;
  let calls = 0;
  let isAborted = false;
  const endpoint = await listen((_request, response) => {
    calls += 1;
    if (calls === 1) return void response.on('close', () => (isAborted = true));
    const outcome = { kind: 'completed' };
    response.end(JSON.stringify({ v: 1, records: [completed(`call${calls}`)], outcome }));
  });
  undo.push(() => endpoint.close());
  const run = await createRun(endpoint.url);
  // Only the wall clock goes on in a machine that sleeps.
  const time = { wallMs: () => Date.now() + suspendedMs, monotonicMs: () => performance.now() };
  const executor = await start({ time });
  await world.activate(run);
  await eventually(() => expect(calls).toBe(1), patience);
  const heard = hear(executor, run, 1);
  suspendedMs = ackWaitMs + 1_000;
  await eventually(() => expect(isAborted).toBe(true));
  const entries = await ended(run);
  expect(entries.map((entry) => (entry.type === 'step' ? entry.step.id : entry.run.kind))).toEqual([
    'started',
    'call2',
    'completed',
  ]);
  expect((await world.journal(run)).every(({ message }) => message.writer.delivery === 2)).toBe(true);
  expect(heard).toEqual([]);
}, 60_000);

test('an acknowledgement that comes to a suspended executor lets no further step begin', async () => {
  let suspendedMs = 0;
  const time = { wallMs: () => Date.now() + suspendedMs, monotonicMs: () => performance.now() };
  const run = await createRun();
  const executor = await start({ time });
  const worker = await connect(executor, run.appId);
  await world.activate(run);
  const stale = await worker.next('activate');
  const { nats: client } = executor.jetstream.connection;
  const publish = client.publish.bind(client);
  client.publish = (subject, payload, options) => {
    publish(subject, payload, options);
    // The append is out; before its answer is read, the process stands still.
    if (subject.includes('.results.')) suspendedMs = ackWaitMs + 1_000;
  };
  undo.push(() => (client.publish = publish));
  worker.send(record(stale, 0, completed('one')));
  await worker.next('abort');
  expect(worker.received.filter(({ type }) => type === 'recorded')).toEqual([]);
  const current = await worker.next('activate', 1, 20_000);
  expect(current.invocation.memo.map(({ id }) => id)).toEqual(['one']);
  worker.send(end(current));
  await ended(run);
}, 60_000);

test('a full journal stream holds runs up, and they go on once it has room', async () => {
  const run = await createRun();
  const executor = await start();
  const worker = await connect(executor, run.appId);
  await world.activate(run);
  const activation = await worker.next('activate');
  await fill();
  worker.send(record(activation, 0, completed('one', JSON.stringify('x'.repeat(60_000)))));
  await eventually(async () => expect(await fulls(executor)).toBeGreaterThanOrEqual(3), patience);
  expect(worker.received.map(({ type }) => type)).toEqual(['welcome', 'activate']);
  await world.jetstream.journal.trimBelow((await world.jetstream.states.stream('RESULTS')).lastSequence + 1);
  await worker.next('recorded');
  worker.send(end(activation));
  const entries = await ended(run);
  expect(entries.filter(({ type }) => type === 'step')).toHaveLength(1);
}, 60_000);

test('a worker gets no more runs while the ends of as many as it has slots wait for the journal', async () => {
  const first = await createRun();
  const runs = [first, await sibling(first), await sibling(first)];
  const executor = await start();
  const worker = await connect(executor, first.appId, 1);
  await fill();
  for (const run of runs) await world.activate(run);
  for (const index of [0, 1]) worker.send(end(await worker.next('activate', index)));
  await eventually(async () => expect(await fulls(executor)).toBeGreaterThanOrEqual(6), patience);
  expect(worker.received.filter(({ type }) => type === 'activate')).toHaveLength(2);
  await world.jetstream.journal.trimBelow((await world.jetstream.states.stream('RESULTS')).lastSequence + 1);
  worker.send(end(await worker.next('activate', 2)));
  for (const run of runs) expect(await ended(run)).toMatchObject([{ run: { kind: 'completed' } }]);
}, 60_000);

/** Another run of the same function. */
const sibling = ({ appId, functionId, mode }: RunHandle): Promise<RunHandle> =>
  world.createRun({ scope, appId, functionId, mode });

/** Appends that the stream had no room for. */
async function fulls(executor: RunningExecutor): Promise<number> {
  const found = /journal_appends_total\{[^}]*result="full"[^}]*\} (\d+)/.exec(await executor.metrics());
  return Number(found?.[1] ?? 0);
}

/** Until RESULTS takes nothing more. */
async function fill(): Promise<void> {
  const { runId } = await createRun();
  const subject = subjects.journal(scope, runId, 'step');
  for (const size of [60_000, 4_000, 300, 10]) {
    for (let index = 0, isFull = false; !isFull; index += 1) {
      const result = await world.jetstream.publisher.publish({ subject, data: 'x'.repeat(size) });
      isFull = result.kind === 'stream_full';
      if (index > 100) throw new Error('RESULTS does not fill up');
    }
  }
}
