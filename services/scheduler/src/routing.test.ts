import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { deriveRunId, matchesEventPattern, parseTraceparent } from '@ironflow/schema';
import type { Registry, StoredEvent, Trigger } from '@ironflow/schema';
import { createConditions } from './condition.js';
import type { ConditionSubject, Verdict } from './condition.js';
import { routeEvent, routeSpanId } from './routing.js';

const scope = { environmentId: '0190a000-0000-7000-8000-000000000001', project: 'acme', env: 'prod' };

function storedEvent(name: string, data: unknown = {}, more: Partial<StoredEvent> = {}): StoredEvent {
  return {
    id: '0190a000-0000-7000-8000-0000000000aa',
    scope,
    name,
    data: JSON.stringify(data),
    source: 'http',
    receivedAtMs: 1_700_000_000_000,
    correlationId: 'root',
    ...more,
  };
}

/** Functions `<app>/<id>`; the apps `worker*` are pull apps. */
function registryOf(functions: Record<string, Trigger[]>): Registry {
  const apps: Registry['apps'] = new Map(
    Object.keys(functions).map((name) => {
      const id = name.split('/')[0]!;
      const mode = id.startsWith('worker') ? ('pull' as const) : ('push' as const);
      const url = mode === 'push' ? 'http://localhost:3000' : undefined;
      return [id, { id, mode, url, signedAnswers: false }];
    }),
  );
  const retries = { attempts: 4, initialDelayMs: 1_000, factor: 2, maxDelayMs: 60_000 };
  const registered: Registry['functions'] = new Map(
    Object.entries(functions).map(([name, triggers]) => {
      const [appId, id] = name.split('/') as [string, string];
      return [id, { appId, config: { id, triggers, retries }, hash: `hash-${id}`, registeredAtMs: 0 }];
    }),
  );
  const base = { environmentId: scope.environmentId, version: 1, archived: new Map<string, never>() };
  return { ...base, apps, functions: registered, paused: false, pausedFunctions: new Set() };
}

const always = { workerPresent: () => true, isPaused: () => false };
const noValue = () => ({ kind: 'error' as const, reason: 'unused' });

function route(event: StoredEvent, registry: Registry, appsWithWorkers: string[] = []) {
  const workerPresent = (appId: string) => appsWithWorkers.includes(appId);
  const view = { conditions: createConditions(), workerPresent, isPaused: () => false };
  const routing = routeEvent(event, registry, view);
  if (routing.kind === 'undecided') throw new Error('a condition was not judged');
  return routing.runs;
}

