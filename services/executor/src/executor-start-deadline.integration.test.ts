import { beforeAll, describe, expect, test } from '@jest/globals';
import { end } from './testing/raw-worker.js';
import { done, isActivate, useWorld } from './testing/suite.js';
import type { RunHandle, World } from './testing/world.js';

const suite = useWorld();
const { connect, createApp, createPullRun, ended, open, start } = suite;
let world: World;
beforeAll(() => {
  world = suite.world();
});

/** As the scheduler does once it is too late for the run to begin. */
async function expire({ runId }: RunHandle): Promise<void> {
  const text = 'update runs set start_expired_at = now(), wake = wake + 1 where id = $1';
  await world.database.query({ name: 'test_expire', text }, [runId]);
}

async function append(run: RunHandle, entry: 'started' | 'deferred'): Promise<number> {
  const deferred = { kind: 'deferred', served: 1, inMs: 60_000, reason: 'circuit_open' } as const;
  const result = await world.jetstream.journal.append({
    scope: run.scope,
    message: {
      environmentId: run.scope.environmentId,
      runId: run.runId,
      functionId: run.functionId,
      prev: 0,
      writer: { activation: 1, delivery: 1, executor: `before ${run.runId}` },
      activatedAtMs: 1,
      entries: [{ type: 'run', run: entry === 'started' ? { kind: 'started' } : deferred }],
    },
    expectedSequence: 0,
    counter: 1,
  });
  if (result.kind !== 'appended') throw new Error(result.kind);
  return result.sequence;
}

const skipped = { type: 'run', run: { kind: 'skipped', reason: 'start_deadline' } };

describe('a run that is too late to begin', () => {
  test('is skipped, and its endpoint not called', async () => {
    const endpoint = await open((_request, response) => void response.end(JSON.stringify(done)));
    const run = await suite.createPushRun(endpoint.url);
    await expire(run);
    await start();
    await world.activate(run);
    expect(await ended(run)).toMatchObject([skipped]);
    expect(endpoint.calls).toEqual([]);
  });

  test('is skipped, and given to no worker', async () => {
    const appId = await createApp();
    const run = await createPullRun(appId);
    await expire(run);
    const worker = await connect(await start(), appId);
    await world.activate(run);
    expect(await ended(run)).toMatchObject([skipped]);
    expect(worker.received.filter(isActivate)).toEqual([]);
  });

  test('is skipped though it was put off before', async () => {
    const endpoint = await open((_request, response) => void response.end(JSON.stringify(done)));
    const run = await suite.createPushRun(endpoint.url);
    const journalSeq = await append(run, 'deferred');
    await world.accept(run, { prev: 0, journalSeq, status: 'waiting', served: 1, startedAtMs: undefined });
    await expire(run);
    await start();
    await world.activate(run);
    expect((await ended(run)).at(-1)).toMatchObject(skipped);
    expect(endpoint.calls).toEqual([]);
  });

  test('is cancelled if it was asked to stop', async () => {
    const appId = await createApp();
    const run = await createPullRun(appId);
    await expire(run);
    await world.cancel(run);
    await connect(await start(), appId);
    await world.activate(run);
    expect(await ended(run)).toMatchObject([{ run: { kind: 'cancelled' } }]);
  });
});

describe('a run that had begun in time', () => {
  test.each(['its journal', 'Postgres'])('goes on, as %s knows', async (where) => {
    const appId = await createApp();
    const run = await createPullRun(appId);
    const journalSeq = await append(run, 'started');
    if (where === 'Postgres') {
      await world.accept(run, { prev: 0, journalSeq, status: 'running', startedAtMs: 1 });
    }
    await expire(run);
    const worker = await connect(await start(), appId);
    await world.activate(run);
    worker.send(end(await worker.next('activate')));
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'completed' } });
  });
});
