import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import {
  admit,
  circuitKey,
  circuitNoticeSchema,
  circuitStateSchema,
  createId,
  defaultCircuitPolicy,
  subjects,
} from '@ironflow/schema';
import type {
  CallOutcome,
  CircuitNotice,
  CircuitPolicy,
  CircuitState,
  JournalMessage,
  RunEntry,
} from '@ironflow/schema';
import { createLogger, createMetrics } from '@ironflow/service';
import type { Metrics } from '@ironflow/service';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import type { NatsServer } from '@ironflow/testing';
import { createCircuitBreaker } from './circuit-breaker.js';

const environments = [
  { environmentId: '0190a000-0000-7000-8000-000000000001', project: 'shop', env: 'prod' },
  { environmentId: '0190a000-0000-7000-8000-000000000002', project: 'bank', env: 'prod' },
] as const;
const [ours, theirs] = environments;
const logger = createLogger({ service: 'circuit-breaker', level: 'silent' });
/** Nobody holds a breaker open; forced-breaker-keeper.integration.test.ts is about that. */
const store = { list: () => Promise.resolve([]), find: () => Promise.resolve(undefined) };

interface Replica {
  jetstream: JetStream;
  metrics: Metrics;
  stop(): Promise<void>;
}

let nats: NatsServer;
/** Publishes as executors do. */
let executor: JetStream;
let replicas: Replica[] = [];
let functionId: string;

beforeAll(async () => {
  nats = await sharedNats();
  executor = await connectJetStream({ url: nats.url, name: 'executor', replicas: 1 });
});
afterEach(async () => {
  await Promise.all(replicas.map((replica) => replica.stop()));
  replicas = [];
});
afterAll(async () => {
  await executor.close();
  await stopSharedServers();
});

async function startReplicas(
  count: number,
  policy: CircuitPolicy = defaultCircuitPolicy,
): Promise<Replica[]> {
  functionId = `charge-${randomBytes(4).toString('hex')}`;
  replicas = await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const jetstream = await connectJetStream({ url: nats.url, name: `breaker-${index}`, replicas: 1 });
      const metrics = createMetrics({ service: 'circuit-breaker' });
      const breaker = createCircuitBreaker({ jetstream, store, logger, metrics, policy });
      await breaker.start();
      const stop = async (): Promise<void> => {
        await breaker.stop();
        await metrics.stop();
        await jetstream.close();
      };
      return { jetstream, metrics, stop };
    }),
  );
  return replicas;
}

const endpoint = 'https://shop.test/api';
type Place = (typeof environments)[number];

async function report(
  call: Partial<CallOutcome> & { succeeded: boolean },
  scope: Place = ours,
  run?: RunEntry,
): Promise<void> {
  const message: JournalMessage = {
    environmentId: scope.environmentId,
    runId: createId(Date.now(), randomBytes(10)),
    functionId,
    prev: 0,
    writer: { activation: 1, delivery: 1, executor: 'executor-1' },
    activatedAtMs: Date.now(),
    entries: [{ type: 'run', run: run ?? { kind: 'completed', served: 1, call: { endpoint, ...call } } }],
  };
  const result = await executor.publisher.publish({
    subject: subjects.journal(scope, message.runId, 'run'),
    data: JSON.stringify(message),
  });
  expect(result.kind).toBe('stored');
}

const keyOf = (scope: Place = ours): string => circuitKey({ ...scope, functionId, endpoint });

async function stateOf(scope: Place = ours): Promise<CircuitState | undefined> {
  const entry = await executor.bucket('SYS_circuit_breakers').get(keyOf(scope));
  return entry === undefined ? undefined : circuitStateSchema.parse(JSON.parse(entry.value));
}

async function stateBecomes(expected: Partial<CircuitState>, scope: Place = ours): Promise<void> {
  await eventually(async () => expect(await stateOf(scope)).toMatchObject(expected), { timeoutMs: 10_000 });
}

