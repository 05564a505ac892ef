/** Flow control from an event to the function's own start, with a worker and an endpoint. Rules are shown exactly in the scheduler's own tests. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

let world: PlatformUnderTest;
let tenant: Tenant;
/** What the functions saw, outside of the platform. */
const active = new Map<string, number>();
const most = new Map<string, number>();
const startedAtMs = new Map<string, number[]>();
const seen = new Map<string, unknown[]>();

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  await tenant.startWorker('pull-app', functions('pull'));
  await tenant.startPushApp('push-app', functions('push'));
}, 60_000);
afterAll(() => world?.stop(), 30_000);

function functions(mode: string): IronflowFunction[] {
  const config = (id: string) => ({ id: `${mode}-${id}`, triggers: [{ event: `${mode}.${id}` }] });
  const note = (id: string, what: unknown): void => {
    seen.set(`${mode}-${id}`, [...(seen.get(`${mode}-${id}`) ?? []), what]);
    startedAtMs.set(`${mode}-${id}`, [...(startedAtMs.get(`${mode}-${id}`) ?? []), performance.now()]);
  };
  const count = (name: string, by: number): void => {
    const now = (active.get(name) ?? 0) + by;
    active.set(name, now);
    most.set(name, Math.max(most.get(name) ?? 0, now));
  };
  return [
    createFunction(
      { ...config('limited'), concurrency: { limit: 2, key: 'event.data.key' } },
      async ({ event, step }) => {
        const name = `${mode} ${(event.data as { key: string }).key}`;
        await step.run('at work', async () => {
          count(name, 1);
          await new Promise((resolve) => setImmediate(resolve));
          count(name, -1);
        });
        // Nobody waits for its slot meanwhile.
        await step.sleep('rest', '20ms');
      },
    ),
    createFunction({ ...config('throttled'), throttle: { limit: 20, period: '1s' } }, ({ event }) =>
      note('throttled', event.data),
    ),
    createFunction({ ...config('rated'), rateLimit: { limit: 5, period: '1h', burst: 3 } }, ({ event }) =>
      note('rated', event.data),
    ),
    createFunction({ ...config('debounced'), debounce: { period: '200ms' } }, ({ event }) =>
      note('debounced', event.data),
    ),
    createFunction({ ...config('single'), singleton: { mode: 'skip' } }, ({ step }) =>
      step.sleep('a while', '500ms'),
    ),
    createFunction({ ...config('latest'), singleton: { mode: 'cancel' } }, ({ step }) =>
      step.sleep('a while', '1s'),
    ),
    createFunction(
      { id: `${mode}-nightly`, triggers: [{ cron: '0 3 1 1 *', id: 'nightly', overlap: 'skip' }] },
      ({ step }) => step.sleep('a while', '500ms'),
    ),
    createFunction({ ...config('once'), idempotency: 'event.data.id' }, () => 1),
    createFunction(
      { ...config('urgent'), concurrency: 1, priority: 'event.data.seconds' },
      async ({ event, step }) => {
        note('urgent', (event.data as { seconds: number }).seconds);
        if ((event.data as { seconds: number }).seconds === 600) await step.waitForSignal('go on');
      },
    ),
  ];
}

async function endsOf(id: string, runs: number): Promise<string[]> {
  let ends: string[] = [];
  await eventually(
    async () => {
      const page = await tenant.client.runs.list({ function: id, limit: 200 });
      ends = page.runs.map(({ status, skipReason }) =>
        skipReason === undefined ? status : `${status}: ${skipReason}`,
      );
      expect(ends).toHaveLength(runs);
      expect(page.runs.filter(({ endedAt }) => endedAt === undefined)).toEqual([]);
    },
    { timeoutMs: 30_000 },
  );
  return ends.sort();
}

const many = (name: string, count: number, data: (index: number) => unknown) =>
  tenant.client.emit(Array.from({ length: count }, (_, index) => ({ name, data: data(index) })));

