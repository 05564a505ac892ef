import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { connectJetStream } from '@ironflow/jetstream';
import type { JetStream } from '@ironflow/jetstream';
import { circuitKey, circuitStateSchema, defaultCircuitPolicy, foldOutcomes, limits } from '@ironflow/schema';
import type { CircuitState } from '@ironflow/schema';
import { createLogger, createMetrics, createSpanRecorder } from '@ironflow/service';
import { eventually, sharedNats, stopSharedServers } from '@ironflow/testing';
import { createCallAdmission } from './call-admission.js';
import { createCircuitGate } from './circuit-gate.js';
import type { CircuitGate } from './circuit-gate.js';
import { createExecutorMetrics } from './executor-metrics.js';
import { createPullDriver } from './pull-driver.js';
import { createSettlement } from './settlement.js';
import { createFakeRun } from './testing/fake-run.js';

const nowMs = Date.UTC(2030, 0, 1);
const logger = createLogger({ service: 'executor', level: 'silent' });
const endpoint = 'worker';
let jetstream: JetStream;
const gates: CircuitGate[] = [];
beforeAll(async () => {
  jetstream = await connectJetStream({ url: (await sharedNats()).url, name: 'test', replicas: 1 });
});
afterEach(() => gates.splice(0).forEach((gate) => gate.stop()));
afterAll(async () => {
  await jetstream.close();
  await stopSharedServers();
});

/** A breaker that has been open long enough, and an executor that has seen it. */
async function setup() {
  const of = { environmentId: randomUUID(), functionId: 'f', endpoint };
  const open: CircuitState = {
    ...{ ...of, state: 'open', consecutiveFailures: 5, calls: 5, failures: 5, successes: 0 },
    ...{ windowStartedAtMs: nowMs - 70_000, openedAtMs: nowMs - 61_000 },
  };
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  await bucket.put(circuitKey(of), JSON.stringify(open));
  let aheadMs = 0;
  let random = 0;
  const startGate = async (executor: string): Promise<CircuitGate> => {
    const now = (): number => nowMs + aheadMs;
    const policy = defaultCircuitPolicy;
    const gate = createCircuitGate({ bucket, executor, policy, logger, now, random: () => random });
    await gate.start();
    gates.push(gate);
    // What the bucket has is told while it starts, and read after that.
    await bucket.get(circuitKey(of));
    return gate;
  };
  const circuits = await startGate('executor-1');
  const spans = createSpanRecorder({ service: 'executor' });
  const metrics = createExecutorMetrics(createMetrics({ service: 'executor' }));
  const settlement = createSettlement({ spans, metrics, now: () => nowMs, random: () => 0 });
  const state = async (): Promise<CircuitState> =>
    circuitStateSchema.parse(JSON.parse((await bucket.get(circuitKey(of)))!.value));
  const scope = { environmentId: of.environmentId, project: 'p', env: 'e' };
  return {
    of,
    open,
    circuits,
    startGate,
    setRandom: (value: number) => (random = value),
    advance: (ms: number): number => nowMs + (aheadMs += ms),
    admission: createCallAdmission({ circuits, settlement }),
    state,
    scope,
  };
}

test('a probe that was given back is claimed by the next executor at once', async () => {
  const { of, open, circuits, startGate, state } = await setup();
  const other = await startGate('executor-2');
  const admitted = await circuits.admit(of);
  expect(admitted).toEqual({ kind: 'call', probe: nowMs });
  await circuits.giveBack(of, nowMs - 1);
  expect(await state()).toMatchObject({ state: 'half_open', probe: { executor: 'executor-1' } });
  await circuits.giveBack(of, nowMs);
  expect(await state()).toEqual(open);
  expect(await circuits.admit(of)).toEqual({ kind: 'call', probe: nowMs });
  expect((await other.admit(of)).kind).toBe('wait');
});

test.each([
  ['that nobody reports', false],
  ['that fails to be driven', true],
])('the probe of a call %s is given back', async (_what, throws) => {
  const { admission, open, state, scope } = await setup();
  const driven = admission(createFakeRun({ scope }), { endpoint }, async (probe) => {
    expect(probe).toBe(nowMs);
    expect((await state()).state).toBe('half_open');
    if (throws) throw new Error('Postgres is away');
    return 'restart';
  });
  if (throws) await expect(driven).rejects.toThrow('away');
  else expect(await driven).toBe('restart');
  expect(await state()).toEqual(open);
});

