/** The rows of what happens to whole runs. */
import { expect } from '@jest/globals';
import type { Run } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { describePrimitives, notApplicable } from './primitive.js';
import type { CaseWorld } from './primitive.js';

/** A run of `charge` has failed; the run that its failure has started. */
async function failureOf({ tenant, mode, run }: CaseWorld, data?: object): Promise<Run & { of: string }> {
  const failed = await run('charge', data);
  expect(failed).toMatchObject({ status: 'failed', error: { message: 'no funds' } });
  return eventually(
    async () => {
      const { runs } = await tenant.client.runs.list({
        correlation: failed.correlationId,
        function: `${mode}-charge-on-failure`,
      });
      expect(runs).toHaveLength(1);
      return { ...runs[0]!, of: failed.id };
    },
    { timeoutMs: 15_000, intervalMs: 25 },
  );
}

const heldFailure = async (world: CaseWorld, data?: object) => {
  world.app.hold('work');
  const failure = await failureOf(world, data);
  await world.app.isHolding(failure.id, 'work');
  return failure;
};

let orders = 0;
async function heldOrder({ app, start }: CaseWorld): Promise<{ runId: string; data: object }> {
  const data = { order: (orders += 1), by: 'her' };
  app.hold('work');
  const runId = await start('order', data);
  await app.isHolding(runId, 'work');
  return { runId, data };
}

const withdraw = ({ tenant, mode }: CaseWorld, data: object) =>
  tenant.client.emit({ name: `${mode}.withdrawn`, data });

/** What events are awaited for goes with the run. */
const nothingAwaited = ({ query }: CaseWorld) =>
  eventually(async () => expect(await query('select from awaited_events')).toEqual([]), {
    timeoutMs: 20_000,
  });

/** Repeats, from its step `work`, a run that had completed. */
async function repeat(world: CaseWorld, data: object): Promise<string> {
  const first = await world.run('repeated', { n: 1 });
  expect(first).toMatchObject({ status: 'completed', output: 1 });
  const { runId } = await world.tenant.client.runs.rerun(first.id, { fromStep: 'work', data });
  return runId;
}

const heldRepeat = async (world: CaseWorld) => {
  const first = await world.run('repeated', { n: 1 });
  world.app.hold('work');
  const { runId } = await world.tenant.client.runs.rerun(first.id, { fromStep: 'work', data: { n: 2 } });
  await world.app.isHolding(runId, 'work');
  return runId;
};

describePrimitives('runs', [
  {
    name: 'onFailure',
    cases: {
      happy: async (world) => {
        const failure = await failureOf(world);
        expect(await world.ended(failure.id)).toMatchObject({
          status: 'completed',
          output: { told: 'no funds', of: failure.of },
        });
      },
      failure: async (world) => {
        const failure = await failureOf(world, { fails: true });
        const failed = await world.ended(failure.id);
        expect(failed).toMatchObject({ status: 'failed', error: { message: 'it fails as well' } });
        const { client } = world.tenant;
        const { events } = await client.events.list({ correlation: failed.correlationId });
        expect(events.filter(({ name }) => name === 'ironflow.function.failed')).toHaveLength(1);
        const { deadLetters } = await client.deadLetters.list({ reason: 'run_failed' });
        expect(deadLetters.map(({ runId }) => runId)).toEqual(
          expect.arrayContaining([failure.of, failure.id]),
        );
      },
      timeout: async (world) => {
        const failure = await heldFailure(world, { timeout: 500 });
        await world.has(failure.id, { id: 'work', status: 'errored' });
        world.app.letGo('work');
        expect((await world.ended(failure.id)).status).toBe('completed');
      },
      crash: async (world) => {
        const failure = await heldFailure(world);
        expect(await world.crash(failure.id)).toMatchObject({
          status: 'completed',
          output: { of: failure.of },
        });
      },
      cancel: async (world) => {
        const failure = await heldFailure(world);
        await world.cancel(failure.id);
        await world.app.aborted(failure.id, 'work');
      },
    },
  },
  {
    name: 'cancelOn',
    cases: {
      happy: async (world) => {
        const { runId, data } = await heldOrder(world);
        await withdraw(world, data);
        expect((await world.ended(runId)).status).toBe('cancelled');
        await world.app.aborted(runId, 'work');
        expect(world.app.begun(runId, 'after')).toBe(0);
        await nothingAwaited(world);
      },
      failure: async (world) => {
        const { runId, data } = await heldOrder(world);
        // Of this order, but without the field that the condition reads: such an event is passed over.
        const { ids } = await withdraw(world, { ...data, by: undefined });
        await eventually(async () =>
          expect(await world.query('select from unrouted_events where event_id = $1', [ids[0]])).toEqual([]),
        );
        world.app.letGo('work');
        expect((await world.ended(runId)).status).toBe('completed');
        await nothingAwaited(world);
      },
      timeout: notApplicable('it holds for as long as the run is under way'),
      crash: async (world) => {
        const { runId, data } = await heldOrder(world);
        const run = await world.crash(runId, () => withdraw(world, data));
        expect(run.status).toBe('cancelled');
        expect(world.app.begun(runId, 'after')).toBe(0);
        await nothingAwaited(world);
      },
      cancel: async (world) => {
        const { runId } = await heldOrder(world);
        await world.cancel(runId);
        await nothingAwaited(world);
      },
    },
  },
  {
    name: 'rerun',
    cases: {
      happy: async (world) => {
        const runId = await repeat(world, { n: 2 });
        expect(await world.ended(runId)).toMatchObject({ status: 'completed', output: 2 });
        expect([world.app.begun(runId, 'before'), world.app.begun(runId, 'work')]).toEqual([0, 1]);
      },
      failure: async (world) => {
        const runId = await repeat(world, { fails: true });
        expect(await world.ended(runId)).toMatchObject({ status: 'failed', error: { message: 'no use' } });
        const { deadLetters } = await world.tenant.client.deadLetters.list({ reason: 'run_failed' });
        expect(deadLetters.map((letter) => letter.runId)).toContain(runId);
      },
      timeout: notApplicable('it is answered at once; the run that it starts is bounded like any other'),
      crash: async (world) => {
        const runId = await heldRepeat(world);
        expect(await world.crash(runId)).toMatchObject({ status: 'completed', output: 2 });
        expect(world.app.begun(runId, 'before')).toBe(0);
      },
      cancel: async (world) => {
        const runId = await heldRepeat(world);
        await world.cancel(runId);
        await world.app.aborted(runId, 'work');
      },
    },
  },
]);