describe.each(['pull', 'push'])('in %s mode', (mode) => {
  test('no key has more runs at work than its limit, those that sleep hold no slot, and all end', async () => {
    await many(`${mode}.limited`, 60, (index) => ({ key: `k${index % 3}` }));
    expect(new Set(await endsOf(`${mode}-limited`, 60))).toEqual(new Set(['completed']));
    for (const key of ['k0', 'k1', 'k2']) expect(most.get(`${mode} ${key}`)).toBeLessThanOrEqual(2);
    const { slots } = await tenant.client.functions.queue(`${mode}-limited`);
    expect(slots).toEqual([]);
  }, 60_000);

  test('a throttle lets all begin, and no faster than it says', async () => {
    await many(`${mode}.throttled`, 30, (index) => index);
    await endsOf(`${mode}-throttled`, 30);
    expect(new Set(seen.get(`${mode}-throttled`))).toEqual(
      new Set(Array.from({ length: 30 }, (_, index) => index)),
    );
    // However slow the machine is, they do not come faster: 30 of them, of which one may come at once.
    const starts = startedAtMs.get(`${mode}-throttled`)!;
    expect(starts.at(-1)! - starts[0]!).toBeGreaterThan(1_200);
  }, 60_000);

  test('a rate limit, a singleton and an idempotency key skip what is beyond, and say so', async () => {
    await many(`${mode}.rated`, 6, (index) => index);
    await many(`${mode}.single`, 3, () => null);
    await many(`${mode}.once`, 3, () => ({ id: 'x' }));
    await many(`${mode}.once`, 2, () => ({}));
    const skipped = (count: number, reason: string) => Array<string>(count).fill(`skipped: ${reason}`);
    const completed = (count: number) => Array<string>(count).fill('completed');
    expect(await endsOf(`${mode}-rated`, 6)).toEqual([...completed(3), ...skipped(3, 'rate_limit')]);
    expect(seen.get(`${mode}-rated`)).toEqual([0, 1, 2]);
    expect(await endsOf(`${mode}-single`, 3)).toEqual([...completed(1), ...skipped(2, 'singleton')]);
    expect(await endsOf(`${mode}-once`, 5)).toEqual([...completed(3), ...skipped(2, 'idempotency')]);
  }, 60_000);

  test('a debounce runs the last event, and the others say for which run they were skipped', async () => {
    await many(`${mode}.debounced`, 5, (index) => index);
    expect(await endsOf(`${mode}-debounced`, 5)).toEqual([
      'completed',
      ...Array<string>(4).fill('skipped: debounce'),
    ]);
    expect(seen.get(`${mode}-debounced`)).toEqual([4]);
    const { runs } = await tenant.client.runs.list({ function: `${mode}-debounced` });
    const ids = new Set(runs.map(({ id }) => id));
    for (const { status, joinedRunId } of runs) {
      expect(status === 'completed' ? undefined : ids.has(joinedRunId!)).not.toBe(false);
    }
  }, 60_000);

  test('a singleton that cancels stops the run under way and begins after it', async () => {
    await many(`${mode}.latest`, 1, () => 1);
    await eventually(async () =>
      expect((await tenant.client.runs.list({ function: `${mode}-latest` })).runs[0]?.status).toBe('waiting'),
    );
    await many(`${mode}.latest`, 1, () => 2);
    expect(await endsOf(`${mode}-latest`, 2)).toEqual(['cancelled', 'completed']);
  }, 60_000);

  test('a schedule whose times may not overlap skips those that would', async () => {
    await tenant.client.schedules.trigger(`${mode}-nightly.nightly`);
    await tenant.client.schedules.trigger(`${mode}-nightly.nightly`);
    expect(await endsOf(`${mode}-nightly`, 2)).toEqual(['completed', 'skipped: schedule_overlap']);
  }, 60_000);

  test('of those that wait, the one of the highest priority goes first', async () => {
    await many(`${mode}.urgent`, 1, () => ({ seconds: 600 }));
    await eventually(() => expect(seen.get(`${mode}-urgent`)).toHaveLength(1));
    await tenant.client.environment.pause();
    await many(`${mode}.urgent`, 4, (index) => ({ seconds: index * 100 }));
    await tenant.client.environment.resume();
    const [first] = (await tenant.client.runs.list({ function: `${mode}-urgent`, status: 'waiting' })).runs;
    await tenant.client.signal(first!.id, 'go on');
    await endsOf(`${mode}-urgent`, 5);
    expect(seen.get(`${mode}-urgent`)!.filter((seconds) => seconds !== 600)).toEqual([300, 200, 100, 0]);
  }, 60_000);
});