describe('an event starts', () => {
  const registry = registryOf({
    'shop/exact': [{ event: 'order.placed' }],
    'shop/star': [{ event: 'order.*' }],
    'shop/rest': [{ event: 'order.>' }],
    'shop/everything': [{ event: '>' }],
    'shop/other': [{ event: 'user.created' }],
    'shop/nightly': [{ cron: '0 3 * * *', timezone: 'UTC' }],
    'shop/none': [],
  });
  test.each([
    ['order.placed', ['everything', 'exact', 'rest', 'star']],
    ['order.placed.late', ['everything', 'rest']],
    ['order', ['everything']],
    ['user.created', ['everything', 'other']],
    ['ironflow.cron.nightly', ['nightly']],
    ['ironflow.invoke.none', ['none']],
    ['ironflow.invoke.everything', ['everything']],
    ['ironflow.invoke.absent', []],
    ['ironflow.cron', []],
    ['ironflow.function.failed', []],
  ])('%s: %j', (name, functionIds) => {
    expect(route(storedEvent(name), registry).map((run) => run.functionId)).toEqual(functionIds);
  });

  test('the one function that it is for, whatever triggers and conditions say, and nobody else', () => {
    const addressed = { functionId: 'nightly', rerunOf: '0190a000-0000-7000-8000-0000000000bb' };
    const again = { ...addressed, rerunFromStep: 'charge' };
    const [run, ...others] = route(storedEvent('order.placed', {}, again), registry);
    expect(run).toMatchObject({ ...again, status: 'queued' });
    expect(others).toEqual([]);
    const strict = registryOf({ 'shop/nightly': [{ event: 'order.placed', if: 'false' }] });
    expect(route(storedEvent('order.placed', {}, addressed), strict)).toHaveLength(1);
    expect(route(storedEvent('order.placed', {}, { functionId: 'unknown' }), registry)).toEqual([]);
  });

  test.each([
    ['order.placed', { functionId: 'former' }],
    ['ironflow.invoke.former', {}],
  ])('%s: a skipped run of the one function it is for, whose app no longer has it', (name, more) => {
    const archived = new Map([['former', { appId: 'shop', hash: 'hash-former' }]]);
    const runs = route(storedEvent(name, {}, more), { ...registry, archived });
    expect(runs).toMatchObject([
      { functionId: 'former', appId: 'shop', functionHash: 'hash-former', status: 'skipped' },
    ]);
    expect(runs[0]!.skipReason).toBe('function_archived');
  });

  test('one run of a function, however many of its triggers match', () => {
    const several = registryOf({
      'shop/f': [{ event: 'order.placed' }, { event: 'order.*' }, { event: 'order.placed', if: 'true' }],
    });
    expect(route(storedEvent('order.placed'), several)).toHaveLength(1);
  });

  test('a run with everything that its row needs', () => {
    const [run] = route(
      storedEvent('user.created'),
      registryOf({ 'shop/other': [{ event: 'user.created' }] }),
    );
    expect(run).toEqual({
      id: deriveRunId({ ...scope, eventId: '0190a000-0000-7000-8000-0000000000aa', functionId: 'other' }),
      environmentId: scope.environmentId,
      eventId: '0190a000-0000-7000-8000-0000000000aa',
      appId: 'shop',
      functionId: 'other',
      functionHash: 'hash-other',
      mode: 'push',
      status: 'queued',
      correlationId: 'root',
    });
  });

  test('runs whose trace goes on from the routing of the event', () => {
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const event = storedEvent('order.placed', {}, { traceparent });
    const [run] = route(event, registry);
    expect(parseTraceparent(run?.traceparent)).toEqual({
      traceId: 'a'.repeat(32),
      spanId: routeSpanId(event.id),
      sampled: true,
    });
  });
});

describe('conditions', () => {
  const trigger = (condition: string): Trigger => ({ event: 'order.placed', if: condition });
  test.each<[string, Trigger[], string[]]>([
    ['that is true: a run', [trigger('event.data.total > 1')], ['queued']],
    ['that is false: nothing', [trigger('event.data.total > 100')], []],
    ['that throws: a skip', [trigger('event.data.missing > 1')], ['skipped']],
    [
      'that throws, then one that is false: a skip',
      [trigger('event.data.missing > 1'), trigger('false')],
      ['skipped'],
    ],
    [
      'that throws, then one that is true: a run',
      [trigger('event.data.missing > 1'), trigger('true')],
      ['queued'],
    ],
    ['that is false, then no condition: a run', [trigger('false'), { event: 'order.*' }], ['queued']],
  ])('one %s', (_, triggers, statuses) => {
    const runs = route(storedEvent('order.placed', { total: 10 }), registryOf({ 'shop/f': triggers }));
    expect(runs.map((run) => run.status)).toEqual(statuses);
    if (statuses[0] === 'skipped') {
      expect(runs[0]?.skipReason).toBe('condition_error: no_such_key at character 12');
    }
  });

  /** Judges by the expression's name, as a busy machine makes the real ones do. */
  const judge = (expression: string): Verdict =>
    expression === 'fails' ? { kind: 'error', reason: 'it failed' } : { kind: expression as 'undecided' };
  test.each<[string, Record<string, Trigger[]>, 'matched' | 'undecided']>([
    ['one alone', { 'shop/f': [trigger('undecided')] }, 'undecided'],
    ['one beside one that fails', { 'shop/f': [trigger('undecided'), trigger('fails')] }, 'undecided'],
    [
      'one of a second function',
      { 'shop/f': [trigger('true')], 'shop/g': [trigger('undecided')] },
      'undecided',
    ],
    ['one beside one that is true', { 'shop/f': [trigger('undecided'), trigger('true')] }, 'matched'],
  ])('that are undecided leave the event for later, or not: %s', (_, functions, expected) => {
    const view = { ...always, conditions: { evaluate: judge, valueOf: noValue } };
    expect(routeEvent(storedEvent('order.placed'), registryOf(functions), view).kind).toBe(expected);
  });

  test('of all functions share the event, parsed once', () => {
    const seen: unknown[] = [];
    const evaluate = (_: string, { event }: ConditionSubject): Verdict => {
      seen.push(event.data);
      return { kind: 'false' };
    };
    const functions = { 'shop/f': [trigger('a'), trigger('b')], 'shop/g': [trigger('a')] };
    const view = { ...always, conditions: { evaluate, valueOf: noValue } };
    routeEvent(storedEvent('order.placed', { total: 1 }), registryOf(functions), view);
    expect(seen).toHaveLength(3);
    for (const data of seen) expect(data).toBe(seen[0]);
  });
});

