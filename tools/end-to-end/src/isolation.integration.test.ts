import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { EmitAnswer } from '@ironflow/sdk';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

interface Side {
  name: string;
  tenant: Tenant;
  answer: EmitAnswer;
}

const rounds = 20;
let world: PlatformUnderTest;
let sides: [Side, Side];
/** What the functions of each environment were given. */
const given: Record<string, string[]> = {};

beforeAll(async () => {
  world = await startPlatformUnderTest();
  sides = [
    { name: 'side-0', tenant: world.tenant, answer: { ids: [] } },
    { name: 'side-1', tenant: await world.createTenant('neighbour', 'dev'), answer: { ids: [] } },
  ];
  for (const { name, tenant } of sides) {
    given[name] = [];
    // Everything has the same name on both sides.
    const define = (id: string) =>
      createFunction<unknown, { owner: string }>(
        { id, triggers: [{ event: 'shared.name' }] },
        ({ event, step }) =>
          step.run('note', () => {
            given[name]!.push(event.data.owner);
            return { on: name, owner: event.data.owner };
          }),
      );
    await tenant.startWorker('shared-pull', [define('shared-pull')]);
    await tenant.startPushApp('shared-push', [define('shared-push')]);
  }
}, 60_000);
afterAll(() => world?.stop(), 30_000);

test('emit-and-wait answers with the runs of its own environment, under the same idempotency keys', async () => {
  const answers = await Promise.all(
    Array.from({ length: rounds }, (_, round) =>
      Promise.all(
        sides.map(({ name, tenant }) =>
          tenant.client.emit(
            { name: 'shared.name', data: { owner: name }, idempotencyKey: `order-${round}` },
            { wait: '20s' },
          ),
        ),
      ),
    ),
  );
  for (const both of answers) {
    expect(both[0]!.ids).not.toEqual(both[1]!.ids);
    for (const [index, side] of sides.entries()) {
      side.answer = both[index]!;
      const output = { on: side.name, owner: side.name };
      expect(side.answer.runs).toHaveLength(2);
      expect(side.answer.runs).toMatchObject([
        { status: 'completed', output },
        { status: 'completed', output },
      ]);
    }
  }
});

test('workers and endpoints of one environment never get what is the other’s', () => {
  for (const { name } of sides) {
    expect(new Set(given[name])).toEqual(new Set([name]));
    expect(given[name]).toHaveLength(rounds * 2);
  }
});

test('a key sees no run and no event of the other environment', async () => {
  for (const [index, { tenant }] of sides.entries()) {
    const other = sides[1 - index]!.answer;
    const runId = other.runs![0]!.id;
    await expect(tenant.client.runs.get(runId)).rejects.toMatchObject({ status: 404, code: 'run_not_found' });
    await expect(tenant.client.events.get(other.ids[0]!)).rejects.toMatchObject({
      status: 404,
      code: 'event_not_found',
    });
    await expect(tenant.client.watch(runId).next()).rejects.toMatchObject({ status: 404 });
    expect((await tenant.client.runs.list({ event: other.ids[0]! })).runs).toEqual([]);
    expect((await tenant.client.runs.list({ correlation: other.ids[0]! })).runs).toEqual([]);
  }
});

test('lists hold what is the environment’s own, and all of it', async () => {
  for (const { name, tenant } of sides) {
    const { events } = await tenant.client.events.list({ limit: 200 });
    expect(events).toHaveLength(rounds);
    expect(events.every(({ data }) => (data as { owner: string }).owner === name)).toBe(true);
    const { runs } = await tenant.client.runs.list({ limit: 200 });
    expect(runs).toHaveLength(rounds * 2);
    expect(runs.every(({ output }) => (output as { on: string }).on === name)).toBe(true);
  }
});

test('a repeated idempotency key is answered with the event of its own environment', async () => {
  for (const { name, tenant } of sides) {
    const idempotencyKey = `order-${rounds - 1}`;
    const again = await tenant.client.emit({
      name: 'shared.name',
      data: { owner: 'nobody' },
      idempotencyKey,
    });
    const stored = await tenant.client.events.get(again.ids[0]!);
    expect(stored.data).toEqual({ owner: name });
  }
});

test('invoking a function starts the one of the key’s environment', async () => {
  for (const { name, tenant } of sides) {
    const { runs } = await tenant.client.invoke('shared-pull', { owner: name }, { wait: '15s' });
    expect(runs).toMatchObject([{ status: 'completed', output: { on: name, owner: name } }]);
  }
});

test('archiving a function in one environment leaves the other’s alone', async () => {
  const [first, second] = sides;
  await first.tenant.client.apps.register({ id: 'shared-pull', mode: 'pull', functions: [] });
  const statusOf = async ({ tenant }: Side) =>
    (await tenant.client.functions.list()).find(({ id }) => id === 'shared-pull')?.status;
  expect(await statusOf(first)).toBe('archived');
  expect(await statusOf(second)).toBe('active');
  await expect(first.tenant.client.invoke('shared-pull', {})).rejects.toMatchObject({ status: 404 });
  const { runs } = await second.tenant.client.invoke('shared-pull', { owner: 'side-1' }, { wait: '15s' });
  expect(runs).toMatchObject([{ status: 'completed' }]);
});
