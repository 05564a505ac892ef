import { afterEach, describe, expect, test } from '@jest/globals';
import { createFunction } from '../function.js';
import type { IronflowFunction } from '../function.js';
import {
  activation,
  counting,
  createHolding,
  runIdOf,
  startPeer as openPeer,
  writer,
} from '../testing/executor-peer.js';
import type { Peer } from '../testing/executor-peer.js';
import { createWorker } from './worker.js';
import type { Worker, WorkerOptions } from './worker.js';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startPeer(): Promise<Peer> {
  const peer = await openPeer();
  cleanups.push(() => peer.close());
  return peer;
}

function startWorker(peer: Peer, functions: IronflowFunction[], more: Partial<WorkerOptions> = {}): Worker {
  const worker = createWorker({
    app: 'shop',
    functions,
    ironflowUrl: peer.url,
    apiKey: 'ifk_test',
    handleSignals: false,
    log: () => {},
    ...more,
  });
  cleanups.push(() => worker.stop({ timeoutMs: 0 }));
  return worker;
}

describe('a worker', () => {
  test('says of which build it is, and warns when the platform knows of no builds', async () => {
    const peer = await startPeer();
    const warnings: string[] = [];
    const worker = startWorker(peer, [counting], {
      buildId: 'c0ffee',
      pinRuns: true,
      log: ({ level, message }) => level === 'warn' && warnings.push(message),
    });
    await worker.start();
    expect(await peer.next('hello')).toMatchObject({ buildId: 'c0ffee', pinRuns: true });
    expect(warnings).toEqual([expect.stringContaining('no run is pinned')]);
  });

  test('registers its app, says hello, and drives a run record by record', async () => {
    const peer = await startPeer();
    const worker = startWorker(peer, [counting], { slots: 7 });
    await worker.start();
    expect(peer.registrations).toMatchObject([
      ['PUT', '/v1/apps/shop', 'Bearer ifk_test', { id: 'shop', mode: 'pull', functions: [{ id: 'count' }] }],
    ]);
    expect(await peer.next('hello')).toMatchObject({ v: 1, appId: 'shop', slots: 7 });
    peer.send(activation(1, 'count'));
    // The last step's record needs no message of its own: it comes with the end.
    expect(await peer.next('end')).toMatchObject({
      runId: runIdOf(1),
      writer,
      records: [{ id: 'two', status: 'completed' }],
      outcome: { kind: 'completed', output: '3' },
    });
    const records = peer.received.filter((message) => message.type === 'record');
    expect(records).toMatchObject([{ sequence: 0, records: [{ id: 'one', status: 'completed' }] }]);
  });

  test('sends what the logger writes before the records and the end that come after it', async () => {
    const peer = await startPeer();
    const talking = createFunction({ id: 'talk', triggers: [] }, async ({ step, logger }) => {
      logger.info('begins', { n: 1 });
      await step.run('say', () => logger.warn('in a step'));
      await step.run('quiet', () => 1);
      logger.info('ends');
    });
    await startWorker(peer, [talking, counting]).start();
    peer.send(activation(1, 'talk'));
    await peer.next('end');
    const about = peer.received.filter((message) => 'runId' in message);
    expect(about.map(({ type }) => type)).toEqual(['log', 'record', 'log', 'end']);
    expect(about[0]).toMatchObject({
      ...{ runId: runIdOf(1), writer },
      lines: [
        { sequence: 0, level: 'info', message: 'begins', fields: '{"n":1}' },
        { sequence: 1, level: 'warn', message: 'in a step', step: { id: 'say', attempt: 1 } },
      ],
    });
    expect(about[2]).toMatchObject({ lines: [{ sequence: 2, message: 'ends' }] });
    peer.send(activation(2, 'count'));
    await peer.next('end');
    expect(peer.received.filter(({ type }) => type === 'log')).toHaveLength(2);
  });

  test('sends what a step writes while it goes on, and the last of it when it is told to abort', async () => {
    const peer = await startPeer();
    const begun: ((word: string) => void)[] = [];
    const talking = createFunction({ id: 'talk', triggers: [] }, ({ step, logger }) =>
      step.run('say', ({ signal }) => {
        logger.info('begins');
        begun.push((word) => logger.info(word));
        return new Promise((_, reject) =>
          signal.addEventListener('abort', () => reject(new Error('aborted'))),
        );
      }),
    );
    await startWorker(peer, [talking]).start();
    peer.send(activation(1, 'talk'));
    expect(await peer.next('log')).toMatchObject({ lines: [{ message: 'begins' }] });
    begun[0]!('at work');
    peer.send({ type: 'abort', runId: runIdOf(1), writer, reason: 'enough' });
    await peer.next('aborted');
    expect(await peer.next('log')).toMatchObject({ lines: [{ sequence: 1, message: 'at work' }] });
  });

  test('begins the next step only when the one before is acknowledged, under the same lease', async () => {
    const peer = await startPeer();
    peer.acknowledge = false;
    await startWorker(peer, [counting]).start();
    peer.send(activation(1, 'count'));
    const { runId, sequence } = await peer.next('record');
    const stranger = { ...writer, delivery: 2 };
    // Another lease's acknowledgement is not ours; a second run's round trip shows that it was passed over.
    peer.send({ type: 'recorded', runId, writer: stranger, sequence }, activation(2, 'count'));
    expect(await peer.next('record')).toMatchObject({ runId: runIdOf(2), sequence: 0 });
    expect(peer.received.filter((message) => message.type === 'record')).toHaveLength(2);
    peer.send({ type: 'recorded', runId, writer, sequence });
    expect(await peer.next('end')).toMatchObject({ runId, records: [{ id: 'two' }] });
  });

  test('replays what is recorded and runs the rest', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    const memo = [
      { id: 'one', type: 'run', attempt: 1, status: 'completed', output: '41', order: 0 },
    ] as const;
    peer.send(activation(1, 'count', { memo: [...memo] }));
    expect(await peer.next('end')).toMatchObject({ outcome: { kind: 'completed', output: '42' } });
  });

  test('aborts what it runs when the connection is lost, sends nothing more of it, and connects again', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    await startWorker(peer, [counting, holding.definition]).start();
    await peer.next('hello');
    peer.send(activation(1, 'hold'));
    await holding.began;
    peer.sockets[0]!.terminate();
    expect(await holding.wasAborted).toMatchObject({ message: expect.stringContaining('connection') });
    await peer.next('hello');
    holding.release();
    peer.send(activation(2, 'count'));
    expect((await peer.next('end')).runId).toBe(runIdOf(2));
    expect(peer.received.some((message) => 'runId' in message && message.runId === runIdOf(1))).toBe(false);
  });

  test('aborts a run whose lease is over, and keeps one whose lease is another', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    await startWorker(peer, [holding.definition]).start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    peer.send({
      type: 'abort',
      runId: runIdOf(1),
      writer: { ...writer, activation: 9 },
      reason: 'not this one',
    });
    peer.send({ type: 'abort', runId: runIdOf(1), writer, reason: 'cancelled' });
    expect(await holding.wasAborted).toMatchObject({ message: 'cancelled' });
    expect(peer.received.some(({ type }) => type === 'end')).toBe(false);
  });

  test('lets a newer activation of a run take over, and passes over an older one', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    await startWorker(peer, [holding.definition]).start();
    const newer = { ...writer, activation: 2 };
    peer.send(activation(1, 'hold'));
    await holding.began;
    peer.send(activation(1, 'hold', { writer: newer }), activation(1, 'hold'));
    await holding.wasAborted;
    holding.release();
    expect(await peer.next('end')).toMatchObject({ writer: newer, outcome: { kind: 'completed' } });
    expect(peer.received.filter(({ type }) => type === 'end')).toHaveLength(1);
  });

  test('hands back a run of a function it does not have, for another worker to take', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    peer.send(activation(1, 'of-a-newer-build'));
    expect((await peer.next('end')).outcome).toEqual({ kind: 'declined', reason: 'function_not_found' });
  });

  test('says when what it was told to abort has ended, and at once of what it has not', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    await startWorker(peer, [holding.definition]).start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    const abort = (n: number) => ({ type: 'abort' as const, runId: runIdOf(n), writer, reason: 'enough' });
    peer.send(abort(1));
    await holding.wasAborted;
    peer.send(abort(2));
    expect(await peer.next('aborted')).toMatchObject({ runId: runIdOf(2), writer });
    // Told again of one that is still at work: it is not what was never begun.
    peer.send(abort(1));
    peer.send(abort(2));
    expect(await peer.next('aborted')).toMatchObject({ runId: runIdOf(2), writer });
    holding.release();
    expect(await peer.next('aborted')).toMatchObject({ runId: runIdOf(1), writer });
  });

  test.each([
    ['of another version', { v: 3 }, 'protocol_version_unsupported'],
    [
      'of another version and form',
      { v: 3, event: undefined, memo: { steps: {} } },
      'protocol_version_unsupported',
    ],
    ['that it cannot read', { memo: 'compressed' }, 'invocation_invalid'],
    [
      'with a step of an unknown type',
      { memo: [{ id: 'a', type: 'wait', attempt: 1, status: 'completed' }] },
      'invocation_invalid',
    ],
  ])('hands back an activation %s, and keeps its other runs', async (_, change, reason) => {
    const peer = await startPeer();
    const holding = createHolding();
    await startWorker(peer, [holding.definition]).start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    const message = activation(2, 'hold');
    const changed = { ...message, invocation: { ...message.invocation, ...change } };
    peer.sockets[0]!.send(JSON.stringify([changed]));
    const end = { runId: runIdOf(2), writer, records: [], outcome: { kind: 'declined', reason } };
    expect(await peer.next('end')).toMatchObject(end);
    holding.release();
    expect(await peer.next('end')).toMatchObject({ runId: runIdOf(1), outcome: { kind: 'completed' } });
    expect(peer.sockets).toHaveLength(1);
  });

  test('does not start with a platform that speaks another version of the protocol', async () => {
    const peer = await startPeer();
    peer.v = 2;
    await expect(startWorker(peer, [counting]).start()).rejects.toMatchObject({
      code: 'protocol_version_unsupported',
    });
  });

  test('tries again when an executor cannot check it at the moment', async () => {
    const peer = await startPeer();
    peer.refuse = { type: 'refused', code: 'unavailable', message: 'the registry cannot be read now' };
    const started = startWorker(peer, [counting]).start();
    await peer.next('hello');
    peer.refuse = undefined;
    await started;
    expect(peer.sockets.length).toBeGreaterThan(1);
  });

  test('connects to an address of its own, and registers with the platform', async () => {
    const platform = await startPeer();
    const executors = await startPeer();
    await startWorker(platform, [counting], { workerUrl: `${executors.url}/` }).start();
    expect([platform.sockets.length, platform.registrations.length]).toEqual([0, 1]);
    expect([executors.sockets.length, executors.registrations.length]).toEqual([1, 0]);
    process.env.IRONFLOW_WORKER_URL = executors.url;
    cleanups.push(async () => delete process.env.IRONFLOW_WORKER_URL);
    await startWorker(platform, [counting]).start();
    expect(executors.sockets).toHaveLength(2);
  });

  test('passes over messages of a type it does not know, and fields too', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    const future = { ...activation(1, 'count'), colour: 'blue' };
    peer.sockets[0]!.send(JSON.stringify([{ type: 'weather', sunny: true }, future]));
    expect(await peer.next('end')).toMatchObject({ outcome: { kind: 'completed' } });
  });

  test('gives up a connection on which it is sent what does not fit the protocol', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    await peer.next('hello');
    peer.sockets[0]!.send(JSON.stringify([{ type: 'activate', writer }]));
    await peer.next('hello');
    expect(peer.sockets).toHaveLength(2);
  });

  test('finishes what runs when it is stopped, takes nothing new, and says that it drains', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    const worker = startWorker(peer, [holding.definition]);
    await worker.start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    const stopped = worker.stop({ timeoutMs: 10_000 });
    await peer.next('drain');
    holding.release();
    expect(await peer.next('end')).toMatchObject({ outcome: { kind: 'completed', output: '"held"' } });
    expect(await stopped).toEqual({ aborted: 0 });
    expect(peer.sockets).toHaveLength(1);
  });

  test('aborts what still runs when the time to stop is over', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    const worker = startWorker(peer, [holding.definition]);
    await worker.start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    expect(await worker.stop({ timeoutMs: 20 })).toEqual({ aborted: 1 });
    expect(await holding.wasAborted).toMatchObject({ message: 'the worker is stopping' });
    expect(peer.received.some(({ type }) => type === 'end')).toBe(false);
  });

  test('drives what was sent before the executor had heard that it drains', async () => {
    const peer = await startPeer();
    peer.answerDrain = false;
    const worker = startWorker(peer, [counting]);
    await worker.start();
    const stopped = worker.stop();
    await peer.next('drain');
    peer.send(activation(1, 'count'), { type: 'drained' });
    expect(await peer.next('end')).toMatchObject({ outcome: { kind: 'completed', output: '3' } });
    expect(await stopped).toEqual({ aborted: 0 });
  });

  test('waits a second at most for an executor to say that it knows', async () => {
    const peer = await startPeer();
    peer.answerDrain = false;
    const worker = startWorker(peer, [counting]);
    await worker.start();
    const beganAtMs = performance.now();
    expect(await worker.stop()).toEqual({ aborted: 0 });
    expect(performance.now() - beganAtMs).toBeLessThan(5_000);
  });

  test('counts what it loses with the connection while it drains', async () => {
    const peer = await startPeer();
    const holding = createHolding();
    const worker = startWorker(peer, [holding.definition]);
    await worker.start();
    peer.send(activation(1, 'hold'));
    await holding.began;
    const stopped = worker.stop();
    await peer.next('drain');
    peer.sockets[0]!.terminate();
    expect(await stopped).toEqual({ aborted: 1 });
  });

  test('does not start when the platform refuses it', async () => {
    const peer = await startPeer();
    peer.refuse = { type: 'refused', code: 'forbidden', message: 'this key may not run workers' };
    await expect(startWorker(peer, [counting]).start()).rejects.toMatchObject({ code: 'forbidden' });
  });

  test('can be stopped while the platform is out of reach', async () => {
    const worker = createWorker({
      app: 'shop',
      functions: [counting],
      ironflowUrl: 'http://127.0.0.1:1',
      apiKey: 'ifk_test',
      handleSignals: false,
      log: () => {},
    });
    const started = worker.start().catch((error: unknown) => error);
    await worker.stop();
    expect(await started).toBeInstanceOf(Error);
  });

  test('drains on SIGTERM, and leaves the signal to others afterwards', async () => {
    const peer = await startPeer();
    let others = 0;
    const other = () => (others += 1);
    process.on('SIGTERM', other);
    const worker = startWorker(peer, [counting], { handleSignals: true });
    await worker.start();
    process.emit('SIGTERM');
    await peer.next('drain');
    expect(await worker.stop()).toEqual({ aborted: 0 });
    expect(process.listeners('SIGTERM')).toEqual(expect.arrayContaining([other]));
    expect(others).toBe(1);
    process.off('SIGTERM', other);
  });

  test('drives many runs at once', async () => {
    const peer = await startPeer();
    await startWorker(peer, [counting]).start();
    peer.send(...Array.from({ length: 100 }, (_, n) => activation(n, 'count')));
    const outputs = new Map<string, unknown>();
    for (let n = 0; n < 100; n += 1) {
      const end = await peer.next('end');
      outputs.set(end.runId, end.outcome);
    }
    expect(outputs.size).toBe(100);
    expect(outputs.get(runIdOf(40))).toEqual({ kind: 'completed', output: '42' });
  });

  test('refuses options that break a rule, naming them', () => {
    const options = { app: 'shop', functions: [counting], apiKey: 'ifk_test' };
    expect(() => createWorker({ ...options, slots: 0 })).toThrow(/slots/);
    for (const buildId of ['', 'a.b', 'a=b', 'x'.repeat(65)]) {
      expect(() => createWorker({ ...options, buildId })).toThrow(/^buildId: must be 1 to 64/);
    }
    expect(() => createWorker({ ...options, pinRuns: true })).toThrow(/^pinRuns: needs a buildId/);
    expect(() => createWorker({ ...options, workerUrl: 'executors:7400' })).toThrow(/^workerUrl: must be/);
    expect(() => createWorker({ ...options, app: 'a b' })).toThrow(/^app: must be 1 to 128/);
    expect(() => createWorker({ ...options, functions: [counting, counting] })).toThrow(
      /"count" is given twice/,
    );
  });
});
