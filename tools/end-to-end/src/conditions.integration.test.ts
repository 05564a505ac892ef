import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
let called = 0;

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  const condition = 'event.data.order.total > 100';
  await tenant.startWorker('conditional', [
    createFunction({ id: 'large-orders', triggers: [{ event: 'order.placed', if: condition }] }, ({ step }) =>
      step.run('count', () => ++called),
    ),
  ]);
}, 60_000);
afterAll(() => world?.stop(), 30_000);

test('a condition that is true starts a run', async () => {
  const { runs } = await tenant.client.emit(
    { name: 'order.placed', data: { order: { total: 101 } } },
    { wait: '15s' },
  );
  expect(runs).toMatchObject([{ functionId: 'large-orders', status: 'completed', output: 1 }]);
});

test.each([
  ['a condition that is false', { name: 'order.placed', data: { order: { total: 100 } } }],
  ['a name that no trigger has', { name: 'order.cancelled', data: { order: { total: 101 } } }],
])('%s: the event is stored and starts nothing', async (_, event) => {
  const calledBefore = called;
  const { ids, runs } = await tenant.client.emit(event, { wait: '15s' });
  expect(runs).toEqual([]);
  const stored = await tenant.client.events.get(ids[0]!);
  expect(stored).toMatchObject({ name: event.name, data: event.data, runs: [] });
  await routed(ids[0]!);
  expect((await tenant.client.runs.list({ event: ids[0]! })).runs).toEqual([]);
  expect(called).toBe(calledBefore);
});

test.each([
  ['a field that is not there', { customer: 'Ada' }],
  ['a type that does not fit', { order: { total: 'a lot' } }],
])('a condition that throws (%s) makes a skipped run that says why', async (_, data) => {
  const calledBefore = called;
  const { ids, runs } = await tenant.client.emit({ name: 'order.placed', data }, { wait: '15s' });
  expect(runs).toMatchObject([{ functionId: 'large-orders', status: 'skipped' }]);
  const run = await tenant.client.runs.get(runs![0]!.id);
  expect(run).toMatchObject({ status: 'skipped', eventId: ids[0], steps: [] });
  expect(run.skipReason).toMatch(/^condition_error/);
  expect(run.startedAt).toBeUndefined();
  expect((await tenant.client.events.get(ids[0]!)).runs).toMatchObject([{ id: run.id, status: 'skipped' }]);
  const { runs: skipped } = await tenant.client.runs.list({ status: 'skipped', function: 'large-orders' });
  expect(skipped.map(({ id }) => id)).toContain(run.id);
  expect(called).toBe(calledBefore);
});

async function routed(eventId: string): Promise<void> {
  await eventually(async () => {
    const rows = await world.query('select 1 from unrouted_events where event_id = $1', [eventId]);
    if (rows.length > 0) throw new Error('the event is not routed yet');
  });
}
