import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { registerApp } from '@ironflow/database';
import type { EnvironmentCredentials } from '@ironflow/database';
import {
  appManifestSchema,
  breakerSchema,
  breakersListSchema,
  circuitKey,
  circuitNoticeSchema,
  circuitStateSchema,
  closedCircuit,
  limits,
  runDetailSchema,
  runsPageSchema,
} from '@ironflow/schema';
import type { Breaker, CircuitNotice, CircuitState } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { startApiUnderTest } from './testing/api-under-test.js';
import type { ApiUnderTest } from './testing/api-under-test.js';

const url = 'https://shop.test/api';
let under: ApiUnderTest;
let told: CircuitNotice[] = [];

beforeAll(async () => {
  under = await startApiUnderTest();
  for (const { scope } of [under.acme, under.globex]) {
    const functions = [{ id: 'charge', triggers: [] }];
    const push = appManifestSchema.parse({ id: 'shop', mode: 'push', url, functions });
    await registerApp(under.platform, scope.environmentId, push);
    const pull = appManifestSchema.parse({
      id: 'back',
      mode: 'pull',
      functions: [{ id: 'ship', triggers: [] }],
    });
    await registerApp(under.platform, scope.environmentId, pull);
  }
  under.jetstream.connection.nats.subscribe('public.*.*.system.breaker.>', {
    callback: (_error, message) => {
      told.push(circuitNoticeSchema.parse(message.json()));
    },
  });
  await under.jetstream.connection.nats.flush();
}, 60_000);
beforeEach(async () => {
  await call('POST', '/v1/breakers/charge/reset');
  await call('POST', '/v1/breakers/charge/reset', { key: under.globex.apiKey });
  told = [];
});
afterAll(() => under.stop());

const call = (method: string, path: string, options: { key?: string; body?: unknown } = {}) =>
  under.request(method, path, options);
const breakerOf = async (method: string, path: string, options = {}): Promise<Breaker> => {
  const { status, body } = await call(method, path, options);
  expect({ status, body }).toMatchObject({ status: 200 });
  return breakerSchema.parse(body);
};
const keyOf = ({ scope }: EnvironmentCredentials, endpoint = url, functionId = 'charge'): string =>
  circuitKey({ environmentId: scope.environmentId, functionId, endpoint });
const stored = async (key: string): Promise<CircuitState | undefined> => {
  const entry = await under.jetstream.bucket('SYS_circuit_breakers').get(key);
  return entry === undefined ? undefined : circuitStateSchema.parse(JSON.parse(entry.value));
};

async function putOpen(of: EnvironmentCredentials, openedAtMs: number, endpoint = url): Promise<void> {
  const state: CircuitState = {
    ...{ environmentId: of.scope.environmentId, functionId: 'charge', endpoint, state: 'open' },
    ...{ consecutiveFailures: 5, windowStartedAtMs: openedAtMs, calls: 7, failures: 6, successes: 0 },
    ...{ openedAtMs, openMs: 30_000 },
  };
  await under.jetstream.bucket('SYS_circuit_breakers').put(keyOf(of, endpoint), JSON.stringify(state));
}

test('a breaker that nobody has counted for is closed', async () => {
  expect(await breakerOf('GET', '/v1/breakers/ship')).toEqual({
    ...{ functionId: 'ship', endpoint: 'worker', state: 'closed' },
    ...{ consecutiveFailures: 0, calls: 0, failures: 0 },
  });
  expect((await call('GET', '/v1/breakers/unknown')).body).toMatchObject({
    error: { code: 'function_not_found' },
  });
});

test('one that opened is listed with what was counted and when it is tried, for its own environment alone', async () => {
  const openedAtMs = Date.UTC(2030, 0, 1);
  await putOpen(under.acme, openedAtMs);
  const list = async (query = '', options = {}): Promise<Breaker[]> =>
    breakersListSchema.parse((await call('GET', `/v1/breakers${query}`, options)).body).breakers;
  const open = {
    ...{ functionId: 'charge', endpoint: url, state: 'open' },
    ...{ consecutiveFailures: 5, calls: 7, failures: 6 },
    ...{ openedAt: '2030-01-01T00:00:00.000Z', probeFrom: '2030-01-01T00:00:30.000Z' },
  };
  expect(await list('?state=open')).toEqual([open]);
  expect(await breakerOf('GET', '/v1/breakers/charge')).toEqual(open);
  expect(await list('?state=open&function=ship')).toEqual([]);
  expect(await list('?state=open', { key: under.globex.apiKey })).toEqual([]);
  expect((await breakerOf('GET', '/v1/breakers/charge', { key: under.globex.apiKey })).state).toBe('closed');
  expect((await call('GET', '/v1/breakers?state=ajar')).status).toBe(400);
});

