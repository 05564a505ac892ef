import { beforeAll, describe, expect, test } from '@jest/globals';
import { eventually } from '@ironflow/testing';
import { completed, end, record } from './testing/raw-worker.js';
import { done, isActivate, patience, stepIds, useWorld } from './testing/suite.js';
import type { World } from './testing/world.js';

const suite = useWorld();
const { activated, connect, createApp, ended, open, start } = suite;
let world: World;
beforeAll(() => {
  world = suite.world();
});

const cancelled = { type: 'run', run: { kind: 'cancelled' } };

describe('a run that is cancelled while a worker drives it', () => {
  test('is aborted there, and ends without another word from the worker', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId, { slots: 1 });
    const run = await activated(appId);
    const activation = await worker.next('activate');
    worker.send(record(activation, 0, completed('a')));
    await worker.next('recorded');
    const askedAtMs = performance.now();
    await world.cancel(run);
    expect(await worker.next('abort')).toMatchObject({ runId: run.runId, writer: activation.writer });
    const entries = await ended(run);
    expect(performance.now() - askedAtMs).toBeLessThan(5_000);
    expect(entries).toMatchObject([{ step: { id: 'a' } }, cancelled]);
    // What the worker still says of it is not heard.
    worker.send(record(activation, 1, completed('b')), end(activation));
    const next = await activated(appId);
    expect((await worker.next('activate', 1)).invocation.run.id).toBe(next.runId);
    expect(stepIds(await world.entries(run))).toEqual(['a']);
  });

  test('also when the request falls into the time before the worker has it', async () => {
    const appId = await createApp();
    const run = await suite.createPullRun(appId);
    await world.cancel(run);
    const worker = await connect(await start(), appId);
    await world.activate(run);
    expect(await ended(run)).toMatchObject([cancelled]);
    expect(worker.received.filter(isActivate)).toEqual([]);
  });

  test('leaves other runs of the worker alone', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId, { slots: 2 });
    const [run, other] = [await activated(appId), await activated(appId)];
    const activations = [await worker.next('activate', 0), await worker.next('activate', 1)];
    await world.cancel(run);
    expect(await ended(run)).toMatchObject([cancelled]);
    worker.send(end(activations.find(({ invocation }) => invocation.run.id === other.runId)!));
    expect(await ended(other)).toMatchObject([{ run: { kind: 'completed' } }]);
  });
});

describe('a run that is cancelled while its endpoint is called', () => {
  test('is hung up on, and ends', async () => {
    let hungUp = false;
    const endpoint = await open((_request, response) => {
      response.on('close', () => (hungUp = !response.writableFinished));
    });
    const run = await suite.createPushRun(endpoint.url);
    await start();
    await world.activate(run);
    await eventually(() => expect(endpoint.calls).toHaveLength(1), patience);
    await world.cancel(run);
    expect(await ended(run)).toMatchObject([cancelled]);
    await eventually(() => expect(hungUp).toBe(true), patience);
  });

  test('is not called at all when it was asked to stop before', async () => {
    const endpoint = await open((_request, response) => void response.end(JSON.stringify(done)));
    const run = await suite.createPushRun(endpoint.url);
    await world.cancel(run);
    await start();
    await world.activate(run);
    expect(await ended(run)).toMatchObject([cancelled]);
    expect(endpoint.calls).toEqual([]);
  });
});

test('a request whose notice got lost is found when there is a connection again, or after a few seconds', async () => {
  const appId = await createApp();
  const executor = await start();
  const worker = await connect(executor, appId, { slots: 2 });
  const [first, second] = [await activated(appId), await activated(appId)];
  await worker.next('activate', 1);
  await world.cancel(first, { quietly: true });
  await executor.jetstream.connection.nats.reconnect();
  expect(await ended(first)).toMatchObject([cancelled]);
  await world.cancel(second, { quietly: true });
  expect((await ended(second)).at(-1)).toMatchObject(cancelled);
  expect(await worker.next('abort', 1)).toMatchObject({ runId: second.runId });
}, 20_000);
