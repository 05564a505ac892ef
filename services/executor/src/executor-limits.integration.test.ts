import { beforeAll, describe, expect, test } from '@jest/globals';
import { consumers, limits, subjects } from '@ironflow/schema';
import type { JournalEntry } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { completed, end, record } from './testing/raw-worker.js';
import { answer, done, patience, stepIds, useWorld } from './testing/suite.js';
import type { RunHandle, World } from './testing/world.js';

const suite = useWorld();
const { connect, createApp, ended, open, start } = suite;
let world: World;
beforeAll(() => {
  world = suite.world();
});

const outputBytes = 500_000;
const large = (id: string) => completed(id, `"${'x'.repeat(outputBytes - 2)}"`);
const stepsThatFit = Math.floor(limits.runMemoBytesMax / outputBytes);

describe('a run whose steps returned more than a run may have', () => {
  const tooLarge = { run: { kind: 'failed', served: 1, error: { name: 'memo_too_large' } } };

  test('fails with the record that goes beyond, and nothing of it counts afterwards', async () => {
    const appId = await createApp();
    const executor = await start();
    const worker = await connect(executor, appId);
    const run = await suite.activated(appId);
    const given = await worker.next('activate');
    for (let index = 0; index < stepsThatFit; index += 1) {
      worker.send(record(given, index, large(`s${index}`)));
      await worker.next('recorded', index, 20_000);
    }
    worker.send(record(given, stepsThatFit, large('beyond')), end(given));
    expect(await worker.next('abort')).toMatchObject({ runId: run.runId });
    const entries = await ended(run);
    expect(stepIds(entries)).toHaveLength(stepsThatFit);
    expect(entries.at(-1)).toMatchObject(tooLarge);
    expect(JSON.stringify(entries.at(-1))).toContain(String(limits.runMemoBytesMax));
  }, 60_000);

  test('fails before the next call when it comes from Postgres', async () => {
    const endpoint = await open(answer(done));
    const run = await suite.createPushRun(endpoint.url);
    for (let index = 0; index <= stepsThatFit; index += 1) {
      const steps = [large(`s${index}`)];
      await world.accept(run, { prev: index, journalSeq: index + 1, status: 'running', steps });
    }
    await start();
    await world.activate(run);
    expect(await ended(run)).toMatchObject([tooLarge]);
    expect(endpoint.calls).toHaveLength(0);
  }, 60_000);
});

describe('a run whose calls take their executor down', () => {
  /** Delivered and put back, as executors do that are killed or have no room; none of it called the function. */
  async function putBack(run: RunHandle, times: number): Promise<void> {
    const deliveries: number[] = [];
    const consumer = world.jetstream.consume(consumers.pushExecutor, {
      capacity: () => 1,
      onDelivery: (delivery) => {
        if (delivery.subject === subjects.activation(run.scope, run)) deliveries.push(delivery.deliveryCount);
        delivery.nak(deliveries.length < times ? undefined : 100);
        if (deliveries.length >= times) consumer.stop();
      },
    });
    await eventually(() => expect(deliveries.length).toBeGreaterThanOrEqual(times), patience);
  }
  const started = (calls: number): JournalEntry => ({ type: 'run', run: { kind: 'started', calls } });

  async function leaveMark(run: RunHandle, activation: number, calls: number): Promise<void> {
    const result = await world.jetstream.journal.append({
      scope: run.scope,
      message: {
        ...{ environmentId: run.scope.environmentId, runId: run.runId, functionId: run.functionId },
        ...{ prev: 0, writer: { activation, delivery: 1, executor: 'killed' }, activatedAtMs: 1 },
        entries: [started(calls)],
      },
      expectedSequence: 0,
      counter: 1,
    });
    expect(result.kind).toBe('appended');
  }

  test('marks each call before it is made once it was delivered often; put back however often, it has none', async () => {
    let seen: JournalEntry[] = [];
    const endpoint = await open((_request, response) => {
      void world.entries(run).then((entries) => {
        seen = entries;
        response.end(JSON.stringify(done));
      });
    });
    const run = await suite.createPushRun(endpoint.url);
    await world.activate(run);
    await putBack(run, 30);
    await start();
    expect(await ended(run)).toMatchObject([started(1), { run: { kind: 'completed' } }]);
    expect(seen).toEqual([started(1)]);
  });

  test('is called as long as fewer calls than the limit left no record, and fails after that', async () => {
    const endpoint = await open(answer(done));
    const [last, exhausted] = [
      await suite.createPushRun(endpoint.url),
      await suite.createPushRun(endpoint.url),
    ];
    await leaveMark(last, await world.activate(last), 19);
    await leaveMark(exhausted, await world.activate(exhausted), 20);
    await start();
    expect((await ended(last)).slice(1)).toMatchObject([started(20), { run: { kind: 'completed' } }]);
    expect((await ended(exhausted)).at(-1)).toMatchObject({
      run: { kind: 'failed', served: 1, error: { name: 'delivery_exhausted' } },
    });
    expect(endpoint.calls).toHaveLength(1);
  });
});
