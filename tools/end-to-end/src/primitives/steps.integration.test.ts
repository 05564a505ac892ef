/** The rows of what is done in the function itself: its handler and its steps. */
import { expect } from '@jest/globals';
import { describePrimitives, notApplicable } from './primitive.js';
import type { CaseWorld } from './primitive.js';

const stepFailed = (id: string, attempts = 2) => ({
  status: 'failed',
  error: {
    name: 'StepError',
    message: `step "${id}" failed after ${attempts} attempts: RangeError: no use`,
  },
});

/** A step of `work` that is held is given up when its time is up, and its next attempt succeeds. */
const timesOut = (name: string, held: string) => async (world: CaseWorld) => {
  world.app.hold(held);
  const runId = await world.start(name, { timeout: 500 });
  const { steps } = await world.has(runId, { id: held, status: 'errored' });
  expect(steps.find(({ id, status }) => id === held && status === 'errored')).toMatchObject({
    error: { name: 'StepTimeout', message: 'it took longer than 500 ms' },
  });
  world.app.letGo(held);
  expect((await world.ended(runId)).status).toBe('completed');
};

const holding = async (world: CaseWorld, name: string, held: string): Promise<string> => {
  world.app.hold(held);
  const runId = await world.start(name);
  await world.app.isHolding(runId, held);
  return runId;
};

const isCancelled = (name: string, held: string) => async (world: CaseWorld) => {
  const runId = await holding(world, name, held);
  await world.cancel(runId);
  await world.app.aborted(runId, held);
};

/** What a function may take over all its calls. */
const isBounded = async (world: CaseWorld) => {
  const runId = await holding(world, 'function-bounded', 'handler');
  expect(await world.ended(runId)).toMatchObject({ status: 'failed', error: { name: 'FunctionTimeout' } });
  await world.app.aborted(runId, 'handler');
  expect(world.app.begun(runId, 'before')).toBe(1);
};

const rainedOff = { status: 'failed', error: { message: 'it rains' } };
const undos = ({ app }: CaseWorld, runId: string) =>
  ['flight', 'hotel'].map((name) => app.begun(runId, `undo ${name}`));

/** Large enough to go by way of Postgres, where nothing is left but the step. */
const large = 'x'.repeat(1024 * 1024);
const completedLarge = { status: 'completed', output: large };
const nothingClaimed = async ({ query }: CaseWorld, runId: string) =>
  expect(await query('select from claimed_outputs where run_id = $1', [runId])).toEqual([]);

const holdingLarge = async (world: CaseWorld) => {
  const runId = await holding(world, 'large', 'work');
  await world.has(runId, { id: 'large', status: 'completed' });
  return runId;
};

