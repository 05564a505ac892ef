/** Flow control as its user sees it: events that become one run, runs that wait and say for what, and pauses. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction, createOperatorClient } from '@ironflow/sdk';
import type { Run } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
}, 60_000);
afterAll(() => world?.stop(), 30_000);

function createGate(): { open: () => void; opened: Promise<void> } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open: () => open(), opened };
}

/** Its first run, once it is as it should be. */
async function runOf(eventId: string, expected: object): Promise<Run> {
  return eventually(
    async () => {
      const { runs } = await tenant.client.runs.list({ event: eventId });
      expect(runs).toMatchObject([expected]);
      return runs[0]!;
    },
    { timeoutMs: 15_000 },
  );
}

describe.each(['pull', 'push'] as const)('a batch (%s)', (mode) => {
  test('is one run with all of its events, of which whoever emitted one is told, and is repeated with them', async () => {
    const id = `collect-${mode}`;
    const collect = createFunction(
      { id, triggers: [{ event: id }], batch: { maxSize: 3, timeout: '1h', key: 'event.data.to' } },
      async ({ events, step }) => {
        await step.sleep('a moment', 1);
        return step.run('all', () => events.map(({ data }) => (data as { n: number }).n));
      },
    );
    if (mode === 'pull') await tenant.startWorker(id, [collect]);
    else await tenant.startPushApp(id, [collect]);
    const events = [1, 2, 3].map((n) => ({ name: id, data: { n, to: 'a' } }));
    const alone = await tenant.client.emit({ name: id, data: { n: 9, to: 'b' } });
    const { ids, runs } = await tenant.client.emit(events, { wait: '30s' });
    const [first, ...others] = runs!;
    expect(first).toMatchObject({ status: 'completed', output: [1, 2, 3] });
    for (const other of others) {
      expect(other).toMatchObject({ status: 'skipped', skipReason: 'batch', joinedRunId: first!.id });
    }
    expect(await tenant.client.runs.get(first!.id)).toMatchObject({ batch: { count: 3, eventIds: ids } });
    const again = await tenant.client.runs.rerun(first!.id);
    expect(await tenant.endedRunsOf(again.eventId)).toMatchObject([
      { status: 'completed', output: [1, 2, 3], rerunOf: first!.id },
    ]);
    const waitingFor = { rule: 'batch', key: 'b', until: expect.any(String) };
    await runOf(alone.ids[0]!, { status: 'queued', waitingFor });
    expect((await tenant.client.functions.queue(id)).groups).toMatchObject([
      { rule: 'batch', key: 'b', runs: 1, events: 1 },
    ]);
  });
});

test('a run that waits for a slot says so, and the queue says who has it', async () => {
  let release = (): void => undefined;
  const isReleased = new Promise<void>((resolve) => (release = resolve));
  const guarded = createFunction(
    { id: 'guarded', triggers: [{ event: 'guarded' }], concurrency: { limit: 1, key: 'event.data.to' } },
    ({ step }) => step.run('work', () => isReleased),
  );
  await tenant.startWorker('guarded', [guarded]);
  const [holder] = (await tenant.client.emit({ name: 'guarded', data: { to: 'a' } })).ids;
  const { id } = await runOf(holder!, { status: 'running' });
  const [next] = (await tenant.client.emit({ name: 'guarded', data: { to: 'a' } })).ids;
  const waiting = await runOf(next!, { status: 'queued' });
  await eventually(async () =>
    expect((await tenant.client.runs.get(waiting.id)).waitingFor).toMatchObject({
      rule: 'concurrency',
      key: 'a',
    }),
  );
  expect(await tenant.client.functions.queue('guarded')).toMatchObject({
    waiting: { concurrency: 1 },
    groups: [{ rule: 'concurrency', key: 'a', runs: 1 }],
    slots: [{ rule: 'concurrency', scope: 'function', key: 'a', inUse: 1, limit: 1, runs: [{ id }] }],
  });
  release();
  for (const eventId of [holder!, next!]) {
    expect(await tenant.endedRunsOf(eventId)).toMatchObject([{ status: 'completed' }]);
  }
  expect(await tenant.client.functions.queue('guarded')).toEqual({
    functionId: 'guarded',
    waiting: {},
    groups: [],
    slots: [],
  });
});

