import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { createId } from '@ironflow/schema';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction, RunDetail } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
/** What was really done in each run, outside of the platform. */
const done = new Map<string, string[]>();
/** Other functions that hear of the same events. */
const overheard: string[] = [];
let isRepaired = false;

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  await tenant.startWorker('pull-app', functions('pull'));
  await tenant.startPushApp('push-app', functions('push'));
}, 60_000);
afterAll(() => world?.stop(), 30_000);

function functions(mode: string): IronflowFunction[] {
  const trigger = { event: `${mode}.order` };
  return [
    createFunction(
      { id: `${mode}-order`, triggers: [{ ...trigger, if: 'event.data.n == 1' }], retries: { attempts: 1 } },
      async ({ event, run, step }) => {
        const note = (what: string) => done.set(run.id, [...(done.get(run.id) ?? []), what]);
        const { n } = event.data as { n: number };
        const reserved = await step.run('reserve', () => (note('reserve'), n * 10));
        await step.sleep('nap', '30ms');
        const caught = await step
          .run('notify', () => {
            note('notify');
            throw new Error('nobody there');
          })
          .catch(() => 'nobody');
        const charged = await step.run('charge', () => {
          note('charge');
          if (!isRepaired) throw new Error('card declined');
          return reserved + n;
        });
        return { caught, shipped: await step.run('ship', () => (note('ship'), charged)) };
      },
    ),
    createFunction({ id: `${mode}-audit`, triggers: [trigger] }, ({ run }) => void overheard.push(run.id)),
  ];
}

async function failedRun(mode: string): Promise<RunDetail> {
  isRepaired = false;
  const { ids } = await tenant.client.emit({ name: `${mode}.order`, data: { n: 1 } });
  const runs = await tenant.endedRunsOf(ids[0]!, 2);
  const run = runs.find(({ functionId }) => functionId === `${mode}-order`)!;
  expect(run.status).toBe('failed');
  isRepaired = true;
  return run;
}

/** Its run is there as soon as its event is routed. */
async function ended(runId: string): Promise<RunDetail> {
  await eventually(() => tenant.client.runs.get(runId), { timeoutMs: 10_000 });
  return tenant.ended(runId);
}

describe.each(['pull', 'push'])('in %s mode', (mode) => {
  test('a whole rerun does everything again, for its function alone, and belongs to the first', async () => {
    const failed = await failedRun(mode);
    const heardBefore = overheard.length;
    const { eventId, runId } = await tenant.client.runs.rerun(failed.id);
    const run = await ended(runId);
    expect(run).toMatchObject({
      ...{ status: 'completed', rerunOf: failed.id, eventId, correlationId: failed.correlationId },
      output: { caught: 'nobody', shipped: 11 },
    });
    expect(done.get(runId)).toEqual(['reserve', 'notify', 'charge', 'ship']);
    const event = await tenant.client.events.get(eventId);
    expect(event).toMatchObject({ source: 'rerun', causationId: failed.eventId, runs: [{ id: runId }] });
    expect(event.runs).toHaveLength(1);
    expect(overheard).toHaveLength(heardBefore);
  });

  test('from a step: what settled before is not executed again, the step itself is', async () => {
    const failed = await failedRun(mode);
    const { runId } = await tenant.client.runs.rerun(failed.id, { fromStep: 'charge' });
    const run = await ended(runId);
    expect(run).toMatchObject({ status: 'completed', output: { caught: 'nobody', shipped: 11 } });
    expect(done.get(runId)).toEqual(['charge', 'ship']);
    expect(run.steps.map(({ id, status }) => `${id} ${status}`).sort()).toEqual([
      ...['charge completed', 'nap completed', 'notify failed', 'reserve completed', 'ship completed'],
    ]);
    // What was taken over counts as settled there too: a rerun of the rerun has it.
    const again = await ended((await tenant.client.runs.rerun(runId, { fromStep: 'ship' })).runId);
    expect(again).toMatchObject({ status: 'completed', rerunOf: runId, output: { shipped: 11 } });
    expect(done.get(again.id)).toEqual(['ship']);
  });

  test('with changed input, which need not meet the conditions of its triggers', async () => {
    const failed = await failedRun(mode);
    const { runId } = await tenant.client.runs.rerun(failed.id, { data: { n: 2 } });
    expect((await ended(runId)).output).toEqual({ caught: 'nobody', shipped: 22 });
  });
});

