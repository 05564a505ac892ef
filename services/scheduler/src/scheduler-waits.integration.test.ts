/** Waits with the scheduler's own life around them: lost notices, many runs for one event, two schedulers at once. */
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { formatTraceparent, runSpanId } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import { createSpanRecorder } from '@ironflow/service';
import type { RecordedSpan } from '@ironflow/service';
import { eventually, stopSharedServers } from '@ironflow/testing';
import { createWorld } from './testing/world.js';
import type { TakenActivation, World } from './testing/world.js';

let world: World;
let scope: Scope;
let other: Scope;
beforeEach(async () => {
  world = await createWorld();
  [scope, other] = world.scopes;
});
afterEach(() => world.stop());
afterAll(stopSharedServers);

const shop = { id: 'shop', mode: 'push' as const };
const unheard = 60_000;
let statements = 0;
const query = <Row>(text: string): Promise<Row[]> =>
  world.database.query<Row>({ name: `waits_${(statements += 1)}`, text }, []);

/** Runs that wait for `paid`, as the collector leaves them; nobody is told. */
async function waitForPaid(count: number, columns: { lookedBack: boolean }): Promise<TakenActivation[]> {
  await world.register(scope, shop, { f: [{ event: 'order.*' }] });
  const activations = world.takePush();
  await world.publish(
    await world.store(
      scope,
      Array.from({ length: count }, () => 'order.placed'),
    ),
  );
  await eventually(() => expect(activations).toHaveLength(count), { timeoutMs: 15_000 });
  await query(`insert into steps (run_id, step_id, attempt, environment_id, name, type, status, started_at)
    select id, step_id, 1, environment_id, step_id, 'wait_for_event', 'waiting', now()
    from runs, unnest(array['first', 'second']) step_id`);
  await query(`insert into waits (run_id, step_id, attempt, environment_id, kind, name, place, looked_back,
      created_at)
    select run_id, step_id, 1, environment_id, 'event', 'paid', case step_id when 'first' then 0 else 1 end,
      ${columns.lookedBack}, now() - interval '1 minute' from steps`);
  await query(`update runs set status = 'waiting', served = wake`);
  activations.length = 0;
  return activations;
}
const stepsLeft = async () =>
  (await query<{ step_id: string }>(`select distinct step_id from steps where status = 'waiting'`)).map(
    (row) => row.step_id,
  );

describe('an event that runs wait for', () => {
  test('resolves the first wait of every run once, with two schedulers, and the second event the second', async () => {
    await world.startScheduler({ sweepIntervalMs: unheard });
    await world.startScheduler({ sweepIntervalMs: unheard });
    // More than a page of waits.
    const activations = await waitForPaid(600, { lookedBack: true });
    const [event] = await world.store(scope, ['paid']);
    await world.publish([event!, event!]);
    await eventually(() => expect(activations).toHaveLength(600), { timeoutMs: 15_000 });
    expect(await stepsLeft()).toEqual(['second']);
    await query(`update runs set status = 'waiting', served = wake`);
    await world.publish(await world.store(scope, ['paid']));
    await eventually(() => expect(activations).toHaveLength(1_200), { timeoutMs: 15_000 });
    expect(await stepsLeft()).toEqual([]);
    for (const run of await world.runs()) expect(run).toMatchObject({ wake: 3, status: 'queued' });
    await eventually(async () => expect(await query('select from awaited_events')).toEqual([]));
  }, 60_000);

  test('leaves a span of the wait in the trace of its run', async () => {
    const recorded: RecordedSpan[] = [];
    const spans = { ...createSpanRecorder({ service: 'scheduler' }), enabled: true };
    await world.startScheduler({ spans: { ...spans, record: (span) => void recorded.push(span) } });
    await waitForPaid(1, { lookedBack: true });
    const [run] = await query<{ id: string }>('select id from runs');
    const trace = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), sampled: true };
    await query(`update runs set traceparent = '${formatTraceparent(trace)}'`);
    await world.publish(await world.store(scope, ['paid']));
    await eventually(() => expect(recorded.map(({ name }) => name)).toContain('workflow.wait first'));
    const span = recorded.find(({ name }) => name === 'workflow.wait first')!;
    expect(span).toMatchObject({
      traceId: trace.traceId,
      parentSpanId: runSpanId(run!.id),
      attributes: { 'ironflow.step.id': 'first', 'ironflow.step.status': 'completed' },
      error: undefined,
    });
    const [step] = await query<{ started_at: Date; ended_at: Date }>(
      `select started_at, ended_at from steps where step_id = 'first'`,
    );
    expect([span.startTimeMs, span.endTimeMs]).toEqual([
      step!.started_at.getTime(),
      step!.ended_at.getTime(),
    ]);
  });

  test('resolves nothing of another environment', async () => {
    await world.startScheduler({ sweepIntervalMs: unheard });
    await waitForPaid(1, { lookedBack: true });
    const [theirs] = await world.store(other, ['paid']);
    const [marker] = await world.store(scope, ['order.late']);
    await world.publish([theirs!, marker!]);
    await eventually(async () => expect(await world.runs()).toHaveLength(2));
    expect(await stepsLeft()).toEqual(['first', 'second']);
    expect(await query('select from awaited_events')).toEqual([]);
  });
});

describe('the sweep', () => {
  test('finds a wait that nobody was told of, and what came before it', async () => {
    const scheduler = await world.startScheduler({ sweepIntervalMs: unheard });
    const activations = await waitForPaid(1, { lookedBack: false });
    await scheduler.stop();
    // Stored while no scheduler runs, and routed by none: only the look back can find it.
    await world.store(scope, ['paid']);
    await query(`delete from unrouted_events`);
    await world.startScheduler({ sweepIntervalMs: 50 });
    await eventually(() => expect(activations).toHaveLength(1));
    expect(await stepsLeft()).toEqual(['second']);
  });

  test('matches an event whose scheduler died after it was routed', async () => {
    const scheduler = await world.startScheduler({ sweepIntervalMs: unheard });
    const activations = await waitForPaid(1, { lookedBack: true });
    await scheduler.stop();
    const [event] = await world.store(scope, ['paid']);
    await query(`delete from unrouted_events`);
    await query(`insert into awaited_events (event_id, environment_id, routed_at)
      values ('${event!.id}', '${scope.environmentId}', now() - interval '1 minute')`);
    await world.startScheduler({ sweepIntervalMs: 50 });
    await eventually(() => expect(activations).toHaveLength(1));
    await eventually(async () => expect(await query('select from awaited_events')).toEqual([]));
  });
});