test.each([
  ['worker-a', [], 'waiting_for_worker'],
  ['worker-a', ['worker-b'], 'waiting_for_worker'],
  ['worker-a', ['worker-a'], 'queued'],
  ['shop', [], 'queued'],
])('a run of %s begins, with workers of %j, as %s', (appId, present, status) => {
  const registry = registryOf({ [`${appId}/f`]: [{ event: 'order.placed' }] });
  expect(route(storedEvent('order.placed'), registry, present).map((run) => run.status)).toEqual([status]);
});

test('while its function is paused a run without flow control goes to the queue as well', () => {
  const registry = registryOf({ 'shop/f': [{ event: 'order.placed' }] });
  const conditions = createConditions();
  const flowOf = (isPaused: boolean) => {
    const view = { ...always, conditions, isPaused: () => isPaused };
    const routing = routeEvent(storedEvent('order.placed'), registry, view);
    return routing.kind === 'matched' ? routing.runs.map(({ flow }) => flow?.keys) : [];
  };
  expect(flowOf(true)).toEqual([{}]);
  expect(flowOf(false)).toEqual([undefined]);
});

const token = fc.constantFrom('a', 'b', 'c');
const eventName = fc.array(token, { minLength: 1, maxLength: 4 }).map((tokens) => tokens.join('.'));
const pattern = fc
  .tuple(fc.array(fc.oneof(token, fc.constant('*')), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([tokens, hasRest]) => [...tokens, ...(hasRest ? ['>'] : [])].join('.'));
const verdict = fc.constantFrom(undefined, 'true', 'false', 'event.data.missing == 1');
const trigger = fc.record({ event: pattern, if: verdict }).map(({ event, if: condition }) => ({
  event,
  ...(condition === undefined ? {} : { if: condition }),
}));

test('each function whose trigger names the event has exactly one disposition, the same every time', () => {
  const functionTriggers = fc.array(trigger, { maxLength: 4 });
  const registries = fc.dictionary(fc.constantFrom('shop/f', 'shop/g', 'worker-a/h'), functionTriggers);
  fc.assert(
    fc.property(registries, eventName, (functions, name) => {
      const event = storedEvent(name);
      const runs = route(event, registryOf(functions));
      expect(route(event, registryOf(functions))).toEqual(runs);
      expect(new Set(runs.map((run) => run.id)).size).toBe(runs.length);
      for (const [key, triggers] of Object.entries(functions)) {
        const matching = triggers.filter((one) => matchesEventPattern(one.event, name)).map((one) => one.if);
        const run = runs.find(({ functionId }) => functionId === key.split('/')[1]);
        const starts = matching.some((condition) => condition === undefined || condition === 'true');
        const fails = matching.some((condition) => condition?.includes('missing') === true);
        const started = key.startsWith('worker') ? 'waiting_for_worker' : 'queued';
        expect(run?.status).toBe(starts ? started : fails ? 'skipped' : undefined);
      }
    }),
  );
});
