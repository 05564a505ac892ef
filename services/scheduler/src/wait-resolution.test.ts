import { describe, expect, test } from '@jest/globals';
import type { OpenWait } from '@ironflow/database';
import type { StoredEvent } from '@ironflow/schema';
import { createConditions } from './condition.js';
import { awaitedEvent, judgeEvent, outputOfEvent, pairSignals, resolutionByRun } from './wait-resolution.js';

const scope = { environmentId: '0190a000-0000-7000-8000-0000000000aa', project: 'shop', env: 'prod' };
const eventOf = (data: string, id = '0190a000-0000-7000-8000-000000000002'): StoredEvent => ({
  id,
  scope,
  name: 'order.paid',
  data,
  source: 'http',
  receivedAtMs: 1_700_000_000_000,
  correlationId: 'root',
});
const trigger = eventOf('{"order":7}', '0190a000-0000-7000-8000-000000000001');
const waitOf = (changes: Partial<OpenWait> = {}): OpenWait => ({
  runId: 'run',
  stepId: 'wait',
  scope,
  kind: 'event',
  name: 'order.paid',
  condition: undefined,
  match: undefined,
  lookedBack: true,
  trigger,
  awaitedRun: undefined,
  ...changes,
});

describe('an event', () => {
  const judge = (data: string, changes: Partial<OpenWait>) =>
    judgeEvent(waitOf(changes), awaitedEvent(eventOf(data)), createConditions());

  test.each<[string, Partial<OpenWait>, string]>([
    ['{}', {}, 'resolves'],
    ['{"a":{"b":7}}', { match: { path: 'a.b', value: 7 } }, 'resolves'],
    ['{"a":{"b":"7"}}', { match: { path: 'a.b', value: 7 } }, 'not_meant'],
    ['{"a":[true]}', { match: { path: 'a.0', value: true } }, 'resolves'],
    ['{"a":null}', { match: { path: 'a.b', value: 'x' } }, 'not_meant'],
    ['null', { match: { path: 'a', value: 'x' } }, 'not_meant'],
    ['{"a":"x"}', { match: { path: 'constructor', value: 'x' } }, 'not_meant'],
    ['{"order":7}', { condition: 'event.data.order == trigger.data.order' }, 'resolves'],
    ['{"order":8}', { condition: 'event.data.order == trigger.data.order' }, 'not_meant'],
    // It fails on this event, and may hold for the next.
    ['{}', { condition: 'event.data.order == 7' }, 'not_meant'],
    [
      '{"a":1,"order":8}',
      { match: { path: 'a', value: 1 }, condition: 'event.data.order == 7' },
      'not_meant',
    ],
  ])('%s for %j: %s', (data, changes, verdict) => {
    expect(judge(data, changes)).toBe(verdict);
  });

  test('that started the run does not end its wait', () => {
    expect(judgeEvent(waitOf(), awaitedEvent(trigger), createConditions())).toBe('not_meant');
  });

  test('that came before the one that started the run is not meant', () => {
    const early = { ...eventOf('{}'), receivedAtMs: trigger.receivedAtMs - 1 };
    expect(judgeEvent(waitOf(), awaitedEvent(early), createConditions())).toBe('not_meant');
  });

  test('fails a wait whose condition holds for no event, whatever it is', () => {
    expect(judge('{}', { condition: 'event.data.' })).toEqual({
      refused: { name: 'ConditionError', message: expect.stringContaining('if: must be valid CEL') },
    });
  });

  test('is handed to the function with its data as it came', () => {
    const output = outputOfEvent({ ...eventOf('{"n": 1.0, "s":"\\u0000"}'), version: '2' });
    expect(output).toContain('"data":{"n": 1.0, "s":"\\u0000"}');
    expect(JSON.parse(output)).toEqual({
      id: '0190a000-0000-7000-8000-000000000002',
      name: 'order.paid',
      version: '2',
      receivedAt: '2023-11-14T22:13:20.000Z',
      correlationId: 'root',
      data: { n: 1, s: '\0' },
    });
  });
});

test('signals go to the waits of their run and name, the oldest to the one that was called first', () => {
  const wait = (runId: string, stepId: string, name: string) =>
    waitOf({ runId, stepId, name, kind: 'signal' });
  const signal = (runId: string, id: string, name: string) => ({ runId, id, name });
  const waits = [wait('r', 'a', 'go'), wait('r', 'a:1', 'go'), wait('r', 'b', 'stop'), wait('s', 'a', 'go')];
  const signals = [signal('s', '1', 'go'), signal('r', '2', 'go'), signal('r', '3', 'halt')];
  expect(pairSignals(waits, signals)).toEqual([
    { runId: 'r', stepId: 'a', signalId: '2' },
    { runId: 's', stepId: 'a', signalId: '1' },
  ]);
});

describe('an awaited run', () => {
  const resolve = (awaitedRun: OpenWait['awaitedRun']) =>
    resolutionByRun(waitOf({ kind: 'run', awaitedRun }));
  const error = { name: 'RangeError', message: 'no' };

  test('passes on what it returned or failed with', () => {
    expect(resolve(undefined)).toBeUndefined();
    const completed = { status: 'completed' as const, error: undefined };
    expect(resolve(completed)).toEqual({ runId: 'run', stepId: 'wait' });
    expect(resolve({ status: 'failed', error })).toMatchObject({ error });
  });

  test.each(['cancelled', 'skipped'] as const)('that was %s is an error', (status) => {
    expect(resolve({ status, error: undefined })).toMatchObject({
      error: { name: 'InvokedRunEnded', message: `the invoked run was ${status}` },
    });
  });
});
