import { beforeAll, describe, expect, test } from '@jest/globals';
import { registerApp } from '@ironflow/database';
import { connectJetStream } from '@ironflow/jetstream';
import {
  appManifestSchema,
  circuitKey,
  circuitStateSchema,
  closedCircuit,
  defaultCircuitPolicy,
  forcedOpen,
} from '@ironflow/schema';
import type { CircuitState } from '@ironflow/schema';
import { createLogger } from '@ironflow/service';
import { eventually } from '@ironflow/testing';
import { createCircuitGate } from './circuit-gate.js';
import { completed, end, record } from './testing/raw-worker.js';
import { answer, done, patience, useWorld } from './testing/suite.js';
import type { RunHandle, World } from './testing/world.js';

const logger = createLogger({ service: 'executor', level: 'silent' });
/** What a busy machine takes comes on top. */
const obeyWithin = { timeoutMs: 5_000 };
const suite = useWorld();
const { connect, createApp, ended, open, start } = suite;
let world: World;
beforeAll(() => {
  world = suite.world();
});

const policy = { ...defaultCircuitPolicy, openMs: 60_000 };
const partsOf = (run: RunHandle, endpoint: string) => ({
  environmentId: run.scope.environmentId,
  functionId: run.functionId,
  endpoint,
});

async function openSince(run: RunHandle, endpoint: string, openedAtMs: number): Promise<CircuitState> {
  const of = partsOf(run, endpoint);
  const state: CircuitState = {
    ...of,
    state: 'open',
    consecutiveFailures: 5,
    windowStartedAtMs: openedAtMs,
    calls: 5,
    failures: 5,
    openedAtMs,
    successes: 0,
  };
  await world.jetstream.bucket('SYS_circuit_breakers').put(circuitKey(of), JSON.stringify(state));
  return state;
}

async function stateOf(run: RunHandle, endpoint: string): Promise<CircuitState> {
  const key = circuitKey(partsOf(run, endpoint));
  const entry = await world.jetstream.bucket('SYS_circuit_breakers').get(key);
  return circuitStateSchema.parse(JSON.parse(entry!.value));
}

describe('an open circuit', () => {
  test('puts the run off and uses no attempt', async () => {
    const endpoint = await open(answer(done));
    const run = await suite.createPushRun(endpoint.url);
    await openSince(run, endpoint.url, Date.now());
    await start({ circuitPolicy: policy });
    await world.activate(run);
    expect(await ended(run)).toMatchObject([
      { run: { kind: 'deferred', served: 1, reason: 'circuit_open' } },
    ]);
    expect(endpoint.calls).toHaveLength(0);
  });

  test('whose time is over lets one probe of two executors through', async () => {
    const endpoint = await open(answer(done));
    const first = await suite.createPushRun(endpoint.url);
    const runs = [first];
    for (let count = 1; count < 8; count += 1) runs.push(await world.createRun(first));
    await openSince(first, endpoint.url, Date.now() - 61_000);
    await start({ circuitPolicy: policy, pushConcurrency: 4 });
    await start({ circuitPolicy: policy, pushConcurrency: 4 });
    await Promise.all(runs.map((run) => world.activate(run)));
    const ends = (await Promise.all(runs.map(ended))).map((entries) => entries.at(-1));
    expect(ends.filter((entry) => entry?.type === 'run' && entry.run.kind === 'completed')).toMatchObject([
      { run: { call: { probe: expect.any(Number) } } },
    ]);
    expect(ends.filter((entry) => entry?.type === 'run' && entry.run.kind === 'deferred')).toHaveLength(7);
    expect(endpoint.calls).toHaveLength(1);
  });
});

describe('a breaker that an operator', () => {
  test('forced open is obeyed by every executor within a second, and lets no probe through', async () => {
    const endpoint = await open(answer(done));
    const run = await suite.createPushRun(endpoint.url);
    const of = partsOf(run, endpoint.url);
    const bucket = world.jetstream.bucket('SYS_circuit_breakers');
    const gates = await Promise.all(
      ['executor-1', 'executor-2', 'executor-3', 'executor-4'].map(async (executor) => {
        const jetstream = await connectJetStream({ url: world.nats.url, name: executor, replicas: 1 });
        const now = (): number => Date.now();
        const own = jetstream.bucket('SYS_circuit_breakers');
        const gate = createCircuitGate({ bucket: own, executor, policy, logger, now, random: () => 0 });
        await gate.start();
        suite.undo(async () => {
          gate.stop();
          await jetstream.close();
        });
        return gate;
      }),
    );
    const answers = async (): Promise<string[]> =>
      (await Promise.all(gates.map((gate) => gate.admit(of)))).map(({ kind }) => kind);
    expect(await answers()).toEqual(Array(4).fill('call'));
    // Long ago: one that opened by itself would have its probe now.
    const forced = forcedOpen(undefined, of, { sinceMs: Date.now() - 86_400_000 });
    await bucket.put(circuitKey(of), JSON.stringify(forced));
    await eventually(async () => expect(await answers()).toEqual(Array(4).fill('wait')), obeyWithin);
    // Nobody waits for a probe that one of them has claimed.
    expect(await stateOf(run, endpoint.url)).toEqual(forced);
    await bucket.put(circuitKey(of), JSON.stringify(closedCircuit(of, Date.now())));
    await eventually(async () => expect(await answers()).toEqual(Array(4).fill('call')), obeyWithin);
  });

  test('did not force open keeps nobody from a function that has switched its breakers off', async () => {
    const endpoint = await open(answer(done));
    const run = await suite.createPushRun(endpoint.url);
    const manifest = appManifestSchema.parse({
      ...{ id: run.appId, mode: 'push', url: endpoint.url },
      functions: [{ id: run.functionId, triggers: [], circuitBreaker: { enabled: false } }],
    });
    await openSince(run, endpoint.url, Date.now());
    await start({ circuitPolicy: policy });
    // Registered after the run was made: what its function says now holds.
    await registerApp(world.database, run.scope.environmentId, manifest);
    await world.activate(run);
    expect((await ended(run)).at(-1)).toMatchObject({
      run: { kind: 'completed', call: { succeeded: true, policy: { enabled: false } } },
    });
    expect(endpoint.calls).toHaveLength(1);
  });
});

describe('the one probe of a breaker', () => {
  test.each([
    [
      'declines',
      (given: Parameters<typeof end>[0]) => end(given, { kind: 'declined', reason: 'function_not_found' }),
    ],
    ['returns what cannot be stored', (given: Parameters<typeof end>[0]) => record(given, 0, noJson)],
  ])('is given back when its worker %s: nobody will report it', async (_what, say) => {
    const appId = await createApp();
    const run = await suite.createPullRun(appId);
    const open = await openSince(run, 'worker', Date.now() - 61_000);
    const executor = await start({ circuitPolicy: policy });
    const worker = await connect(executor, appId);
    await world.activate(run);
    const given = await worker.next('activate');
    expect(await stateOf(run, 'worker')).toMatchObject({ state: 'half_open' });
    worker.send(say(given));
    await ended(run);
    await eventually(async () => expect(await stateOf(run, 'worker')).toEqual(open), patience);
  });
});

/** Less than an output may have, and more than a message holds once its characters are escaped. */
const noJson = completed('big', 'x'.repeat(100_000));