describePrimitives('steps', [
  {
    name: 'function',
    cases: {
      happy: async ({ run }) => {
        expect(await run('function')).toMatchObject({ status: 'completed', output: 'returned' });
      },
      failure: async ({ run, app }) => {
        const failed = await run('function-failing', { fails: true });
        expect(failed).toMatchObject({ status: 'failed', error: { name: 'RangeError', message: 'no use' } });
        expect(app.begun(failed.id, 'before')).toBe(1);
        expect(app.begun(failed.id, 'handler')).toBeGreaterThan(1);
      },
      timeout: {
        push: async (world) => {
          // The time of one call is another bound: the next goes on.
          const runId = await holding(world, 'function', 'handler');
          expect(await world.app.aborted(runId, 'handler')).toBe('DeadlineExceeded');
          world.app.letGo('handler');
          expect(await world.ended(runId)).toMatchObject({ status: 'completed', output: 'returned' });
          expect(world.app.begun(runId, 'before')).toBe(1);
          await isBounded(world);
        },
        pull: isBounded,
      },
      crash: async (world) => {
        const runId = await holding(world, 'function', 'handler');
        expect(await world.crash(runId)).toMatchObject({ status: 'completed', output: 'returned' });
        expect(world.app.begun(runId, 'handler')).toBeGreaterThan(1);
      },
      cancel: isCancelled('function', 'handler'),
    },
  },
  {
    name: 'step.run',
    cases: {
      happy: async ({ run }) => {
        expect(await run('run')).toMatchObject({ status: 'completed', output: { done: [1, null] } });
      },
      failure: async ({ run, app }) => {
        const failed = await run('run', { fails: 'work' });
        expect(failed).toMatchObject(stepFailed('work'));
        expect(app.begun(failed.id, 'work')).toBe(2);
      },
      timeout: timesOut('run', 'work'),
      crash: async (world) => {
        const runId = await holding(world, 'run', 'work');
        expect(await world.crash(runId)).toMatchObject({ status: 'completed', output: { done: [1, null] } });
        expect(world.app.begun(runId, 'work')).toBe(2);
      },
      cancel: isCancelled('run', 'work'),
    },
  },
  {
    name: 'step.compensate',
    cases: {
      happy: async (world) => {
        const failed = await world.run('compensate');
        expect(failed).toMatchObject(rainedOff);
        const undone = failed.steps.filter(({ type, attempt }) => type === 'compensate' && attempt > 0);
        expect(undone.map(({ id, status }) => `${id} ${status}`)).toEqual([
          'compensate(flight) completed',
          'compensate(hotel) completed',
        ]);
        expect(undos(world, failed.id)).toEqual([1, 1]);
        const well = await world.run('compensate', { goesWell: true });
        expect([well.status, ...undos(world, well.id)]).toEqual(['completed', 0, 0]);
      },
      failure: async ({ run }) => {
        const error = { name: 'RangeError', message: 'no use' };
        const steps = ['compensate(flight)', 'compensate(hotel)'];
        expect(await run('compensate', { fails: true })).toMatchObject({
          ...rainedOff,
          notCompensated: steps.map((step) => ({ step, error })),
        });
      },
      timeout: async (world) => {
        world.app.hold('undo flight');
        const runId = await world.start('compensate', { timeout: 500 });
        await world.has(runId, { id: 'compensate(flight)', status: 'errored' });
        world.app.letGo('undo flight');
        const failed = await world.ended(runId);
        expect(failed).toMatchObject(rainedOff);
        expect(failed.notCompensated).toBeUndefined();
      },
      crash: async (world) => {
        const runId = await holding(world, 'compensate', 'undo hotel');
        await world.has(runId, { id: 'compensate(flight)', status: 'completed' });
        expect(await world.crash(runId)).toMatchObject(rainedOff);
        expect(undos(world, runId)).toEqual([1, 2]);
      },
      cancel: async (world) => {
        const runId = await holding(world, 'compensate', 'work');
        await world.cancel(runId);
        expect(undos(world, runId)).toEqual([1, 1]);
      },
    },
  },
  {
    name: 'step.map',
    cases: {
      happy: async ({ run }) => {
        expect(await run('map')).toMatchObject({ status: 'completed', output: ['A', 'B', 'C'] });
      },
      failure: async ({ run, app }) => {
        const failed = await run('map', { fails: 'work[1]' });
        expect(failed).toMatchObject(stepFailed('work[1]'));
        expect(app.begun(failed.id, 'work[2]')).toBe(0);
      },
      timeout: timesOut('map', 'work[1]'),
      crash: async (world) => {
        const runId = await holding(world, 'map', 'work[1]');
        await world.has(runId, { id: 'work[0]', status: 'completed' });
        expect(await world.crash(runId)).toMatchObject({ status: 'completed', output: ['A', 'B', 'C'] });
        expect(world.app.begun(runId, 'work[0]')).toBe(1);
      },
      cancel: isCancelled('map', 'work[1]'),
    },
  },
  {
    name: 'step.parallel',
    cases: {
      happy: async ({ run }) => {
        expect(await run('parallel')).toMatchObject({ output: { left: 'left', right: 'right' } });
      },
      failure: async ({ run }) => {
        expect(await run('parallel', { fails: 'both.right.work' })).toMatchObject(
          stepFailed('both.right.work'),
        );
      },
      timeout: timesOut('parallel', 'both.right.work'),
      crash: async (world) => {
        const runId = await holding(world, 'parallel', 'both.right.work');
        await world.has(runId, { id: 'both.left.work', status: 'completed' });
        expect(await world.crash(runId)).toMatchObject({ output: { left: 'left', right: 'right' } });
        expect(world.app.begun(runId, 'both.left.work')).toBe(1);
      },
      cancel: isCancelled('parallel', 'both.right.work'),
    },
  },
  {
    name: 'Promise.all',
    cases: {
      happy: async ({ start, waiting, tenant, ended }) => {
        const runId = await start('all');
        await waiting(runId);
        await tenant.client.signal(runId, 'answer', { n: 1 });
        expect(await ended(runId)).toMatchObject({ output: ['quick', 'slept', { n: 1 }, null] });
      },
      failure: async ({ run, nothingLeft }) => {
        const failed = await run('all', { fails: true });
        expect(failed).toMatchObject(stepFailed('work'));
        await nothingLeft(failed.id);
      },
      timeout: async ({ run }) => {
        expect(await run('all', { timeout: 50 })).toMatchObject({ output: ['quick', 'slept', null, null] });
      },
      crash: async (world) => {
        const runId = await world.start('all');
        await world.has(runId, { id: 'quick', status: 'completed' });
        await world.has(runId, { id: 'nap', status: 'completed' });
        const signalled = () => world.tenant.client.signal(runId, 'answer', 'while it was away');
        expect(await world.crash(runId, signalled)).toMatchObject({
          output: ['quick', 'slept', 'while it was away', null],
        });
        expect(world.app.begun(runId, 'quick')).toBe(1);
      },
      cancel: async ({ start, has, cancel }) => {
        const runId = await start('all');
        await has(runId, { id: 'quick', status: 'completed' });
        await has(runId, { id: 'work', status: 'completed' });
        await has(runId, { id: 'nap', status: 'completed' });
        await cancel(runId);
      },
    },
  },
  {
    name: 'step.patched',
    cases: {
      happy: async ({ run }) => {
        const patched = await run('patched');
        expect(patched).toMatchObject({ status: 'completed', output: 'new' });
        expect(patched.steps).toContainEqual(
          expect.objectContaining({ id: 'patched(new way)', status: 'completed', output: true }),
        );
      },
      failure: async ({ run }) => {
        expect(await run('patched', { fails: true })).toMatchObject({
          status: 'failed',
          error: { name: 'ConfigurationError' },
        });
      },
      timeout: notApplicable('it is answered at once, and waits for nothing'),
      crash: async (world) => {
        const runId = await holding(world, 'patched', 'new');
        await world.has(runId, { id: 'patched(new way)', status: 'completed' });
        expect(await world.crash(runId)).toMatchObject({ status: 'completed', output: 'new' });
      },
      cancel: notApplicable('it is answered at once: a run is cancelled before it or after it'),
    },
  },
  {
    name: 'large outputs',
    cases: {
      happy: async (world) => {
        const run = await world.run('large');
        expect(run).toMatchObject(completedLarge);
        await nothingClaimed(world, run.id);
      },
      failure: async ({ run, app }) => {
        const failed = await run('large', { fails: true });
        expect(failed).toMatchObject({
          status: 'failed',
          error: {
            name: 'StepError',
            message: expect.stringContaining('OutputError: the output is 4194305'),
          },
        });
        expect(app.begun(failed.id, 'large')).toBe(1);
      },
      timeout: notApplicable('an output is part of its step, and has the time of that'),
      crash: async (world) => {
        const runId = await holdingLarge(world);
        expect(await world.crash(runId)).toMatchObject(completedLarge);
        await nothingClaimed(world, runId);
      },
      cancel: async (world) => {
        const runId = await holdingLarge(world);
        const { steps } = await world.cancel(runId);
        expect(steps.find(({ id }) => id === 'large')).toMatchObject({ output: large });
        await nothingClaimed(world, runId);
      },
    },
  },
]);
