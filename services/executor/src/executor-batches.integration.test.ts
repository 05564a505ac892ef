import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { createIngestStore } from '@ironflow/database';
import { createId, limits } from '@ironflow/schema';
import { createFunction, createWorker, serve } from '@ironflow/sdk';
import { useWorld } from './testing/suite.js';
import type { RunHandle, World } from './testing/world.js';

const suite = useWorld();
const { ended, open, start, undo } = suite;
let world: World;
beforeAll(() => {
  world = suite.world();
});

const summing = createFunction(
  { id: 'sum', triggers: [{ event: 'test.happened' }], batch: { maxSize: 1_000, timeout: '1s' } },
  async ({ event, events, step }) => {
    const first = await step.run('first', () => (event.data as { n: number }).n);
    const ns = await step.run('all', () => events.map(({ data }) => (data as { n: number }).n));
    return { first, ns, isFirst: events[0] === event };
  },
);

/** Of as many bytes as a batch may have, of what doubles as text within JSON. */
const count = 8;
const text = '"'.repeat(limits.batchBytesMax / count / 2 - 100);

/** A run with these events, as the decision pass leaves it. */
async function createBatch(mode: RunHandle['mode'], appId: string): Promise<RunHandle> {
  const { scope } = world.ours;
  const run = await world.createRun({ scope, appId, functionId: 'sum', mode }, { n: 0, text });
  const later = Array.from({ length: count - 1 }, (_, index) => ({
    id: createId(Date.now(), randomBytes(10)),
    name: 'test.happened',
    data: JSON.stringify({ n: index + 1, text }),
    source: 'http' as const,
  }));
  await createIngestStore(world.database).storeEvents(scope.environmentId, later);
  await world.database.transaction(async (transaction) => {
    const limited = { name: 'test_limit', text: 'update runs set limited = true where id = $1' };
    await transaction.query(limited, [run.runId]);
    const joined = {
      name: 'test_join',
      text: `insert into run_events (run_id, place, environment_id, event_id)
        select $1, e.place - 1, $2, e.id from unnest($3::uuid[]) with ordinality as e (id, place)`,
    };
    const ids = [run.eventId, ...later.map(({ id }) => id)];
    await transaction.query(joined, [run.runId, scope.environmentId, ids]);
  });
  return run;
}

const summed = JSON.stringify({ first: 0, ns: Array.from({ length: count }, (_, n) => n), isFirst: true });

describe('a batch of the largest size is given whole, at every call,', () => {
  test('to a worker', async () => {
    const executor = await start();
    const { apiKey } = world.ours;
    const options = { ironflowUrl: executor.url, apiKey, handleSignals: false, log: () => {} };
    const worker = createWorker({ app: 'pulled', functions: [summing], ...options });
    await worker.start();
    undo(() => worker.stop({ timeoutMs: 0 }));
    const run = await createBatch('pull', 'pulled');
    await world.activate(run);
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'completed', output: summed } });
  }, 60_000);

  test('to an endpoint', async () => {
    const { scope, signingKey } = world.ours;
    const handler = serve({ app: 'pushed', functions: [summing], signingKey, log: () => {} });
    const endpoint = await open((request, response) => handler.node(request, response));
    await world.register(scope, { id: 'other', url: endpoint.url }, { other: {} });
    const run = await createBatch('push', 'other');
    await start();
    await world.activate(run);
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'completed', output: summed } });
    expect(endpoint.calls.length).toBeGreaterThan(1);
  }, 60_000);
});