test('nobody claims another probe as long as the call of the first is under way, and its success closes', async () => {
  const { admission, of, startGate, advance, state, scope } = await setup();
  const other = await startGate('executor-2');
  const run = createFakeRun({ scope });
  let beat = (): void => undefined;
  run.lease.onBeat = (listener) => (beat = listener);
  let settled: CircuitState | undefined;
  await admission(run, { endpoint }, async (probe) => {
    for (let beats = 1; beats <= 10; beats += 1) {
      const now = advance(30_000);
      await eventually(async () => {
        beat();
        expect((await state()).probe!.seenAtMs).toBe(now);
      });
      expect((await other.admit(of)).kind).toBe('wait');
    }
    run.callReported = true;
    settled = foldOutcomes(await state(), of, [{ succeeded: true, probe }], defaultCircuitPolicy, nowMs);
    return 'over';
  });
  expect(settled!.state).toBe('closed');
  // Nothing is heard of the executor any more.
  advance(61_000);
  expect(await other.admit(of)).toMatchObject({ kind: 'call', probe: expect.any(Number) });
});

test('runs that are put off together are not looked at again together', async () => {
  const { circuits, of, setRandom } = await setup();
  await circuits.admit(of);
  const { probeTimeoutMs } = defaultCircuitPolicy;
  expect(await circuits.admit(of)).toEqual({ kind: 'wait', inMs: probeTimeoutMs });
  setRandom(0.5);
  expect(await circuits.admit(of)).toEqual({ kind: 'wait', inMs: 1.05 * probeTimeoutMs });
});

test('the probe of a call that was reported is left for its outcome', async () => {
  const { admission, state, scope } = await setup();
  const run = createFakeRun({ scope });
  await admission(run, { endpoint }, async () => {
    run.callReported = true;
    return 'over';
  });
  expect(await state()).toMatchObject({ state: 'half_open', probe: { startedAtMs: nowMs } });
});

test('nothing is claimed for a run that is somebody else’s by now', async () => {
  const { admission, open, state, scope } = await setup();
  const run = createFakeRun({ scope });
  run.lease.abandon('superseded');
  expect(await admission(run, { endpoint }, () => Promise.reject(new Error('called')))).toBe('over');
  expect(await state()).toEqual(open);
});

test('a pinned run that is delivered where no worker is of its build is put off at once, and goes to its lane', async () => {
  const { admission, open, state, scope } = await setup();
  const putOff: unknown[] = [];
  const drive = createPullDriver({
    registry: { atLeast: async () => ({ functions: new Map(), apps: new Map() }) } as never,
    admission,
    settlement: { defer: async (_run, why) => (putOff.push(why), 'over') },
  });
  const none = { areThere: () => false, reserve: () => true, pick: () => undefined };
  expect(await drive(createFakeRun({ scope, buildId: 'old' }), none)).toBe('over');
  expect(putOff).toEqual([{ inMs: 0, reason: 'build_elsewhere' }]);
  expect(await state()).toEqual(open);
});

test('nothing is claimed or marked for a run that no worker has room for', async () => {
  const { admission, open, state, scope } = await setup();
  const registry = { functions: new Map(), apps: new Map() };
  const drive = createPullDriver({
    registry: { atLeast: async () => registry } as never,
    admission,
    settlement: { defer: () => Promise.reject(new Error('put off')) },
  });
  const workers = { areThere: () => true, reserve: () => true, pick: () => undefined };
  const run = createFakeRun({ scope, unrecordedCalls: 19 });
  run.journal.append = () => Promise.reject(new Error('marked'));
  expect(await drive(run, { ...workers, reserve: () => false })).toBe('over');
  expect(run.answers).toEqual(['handed back']);
  expect(await state()).toEqual(open);
  // The only worker leaves between the look and the claim.
  const next = createFakeRun({ scope });
  expect(await drive(next, workers)).toBe('over');
  expect(next.answers).toEqual(['handed back']);
  expect(await state()).toEqual(open);
});

test('a run that can go no further fails without a call', async () => {
  const { admission, scope } = await setup();
  for (const over of [{ memoBytes: limits.runMemoBytesMax + 1 }, { unrecordedCalls: 20 }]) {
    const run = createFakeRun({ scope, ...over });
    expect(await admission(run, { endpoint }, () => Promise.reject(new Error('called')))).toBe('over');
    expect(run.answers).toEqual(['finished']);
  }
});