async function sumOf(name: string): Promise<number> {
  const scrapes = await Promise.all(replicas.map(({ metrics }) => metrics.render()));
  return scrapes
    .flatMap((scrape) => scrape.split('\n'))
    .filter((line) => line.startsWith(`ironflow_${name}`))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

const outcomesBecome = (count: number): Promise<void> =>
  eventually(async () => expect(await sumOf('circuit_outcomes_total')).toBe(count), { timeoutMs: 15_000 });

async function claimProbe(name: string, policy: CircuitPolicy, nowMs = Date.now()): Promise<boolean> {
  const bucket = executor.bucket('SYS_circuit_breakers');
  const entry = await bucket.get(keyOf());
  if (entry === undefined) return false;
  const state = circuitStateSchema.parse(JSON.parse(entry.value));
  const admission = admit(state, name, policy, nowMs);
  return admission.kind === 'claim' && bucket.update(keyOf(), JSON.stringify(admission.next), entry.revision);
}

test('five failures in a row open a breaker, whichever of two replicas sees which', async () => {
  await startReplicas(2);
  for (let failure = 0; failure < 4; failure += 1) await report({ succeeded: false });
  await stateBecomes({ state: 'closed', consecutiveFailures: 4 });
  await report({ succeeded: false });
  await stateBecomes({ state: 'open', consecutiveFailures: 5 });
  await eventually(async () => expect(await sumOf('circuit_transitions_total')).toBe(1));
  await eventually(async () =>
    // Each replica sees it, also the one that did not write it.
    expect(await sumOf('circuits_not_closed{state="open"')).toBeGreaterThanOrEqual(2),
  );
});

test('a breaker of one environment says nothing about the same function of another', async () => {
  await startReplicas(2);
  for (let failure = 0; failure < 5; failure += 1) await report({ succeeded: false }, ours);
  await report({ succeeded: false }, theirs);
  await stateBecomes({ state: 'open' }, ours);
  await stateBecomes({ state: 'closed', consecutiveFailures: 1 }, theirs);
});

test('failures are each counted once by two replicas that write at the same time', async () => {
  await startReplicas(2, { ...defaultCircuitPolicy, consecutiveFailures: 10_000, minimumCalls: 10_000 });
  // In waves, so that no single pull takes them all.
  for (let wave = 0; wave < 30; wave += 1) {
    await Promise.all(Array.from({ length: 10 }, () => report({ succeeded: false })));
  }
  await outcomesBecome(300);
  expect(await sumOf('circuit_writes_total{result="conflict"')).toBeGreaterThan(0);
  expect(await stateOf()).toMatchObject({ consecutiveFailures: 300, failures: 300, calls: 300 });
});

test('a success resets failures in a row, also those that the other replica saw', async () => {
  await startReplicas(2, { ...defaultCircuitPolicy, minimumCalls: 1_000 });
  let reported = 0;
  for (let round = 1; round <= 6; round += 1) {
    for (let failure = 0; failure < 3; failure += 1) await report({ succeeded: false });
    reported += 3;
    await stateBecomes({ consecutiveFailures: 3 });
    // The replica that gets it may not have heard of the failures yet: calls that succeed go on coming.
    await eventually(async () => {
      reported += 1;
      await report({ succeeded: true });
      expect(await stateOf()).toMatchObject({ state: 'closed', consecutiveFailures: 0 });
    });
    await outcomesBecome(reported);
  }
});

test('successes and entries without a call cost no write', async () => {
  await startReplicas(2);
  const success = (): Promise<void> => report({ succeeded: true });
  await Promise.all([
    ...Array.from({ length: 500 }, success),
    ...Array.from({ length: 50 }, () => report({ succeeded: true }, ours, { kind: 'started' })),
  ]);
  await outcomesBecome(500);
  expect(await stateOf()).toBeUndefined();
  expect(await sumOf('circuit_writes_total')).toBe(0);
});

test('what a function says of its breakers holds, from the call on at which it says so', async () => {
  await startReplicas(2);
  const told: CircuitNotice[] = [];
  const heard = executor.connection.nats.subscribe(`public.${ours.project}.${ours.env}.system.breaker.>`, {
    callback: (_error, message) => {
      told.push(circuitNoticeSchema.parse(message.json()));
    },
  });
  const own = { consecutiveFailures: 3, openMs: 400 };
  for (let failure = 0; failure < 2; failure += 1) await report({ succeeded: false, policy: own });
  await stateBecomes({ state: 'closed', consecutiveFailures: 2 });
  await report({ succeeded: false, policy: own });
  await stateBecomes({ state: 'open', openMs: 400 });
  // Switched off by a registration since: what it had is gone with its next call, and nothing is counted.
  await report({ succeeded: false, policy: { enabled: false } });
  await stateBecomes({ state: 'closed', failures: 0 });
  for (let failure = 0; failure < 20; failure += 1)
    await report({ succeeded: false, policy: { enabled: false } });
  await outcomesBecome(24);
  expect(await stateOf()).toMatchObject({ state: 'closed', failures: 0 });
  const changes = (): string[] =>
    told.filter((notice) => notice.functionId === functionId).map(({ change }) => change);
  await eventually(() => expect(changes()).toEqual(['opened', 'closed']));
  heard.unsubscribe();
});

test('whoever waits is told of a probe that succeeded while it takes another', async () => {
  const policy = { ...defaultCircuitPolicy, openMs: 200, successesToClose: 2 };
  await startReplicas(2, policy);
  const changes: string[] = [];
  const heard = executor.connection.nats.subscribe(`public.${ours.project}.${ours.env}.system.breaker.>`, {
    callback: (_error, message) => {
      const notice = circuitNoticeSchema.parse(message.json());
      if (notice.functionId === functionId) changes.push(notice.change);
    },
  });
  for (let failure = 0; failure < 5; failure += 1) await report({ succeeded: false });
  await stateBecomes({ state: 'open' });
  for (const [probe, state] of [
    [Date.now() + 1_000, { state: 'half_open', successes: 1 }],
    [Date.now() + 2_000, { state: 'closed' }],
  ] as const) {
    expect(await claimProbe('executor-1', policy, probe)).toBe(true);
    await report({ succeeded: true, probe });
    await stateBecomes(state);
  }
  await eventually(() => expect(changes).toEqual(['opened', 'probed', 'closed']));
  heard.unsubscribe();
});

test('one executor of many gets the probe, and its success closes the breaker', async () => {
  const policy = { ...defaultCircuitPolicy, openMs: 200 };
  await startReplicas(2, policy);
  for (let failure = 0; failure < 5; failure += 1) await report({ succeeded: false });
  await stateBecomes({ state: 'open' });
  const names = Array.from({ length: 10 }, (_, index) => `executor-${index}`);
  expect(await claimProbe('early', policy, Date.now() - 10_000)).toBe(false);
  const nowMs = Date.now() + policy.openMs;
  const claims = await Promise.all(names.map((name) => claimProbe(name, policy, nowMs)));
  expect(claims.filter(Boolean)).toHaveLength(1);
  await stateBecomes({ state: 'half_open' });
  // A call that was let through before it opened ends late.
  await report({ succeeded: true });
  await report({ succeeded: true, probe: nowMs });
  await stateBecomes({ state: 'closed', consecutiveFailures: 0, failures: 0 });
});

test('a probe that fails opens the breaker again', async () => {
  const policy = { ...defaultCircuitPolicy, openMs: 200 };
  await startReplicas(2, policy);
  for (let failure = 0; failure < 5; failure += 1) await report({ succeeded: false });
  await stateBecomes({ state: 'open' });
  const first = (await stateOf())!.openedAtMs!;
  const nowMs = Date.now() + policy.openMs;
  expect(await claimProbe('executor-1', policy, nowMs)).toBe(true);
  await report({ succeeded: false, probe: nowMs });
  await eventually(async () => expect((await stateOf())!.openedAtMs!).toBeGreaterThan(first));
  expect(await stateOf()).toMatchObject({ state: 'open', successes: 0 });
});

test('after NATS lost everything, breakers are counted anew without a restart', async () => {
  await startReplicas(2);
  for (let failure = 0; failure < 5; failure += 1) await report({ succeeded: false });
  await stateBecomes({ state: 'open' });
  await nats.restart({ wipe: true });
  await eventually(
    async () => {
      await executor.provisioner.ensure();
      await report({ succeeded: false });
    },
    { timeoutMs: 15_000, intervalMs: 100 },
  );
  await stateBecomes({ state: 'closed' });
  for (let failure = 0; failure < 5; failure += 1) await report({ succeeded: false });
  await stateBecomes({ state: 'open' });
}, 60_000);

test('a replica that is stopped and started over and over loses no outcome', async () => {
  const policy = { ...defaultCircuitPolicy, consecutiveFailures: 10_000, minimumCalls: 10_000 };
  await startReplicas(1, policy);
  const reports = Promise.all(Array.from({ length: 100 }, () => report({ succeeded: false })));
  for (let round = 0; round < 10; round += 1) {
    const jetstream = await connectJetStream({ url: nats.url, name: 'restarted', replicas: 1 });
    const metrics = createMetrics({ service: 'circuit-breaker' });
    const breaker = createCircuitBreaker({ jetstream, store, logger, metrics, policy });
    await breaker.start();
    await breaker.stop();
    await metrics.stop();
    await jetstream.close();
  }
  await reports;
  await eventually(async () => expect((await stateOf())?.failures).toBeGreaterThanOrEqual(100), {
    timeoutMs: 20_000,
  });
}, 60_000);
