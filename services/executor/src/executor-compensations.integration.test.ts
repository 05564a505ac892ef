import { beforeAll, describe, expect, test } from '@jest/globals';
import type { NotCompensated, StepRecord } from '@ironflow/schema';
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

const idOf = (name: string) => `compensate(${name})`;
const registered = (name: string): StepRecord => ({
  id: idOf(name),
  name: idOf(name),
  type: 'compensate',
  attempt: 0,
  status: 'registered',
  startedAtMs: 1,
  endedAtMs: 1,
});
const undone = (name: string) => ({ ...completed(idOf(name)), type: 'compensate' }) as StepRecord;
const refused = { kind: 'threw', error: { name: 'Error', message: 'no' } };
const stopped = { kind: 'stopped' };

describe('a run of a worker that fails with something to undo', () => {
  test('is stopping, is given to a worker to undo it, and only then has failed', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId);
    const run = await activated(appId);
    const first = await worker.next('activate');
    worker.send(record(first, 0, completed('a'), registered('a')));
    await worker.next('recorded');
    worker.send(end(first, refused));
    const second = await worker.next('activate', 1);
    expect(second.invocation).toMatchObject({
      v: 2,
      stopping: { as: 'failed' },
      run: { attempt: 1 },
      memo: [{ id: 'a' }, { id: idOf('a'), type: 'compensate', attempt: 0, status: 'registered' }],
    });
    worker.send(record(second, 0, undone('a')));
    await worker.next('recorded', 1);
    worker.send(end(second, stopped));
    const entries = await ended(run);
    expect(entries.slice(2)).toMatchObject([
      { run: { kind: 'stopping', outcome: { kind: 'failed', error: refused.error } } },
      { run: { kind: 'started' } },
      { step: { id: idOf('a'), attempt: 1, status: 'completed' } },
      { run: { kind: 'failed', error: refused.error } },
    ]);
    expect(entries.at(-1)).not.toHaveProperty('run.notCompensated');
  });

  test('goes on from what is undone when its executor dies, and nobody can cancel it any more', async () => {
    const appId = await createApp();
    const first = await start({ drainTimeoutMs: 0 });
    const worker = await connect(first, appId);
    const run = await activated(appId);
    worker.send(end(await worker.next('activate'), refused, [registered('a'), registered('b')]));
    const undoing = await worker.next('activate', 1);
    worker.send(record(undoing, 0, undone('b')));
    await worker.next('recorded');
    await world.cancel(run);
    const other = await connect(await start(), appId);
    await first.stop();
    const again = await other.next('activate');
    expect(again.invocation.stopping).toEqual({ as: 'failed' });
    const states = again.invocation.memo.map(({ id, status }) => `${id} ${status}`);
    expect(states).toEqual([`${idOf('a')} registered`, `${idOf('b')} completed`]);
    other.send(end(again, stopped, [undone('a')]));
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'failed' } });
  });

  test('and whose worker cannot be reached any more has failed with all of it on the list', async () => {
    const appId = await createApp({ attempts: 1 });
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    worker.send(end(await worker.next('activate'), refused, [registered('a')]));
    await worker.next('activate', 1);
    worker.terminate();
    expect((await ended(run)).at(-1)).toMatchObject({
      run: {
        kind: 'failed',
        error: refused.error,
        notCompensated: [{ step: idOf('a'), error: { name: 'worker_lost' } }],
      },
    });
  });

  test.each([
    ['protocol_version_unsupported', 'sdk_too_old'],
    ['function_not_found', 'function_not_found'],
    ['invocation_invalid', 'invocation_invalid'],
  ])('and whose workers decline it with %s does not wait for ever', async (reason, name) => {
    const appId = await createApp({ attempts: 1 });
    const worker = await connect(await start(), appId);
    const run = await activated(appId);
    worker.send(end(await worker.next('activate'), refused, [registered('a')]));
    worker.send(end(await worker.next('activate', 1), { kind: 'declined', reason }));
    expect((await ended(run)).at(-1)).toMatchObject({
      run: { kind: 'failed', notCompensated: [{ step: idOf('a'), error: { name } }] },
    });
  });

  test('and which then completes, or throws, has its call counted as failed', async () => {
    const appId = await createApp({ attempts: 1 });
    const worker = await connect(await start(), appId);
    const run = await activated(appId);
    worker.send(end(await worker.next('activate'), refused, [registered('a')]));
    worker.send(end(await worker.next('activate', 1), { kind: 'completed' }));
    expect((await ended(run)).at(-1)).toMatchObject({
      run: { kind: 'failed', notCompensated: [{ error: { name: 'bad_answer' } }] },
    });
  });
});