describe('a pause', () => {
  const eventName = 'paused.work';
  beforeAll(async () => {
    const work = createFunction({ id: 'work', triggers: [{ event: eventName }] }, ({ event }) => event.data);
    const napping = createFunction({ id: 'nap', triggers: [{ event: 'nap' }] }, async ({ step }) => {
      await step.sleep('nap', '500ms');
      return 'awake';
    });
    await tenant.startWorker('pausing', [work, napping]);
  });
  const { pause, resume } = {
    pause: {
      function: () => tenant.client.functions.pause('work'),
      environment: () => tenant.client.environment.pause(),
    },
    resume: {
      function: () => tenant.client.functions.resume('work'),
      environment: () => tenant.client.environment.resume(),
    },
  };

  test.each(['function', 'environment'] as const)(
    'of the %s lets runs queue until it is over',
    async (what) => {
      await pause[what]();
      const { ids } = await tenant.client.emit([1, 2].map((data) => ({ name: eventName, data })));
      const waitingFor = { rule: 'paused', since: expect.any(String) };
      for (const id of ids) await runOf(id, { status: 'queued', waitingFor });
      const { queues } = await tenant.client.queues.list();
      expect(queues.find(({ functionId }) => functionId === 'work')).toMatchObject({
        waiting: { paused: 2 },
      });
      await resume[what]();
      for (const [index, id] of ids.entries()) {
        expect(await tenant.endedRunsOf(id)).toMatchObject([{ status: 'completed', output: index + 1 }]);
      }
    },
  );

  test('does not keep what has begun', async () => {
    const { ids } = await tenant.client.emit({ name: 'nap' });
    await runOf(ids[0]!, { status: 'waiting' });
    await tenant.client.environment.pause();
    expect(await tenant.endedRunsOf(ids[0]!)).toMatchObject([{ status: 'completed', output: 'awake' }]);
    await tenant.client.environment.resume();
  });
});

describe('the quota of concurrency', () => {
  test('bounds the activations of all functions together; runs that sleep hold none; without it they go on', async () => {
    const limited = await world.createTenant('quota-of-concurrency', 'prod');
    const operator = createOperatorClient({
      ironflowUrl: world.platform.url,
      operatorKey: world.platform.operatorKey,
    });
    const path = { project: 'quota-of-concurrency', env: 'prod' };
    await operator.tenants.setQuotas(path, { concurrency: 2 });
    let running = 0;
    let most = 0;
    const gate = createGate();
    const define = (id: string) =>
      createFunction({ id, triggers: [{ event: 'work' }] }, async ({ step }) => {
        await step.sleep('a moment', 1);
        return step.run('held', async () => {
          running += 1;
          most = Math.max(most, running);
          await gate.opened;
          running -= 1;
        });
      });
    await limited.startWorker('pull', [define('one')]);
    await limited.startPushApp('push', [define('two')]);
    const { ids } = await limited.client.emit([{ name: 'work' }, { name: 'work' }, { name: 'work' }]);
    await eventually(async () => {
      const { runs } = await limited.client.runs.list();
      expect(runs).toHaveLength(6);
      const waiting = runs.filter(({ waitingFor }) => waitingFor?.rule === 'concurrency');
      expect(waiting).toHaveLength(4);
      expect(waiting[0]!.waitingFor).toMatchObject({ key: 'quota of the environment' });
    });
    expect(await limited.client.quotas.get()).toMatchObject({ concurrency: { limit: 2, isDefault: false } });
    await eventually(async () => expect(running).toBe(2));
    gate.open();
    for (const id of ids) await limited.endedRunsOf(id, 2);
    expect(most).toBe(2);
  }, 60_000);

  test('taken back, it lets go on what waited for it', async () => {
    const limited = await world.createTenant('quota-taken-back', 'prod');
    const operator = createOperatorClient({
      ironflowUrl: world.platform.url,
      operatorKey: world.platform.operatorKey,
    });
    const path = { project: 'quota-taken-back', env: 'prod' };
    await operator.tenants.setQuotas(path, { concurrency: 1 });
    const gate = createGate();
    const hold = createFunction({ id: 'hold', triggers: [{ event: 'work' }] }, () => gate.opened);
    await limited.startWorker('pull', [hold]);
    await limited.client.emit([{ name: 'work' }, { name: 'work' }]);
    const count = async (status: 'queued' | 'running') =>
      (await limited.client.runs.list({ status })).runs.length;
    await eventually(async () => expect([await count('running'), await count('queued')]).toEqual([1, 1]));
    await operator.tenants.setQuotas(path, { concurrency: null });
    await eventually(async () => expect([await count('running'), await count('queued')]).toEqual([2, 0]));
    gate.open();
  }, 60_000);
});

test('a limit that is set beside the code holds for runs that come from then on, and outlives a registration', async () => {
  const limited = await world.createTenant('limit-beside-the-code', 'prod');
  const gate = createGate();
  const hold = createFunction({ id: 'hold', triggers: [{ event: 'work' }] }, () => gate.opened);
  await limited.startWorker('pull', [hold]);
  await limited.client.functions.setLimits('hold', { concurrency: 1 });
  const other = createFunction({ id: 'other', triggers: [{ event: 'never' }] }, () => undefined);
  await limited.startWorker('pull', [hold, other]);
  expect(await limited.client.functions.get('hold')).toMatchObject({ concurrencyLimit: 1 });
  const { ids } = await limited.client.emit([{ name: 'work' }, { name: 'work' }]);
  await eventually(async () => {
    const { runs } = await limited.client.runs.list();
    const waiting = { rule: 'concurrency', key: 'limit of the function' };
    expect(runs.map(({ waitingFor }) => waitingFor)).toContainEqual(expect.objectContaining(waiting));
    expect(runs.filter(({ status }) => status === 'running')).toHaveLength(1);
  });
  await expect(limited.client.functions.setLimits('nobody', { concurrency: 1 })).rejects.toMatchObject({
    code: 'function_not_found',
  });
  gate.open();
  for (const id of ids) await limited.endedRunsOf(id);
}, 60_000);