test('those that are asked for are found among however many others', async () => {
  const { environmentId } = under.globex.scope;
  const closed = (index: number): CircuitState => ({
    ...closedCircuit({ environmentId, functionId: `other-${index}`, endpoint: url }, Date.now()),
    ...{ calls: 1, failures: 1, consecutiveFailures: 1 },
  });
  const others = Array.from({ length: limits.breakersListedMax + 1 }, (_, index) => closed(index));
  const bucket = under.jetstream.bucket('SYS_circuit_breakers');
  await Promise.all(others.map((one) => bucket.put(circuitKey(one), JSON.stringify(one))));
  await putOpen(under.globex, Date.now());
  const key = under.globex.apiKey;
  const list = async (query: string) =>
    breakersListSchema.parse((await call('GET', `/v1/breakers${query}`, { key })).body);
  for (const query of ['?state=open', '?function=charge', '?state=open&function=charge']) {
    const found = { breakers: [{ functionId: 'charge', state: 'open' }], isComplete: true };
    expect(await list(query)).toMatchObject(found);
  }
  const { breakers, isComplete } = await list('');
  expect(breakers).toHaveLength(limits.breakersListedMax);
  expect(isComplete).toBe(false);
});

test('one is forced open and reset by its own environment alone, and told of', async () => {
  const opened = await breakerOf('POST', '/v1/breakers/charge/open');
  expect(opened).toMatchObject({ functionId: 'charge', endpoint: url, state: 'open' });
  expect(opened.forced?.until).toBeUndefined();
  expect(opened.probeFrom).toBeUndefined();
  expect(await stored(keyOf(under.acme))).toMatchObject({
    state: 'open',
    forced: { sinceMs: expect.any(Number) },
  });
  // A neighbour's reset is about its own function of that name.
  await breakerOf('POST', '/v1/breakers/charge/reset', { key: under.globex.apiKey });
  expect(await breakerOf('GET', '/v1/breakers/charge')).toEqual(opened);
  const its = await breakerOf('GET', '/v1/breakers/charge', { key: under.globex.apiKey });
  expect(its.state).toBe('closed');
  const rows = (): Promise<{ environmentId: string }[]> => under.platform.prisma.forcedBreaker.findMany();
  expect(await rows()).toMatchObject([{ environmentId: under.acme.scope.environmentId }]);
  expect(await breakerOf('POST', '/v1/breakers/charge/reset')).toMatchObject({
    state: 'closed',
    failures: 0,
  });
  expect(await rows()).toEqual([]);
  const ours = () => told.filter(({ scope }) => scope.project === under.acme.scope.project);
  await eventually(() => expect(ours().map(({ change }) => change)).toEqual(['forced', 'reset']));
  expect(JSON.stringify(told)).not.toContain(url);
});

test('one is forced open for a time, and a time of its own for another endpoint', async () => {
  const body = { forMs: 600_000 };
  const { forced } = await breakerOf('POST', '/v1/breakers/charge/open', { body });
  expect(Date.parse(forced!.until!) - Date.parse(forced!.since)).toBe(600_000);
  const before = 'https://old.shop.test/api';
  await putOpen(under.acme, Date.now(), before);
  const other = await breakerOf('POST', '/v1/breakers/charge/open', { body: { endpoint: before } });
  expect(other.endpoint).toBe(before);
  expect((await stored(keyOf(under.acme, before)))!.forced!.untilMs).toBeUndefined();
  await breakerOf('POST', '/v1/breakers/charge/reset', { body: { endpoint: before } });
  expect((await breakerOf('GET', '/v1/breakers/charge')).forced).toEqual(forced);
  expect((await call('POST', '/v1/breakers/charge/open', { body: { forMs: 5 } })).status).toBe(400);
});