test('a run that registers far more than it may fails, and has a list that fits', async () => {
  const appId = await createApp();
  const worker = await connect(await start(), appId);
  const run = await activated(appId);
  const many = Array.from({ length: 4_000 }, (_, index) => registered(`${'n'.repeat(200)}${index}`));
  worker.send(record(await worker.next('activate'), 0, ...many));
  worker.send(end(await worker.next('activate', 1), stopped));
  const last = (await ended(run)).at(-1)!;
  expect(last).toMatchObject({ run: { kind: 'failed', error: { name: 'too_many_steps' } } });
  const { notCompensated } = (last as { run: { notCompensated: NotCompensated[] } }).run;
  expect(notCompensated.at(-1)).toMatchObject({ error: { name: 'list_too_long' } });
});

test('a cancelled run is undone once its worker says that what was aborted has ended', async () => {
  const appId = await createApp();
  const worker = await connect(await start(), appId);
  const run = await activated(appId);
  const first = await worker.next('activate');
  worker.send(record(first, 0, registered('a')));
  await worker.next('recorded');
  await world.cancel(run);
  const { runId, writer } = await worker.next('abort');
  // Another run comes meanwhile; this one does not.
  const other = await activated(appId);
  expect((await worker.next('activate', 1)).invocation.run.id).toBe(other.runId);
  expect(worker.received.filter(isActivate)).toHaveLength(2);
  worker.send({ type: 'aborted', runId, writer });
  const undoing = await worker.next('activate', 2);
  expect(undoing.invocation).toMatchObject({ run: { id: runId }, stopping: { as: 'cancelled' } });
  worker.send(end(undoing, stopped, [undone('a')]));
  expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'cancelled' } });
});

describe('a run of an endpoint', () => {
  test('that is hung up on is undone after the deadline of that call, by a call of its own', async () => {
    const bodies = () => endpoint.calls.map(({ body }) => JSON.parse(body) as { stopping?: object });
    const endpoint = await open((_request, response) => {
      const count = endpoint.calls.length;
      const outcome = { kind: 'continue' };
      if (count === 1) response.end(JSON.stringify({ v: 1, records: [registered('a')], outcome }));
      if (count === 3)
        response.end(JSON.stringify({ v: 1, records: [undone('a')], outcome: { kind: 'stopped' } }));
    });
    const run = await suite.createPushRun(endpoint.url);
    await start({ pushDeadlineMs: 60_000 });
    await world.activate(run);
    await eventually(() => expect(endpoint.calls).toHaveLength(2), patience);
    await world.cancel(run);
    const entries = await ended(run);
    expect(entries.slice(-2)).toMatchObject([
      { run: { kind: 'stopping', outcome: { kind: 'cancelled' } } },
      { run: { kind: 'deferred', reason: 'call_may_run' } },
    ]);
    const last = entries.at(-1)!;
    const { inMs, callEndsInMs } = (last as { run: { inMs: number; callEndsInMs: number } }).run;
    expect(inMs).toBeGreaterThan(30_000);
    expect(callEndsInMs).toBe(inMs);
    const [first, second] = await world.journal(run);
    const { sequence: prev } = first!;
    await world.accept(run, { prev: 0, journalSeq: prev, steps: [registered('a')], status: 'running' });
    await world.accept(run, {
      prev,
      journalSeq: second!.sequence,
      status: 'waiting',
      stopping: 'cancelled',
      served: 1,
      retryInMs: inMs,
    });
    // That it was asked to stop wakes it no more: it is at it.
    await world.activate(run);
    await eventually(async () => expect(await world.isActivated(run)).toBe(false), patience);
    expect(endpoint.calls).toHaveLength(2);
    const text = 'update runs set wake = wake + 1 where id = $1';
    await world.database.query({ name: 'test_due', text }, [run.runId]);
    await world.activate(run);
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'cancelled' } });
    expect(bodies().map(({ stopping }) => stopping)).toEqual([undefined, undefined, { as: 'cancelled' }]);
  });

  test('that registered nothing is cancelled as ever, without a call', async () => {
    const endpoint = await open((_request, response) => void response.end(JSON.stringify(done)));
    const run = await suite.createPushRun(endpoint.url);
    await world.cancel(run);
    await start();
    await world.activate(run);
    expect(stepIds(await ended(run))).toEqual([]);
    expect(endpoint.calls).toEqual([]);
  });
});
