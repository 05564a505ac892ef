import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import { circuitKey } from '@ironflow/schema';
import type { CircuitState } from '@ironflow/schema';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
const called: string[] = [];

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
}, 60_000);
afterAll(() => world?.stop(), 30_000);

const eventOf = (id: string): string => id.replaceAll('-', '.');

function declare(id: string, startDeadline: `${number}ms` | `${number}h`): IronflowFunction {
  return createFunction({ id, triggers: [{ event: eventOf(id) }], startDeadline }, async ({ run, step }) => {
    called.push(run.id);
    await step.sleep('nap', 600);
    return step.run('work', () => 'done');
  });
}

const skipped = { status: 'skipped', skipReason: 'start_deadline', steps: [] };

async function expectSkipped(id: string): Promise<void> {
  const answer = await tenant.client.emit({ name: eventOf(id) }, { wait: '30s' });
  expect(answer.runs).toMatchObject([{ status: 'skipped' }]);
  const run = await tenant.ended(answer.runs![0]!.id);
  expect(run).toMatchObject(skipped);
  expect(run.startedAt).toBeUndefined();
  expect(called).not.toContain(run.id);
  expect(await world.query('select 1 from timers where run_id = $1', [run.id])).toEqual([]);
  expect(await world.query('select 1 from dead_letters where run_id = $1', [run.id])).toEqual([]);
}

describe('a run of a pull app', () => {
  test('is skipped if no worker comes in time, for whoever waits for it too', async () => {
    const worker = await tenant.startWorker('pull-late', [declare('pull-late', '300ms')]);
    await worker.stop();
    await expectSkipped('pull-late');
    const invoker = createFunction({ id: 'invoker', triggers: [{ event: 'invoker' }] }, ({ step }) =>
      step.invoke('late', { function: 'pull-late', data: null }),
    );
    await tenant.startPushApp('invoker', [invoker]);
    const answer = await tenant.client.emit({ name: 'invoker' }, { wait: '30s' });
    const [invoking] = answer.runs!;
    expect((await tenant.ended(invoking!.id)).steps).toMatchObject([
      { id: 'late', status: 'failed', error: { name: 'InvokedRunEnded' } },
    ]);
  });

  test('runs if a worker comes in time, and its deadline means nothing from then on', async () => {
    const functions = [declare('pull-in-time', '1h')];
    const first = await tenant.startWorker('pull-in-time', functions);
    await first.stop();
    const { ids } = await tenant.client.emit({ name: eventOf('pull-in-time') });
    await eventually(async () => {
      const { runs } = await tenant.client.runs.list({ event: ids[0]! });
      expect(runs).toMatchObject([{ status: 'waiting_for_worker' }]);
    });
    await tenant.startWorker('pull-in-time', functions);
    const [run] = await tenant.endedRunsOf(ids[0]!);
    expect(run).toMatchObject({ status: 'completed', output: 'done' });
    expect(await world.query('select 1 from timers where run_id = $1', [run!.id])).toEqual([]);
  });
});

describe('a run of a push app', () => {
  test('that begins in time goes on past its deadline', async () => {
    await tenant.startPushApp('push-in-time', [declare('push-in-time', '500ms')]);
    const answer = await tenant.client.emit({ name: eventOf('push-in-time') }, { wait: '30s' });
    expect(answer.runs).toMatchObject([{ status: 'completed', output: 'done' }]);
  });

  test('is skipped if its endpoint’s breaker stays open', async () => {
    const app = await tenant.startPushApp('push-late', [declare('push-late', '300ms')]);
    const jetstream = await connectJetStream({
      url: world.platform.servers.natsUrl,
      name: 'end-to-end',
      replicas: 1,
    });
    try {
      const of = { environmentId: tenant.environmentId, functionId: 'push-late', endpoint: app.url };
      const nowMs = Date.now();
      const counted = {
        consecutiveFailures: 5,
        windowStartedAtMs: nowMs,
        calls: 5,
        failures: 5,
        successes: 0,
      };
      const open: CircuitState = { ...of, ...counted, state: 'open', openedAtMs: nowMs };
      await jetstream.bucket('SYS_circuit_breakers').put(circuitKey(of), JSON.stringify(open));
      await expectSkipped('push-late');
    } finally {
      await jetstream.close();
    }
    expect(app.calls).toEqual([]);
  });
});