test('a run that failed leaves a letter, which repeats it once and is then marked, or is discarded', async () => {
  const failed = await failedRun('pull');
  const { deadLetters } = await tenant.client.deadLetters.list({ reason: 'run_failed' });
  const letter = deadLetters.find(({ runId }) => runId === failed.id)!;
  expect(await tenant.client.deadLetters.get(letter.id)).toMatchObject({ error: failed.error });
  const replay = await tenant.client.deadLetters.replay(letter.id);
  expect(await ended(replay.runId!)).toMatchObject({ status: 'completed', rerunOf: failed.id });
  expect(await tenant.client.deadLetters.replay(letter.id)).toEqual(replay);
  expect(done.get(replay.runId!)).toEqual(['reserve', 'notify', 'charge', 'ship']);
  expect(await tenant.client.deadLetters.get(letter.id)).toMatchObject({ replayedAt: replay.replayedAt });
  // What completes leaves none.
  const left = (await tenant.client.deadLetters.list({ limit: 200 })).deadLetters.map(({ runId }) => runId);
  expect(left).not.toContain(replay.runId);
  await tenant.client.deadLetters.discard(letter.id);
  const gone = { code: 'dead_letter_not_found' };
  await expect(tenant.client.deadLetters.get(letter.id)).rejects.toMatchObject(gone);
  await expect(tenant.client.deadLetters.replay(letter.id)).rejects.toMatchObject(gone);
});

test('runs that a filter finds are repeated, and events that are older than a function are given to it', async () => {
  const from = new Date().toISOString();
  const failed = [await failedRun('push'), await failedRun('push')];
  const ids = failed.map(({ id }) => id);
  const filter = { status: 'failed', function: 'push-order', from } as const;
  expect(await tenant.client.runs.rerunAll(filter, { dryRun: true })).toEqual({ count: 2, skipped: 0 });
  expect(await tenant.client.runs.rerunAll(filter)).toEqual({ count: 2, skipped: 0 });
  await eventually(async () => {
    const { runs } = await tenant.client.runs.list({ function: 'push-order', status: 'completed', from });
    expect(runs.map(({ rerunOf }) => rerunOf).sort()).toEqual([...ids].sort());
  });
  const seen: unknown[] = [];
  const late = createFunction({ id: 'late', triggers: [] }, ({ event }) => void seen.push(event.data));
  await tenant.startWorker('late-app', [late]);
  const events = { event: 'push.order', from };
  expect(await tenant.client.functions.replay('late', events, { dryRun: true })).toEqual({
    count: 2,
    skipped: 0,
  });
  expect(await tenant.client.functions.replay('late', events)).toEqual({ count: 2, skipped: 0 });
  await eventually(() => expect(seen).toEqual([{ n: 1 }, { n: 1 }]));
});

test('a rerun whose message got lost is found by the sweep, with all that it asks for', async () => {
  const failed = await failedRun('pull');
  const first = await tenant.client.runs.rerun(failed.id, { fromStep: 'charge' });
  const eventId = createId(Date.now(), randomBytes(10));
  // As ingest stores it; nobody publishes it.
  await world.query(
    `with stored as (
      insert into events (id, environment_id, name, data, source, correlation_id, function_id, rerun_of, rerun_from_step)
      select $2, environment_id, name, data, source, correlation_id, function_id, rerun_of, rerun_from_step
      from events where id = $1 returning environment_id
    )
    insert into unrouted_events (event_id, environment_id, received_at)
    select $2, environment_id, now() - interval '1 minute' from stored`,
    [first.eventId, eventId],
  );
  const [run] = await tenant.endedRunsOf(eventId, 1, 40_000);
  expect(run).toMatchObject({ status: 'completed', rerunOf: failed.id });
  expect(done.get(run!.id)).toEqual(['charge', 'ship']);
}, 60_000);

test('another environment can neither repeat a run nor learn that it is there', async () => {
  const failed = await failedRun('pull');
  const stranger = await world.createTenant('globex', 'prod');
  await expect(stranger.client.runs.rerun(failed.id)).rejects.toMatchObject({ code: 'run_not_found' });
});