test('a breaker that is not there is not made by a reset, nor for an endpoint at which nothing is called', async () => {
  const keys = (): Promise<string[]> => under.jetstream.bucket('SYS_circuit_breakers').keys();
  const before = (await keys()).sort();
  expect(await breakerOf('POST', '/v1/breakers/ship/reset')).toMatchObject({ state: 'closed' });
  for (const action of ['open', 'reset']) {
    for (const endpoint of ['https://elsewhere.test/api', 'worker']) {
      const { status, body } = await call('POST', `/v1/breakers/charge/${action}`, { body: { endpoint } });
      expect({ status, body }).toMatchObject({ status: 404, body: { error: { code: 'breaker_not_found' } } });
    }
  }
  expect((await keys()).sort()).toEqual(before);
  expect(await under.platform.prisma.forcedBreaker.findMany()).toEqual([]);
  // Lost with all of NATS: until it is restored it is known by its row.
  await breakerOf('POST', '/v1/breakers/ship/open');
  await under.jetstream.bucket('SYS_circuit_breakers').delete(keyOf(under.acme, 'worker', 'ship'));
  await breakerOf('POST', '/v1/breakers/ship/reset', { body: { endpoint: 'worker' } });
  expect((await stored(keyOf(under.acme, 'worker', 'ship')))?.state).toBe('closed');
});

test('an endpoint is a URL that fits, or that of all workers', async () => {
  const none = ['http://a/\0', `http://a/${'世'.repeat(900)}`, 'shop', '', `http://a/${'x'.repeat(2_048)}`];
  for (const endpoint of none) {
    for (const action of ['open', 'reset']) {
      const { status } = await call('POST', `/v1/breakers/charge/${action}`, { body: { endpoint } });
      expect({ action, endpoint, status }).toEqual({ action, endpoint, status: 400 });
    }
    const query = `?endpoint=${encodeURIComponent(endpoint)}`;
    expect((await call('GET', `/v1/breakers/charge${query}`)).status).toBe(400);
  }
  expect((await breakerOf('GET', '/v1/breakers/charge?endpoint=worker')).endpoint).toBe('worker');
});

test('of an operator and whoever counts calls at the same time, the operator has it as it was wanted', async () => {
  const bucket = under.jetstream.bucket('SYS_circuit_breakers');
  const key = keyOf(under.acme);
  await putOpen(under.acme, Date.now());
  const count = async (): Promise<void> => {
    const entry = (await bucket.get(key))!;
    await bucket.update(key, entry.value, entry.revision);
  };
  for (let round = 0; round < 10; round += 1) {
    await Promise.all([breakerOf('POST', '/v1/breakers/charge/open'), count(), count(), count()]);
    expect((await stored(key))!.state).toBe('open');
    await Promise.all([breakerOf('POST', '/v1/breakers/charge/reset'), count(), count(), count()]);
    expect((await stored(key))!.state).toBe('closed');
  }
});

test('who may only look changes nothing', async () => {
  const key = await under.addKey(under.acme.scope, 'viewer');
  expect((await call('GET', '/v1/breakers', { key })).status).toBe(200);
  for (const action of ['open', 'reset']) {
    expect((await call('POST', `/v1/breakers/charge/${action}`, { key })).status).toBe(403);
  }
});

test('a run that was put off says why and when it is tried again, until it goes on', async () => {
  const { scope } = under.acme;
  const run = { scope, ...(await under.addRun(scope)) };
  const shown = async () => runDetailSchema.parse((await call('GET', `/v1/runs/${run.runId}`)).body);
  expect((await shown()).waitingFor).toBeUndefined();
  const waits = { status: 'waiting', served: 1, retryInMs: 60_000 } as const;
  const deferred = { ...waits, prev: 0, journalSeq: 1, deferredReason: 'circuit_open' };
  await under.progress(run, { ...deferred, startedAtMs: undefined }, 'quietly');
  const { status, waitingFor } = await shown();
  expect({ status, waitingFor }).toEqual({
    status: 'waiting',
    waitingFor: { rule: 'circuit_open', until: expect.any(String) },
  });
  expect(Date.parse(waitingFor!.until!)).toBeGreaterThan(Date.now() + 30_000);
  const [listed] = runsPageSchema.parse((await call('GET', '/v1/runs?status=waiting')).body).runs;
  expect(listed!.waitingFor).toEqual(waitingFor);
  // Called, and failed: what held before holds no more.
  await under.progress(run, { ...waits, prev: 1, journalSeq: 2, failures: 1 }, 'quietly');
  expect((await shown()).waitingFor).toMatchObject({ rule: 'retry' });
  await under.progress(run, { prev: 2, journalSeq: 3, status: 'completed', served: 1 }, 'quietly');
  expect((await shown()).waitingFor).toBeUndefined();
});
