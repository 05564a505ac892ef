import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { compileCondition } from '@ironflow/condition';
import type { FunctionEvent, StoredEvent } from '@ironflow/schema';
import { createConditions, createConditionSubject } from './condition.js';
import type { ConditionSubject } from './condition.js';

const environmentId = '0190a000-0000-7000-8000-000000000001';

function storedEvent(data: unknown): StoredEvent {
  return {
    id: '0190a000-0000-7000-8000-0000000000aa',
    scope: { environmentId, project: 'acme', env: 'prod' },
    name: 'order.placed',
    data: typeof data === 'string' ? data : JSON.stringify(data),
    version: '2',
    source: 'http',
    receivedAtMs: Date.UTC(2026, 0, 2, 3, 4, 5),
    correlationId: 'root',
  };
}
function evaluate(expression: string, data: unknown = {}) {
  return createConditions().evaluate(expression, createConditionSubject(storedEvent(data)));
}

const order = { total: 120, currency: 'EUR', items: [{ sku: 'a' }, { sku: 'b' }], secret: 'hunter2' };

describe('a condition', () => {
  test.each([
    ['event.data.total > 100', { kind: 'true' }],
    ['event.data.total > 120', { kind: 'false' }],
    ['event.data.items.exists(item, item.sku == "b")', { kind: 'true' }],
    ['timestamp(event.receivedAt).getFullYear() == 2026', { kind: 'true' }],
    ['evnt.data.total > 1', { kind: 'error', reason: 'condition_error: unknown_variable at character 1' }],
    ['event.data.coupon == "x"', { kind: 'error', reason: 'condition_error: no_such_key at character 12' }],
    ['event.data.currency', { kind: 'error', reason: 'condition_error: result_not_boolean' }],
    ['cel.bind(s, "a", s == s)', { kind: 'error', reason: 'condition_error: bind() is not available' }],
  ])('%s is %j', (expression, expected) => {
    expect(evaluate(expression, order)).toMatchObject(expected);
  });

  test('over data that is no JSON is an error, and one that does not look at it is not', () => {
    expect(evaluate('event.data.a == 1', '{broken')).toMatchObject({ kind: 'error' });
    expect(evaluate('event.name == "order.placed"', '{broken')).toEqual({ kind: 'true' });
  });

  test('that would search for data, which nothing interrupts, does not run', () => {
    const text = 'a'.repeat(200_000);
    const sought = `${'a'.repeat(50_000)}b${'a'.repeat(50_000)}`;
    const startedAtMs = performance.now();
    for (const name of ['contains', 'indexOf', 'lastIndexOf', 'split', 'matches']) {
      expect(evaluate(`event.data.text.${name}(event.data.sought) == true`, { text, sought })).toMatchObject({
        kind: 'error',
        reason: `condition_error: ${name}() takes only a short text`,
      });
    }
    expect(performance.now() - startedAtMs).toBeLessThan(500);
  });

  test.each([
    [
      'a backtracking regular expression',
      'event.data.text.matches("^(a+)+$")',
      { text: `${'a'.repeat(40)}!` },
    ],
    [
      'nested loops over a large list',
      'event.data.list.all(a, event.data.list.all(b, event.data.list.all(c, c >= 0.0)))',
      { list: Array.from({ length: 2_000 }, (_, index) => index) },
    ],
    [
      'a loop whose every round reads all of a large text',
      'event.data.list.all(x, size(event.data.text) > 0)',
      { list: Array.from({ length: 2_000 }, () => 1), text: 'x'.repeat(200_000) },
    ],
    [
      'searches that each take long for the text they are given',
      `event.data.list.all(x, !event.data.text.contains("${'a'.repeat(128)}b${'a'.repeat(127)}"))`,
      { list: Array.from({ length: 2_000 }, () => 1), text: 'a'.repeat(200_000) },
    ],
  ])('with %s is interrupted', (_, expression, data) => {
    const startedAtMs = performance.now();
    expect(evaluate(expression, data)).toEqual({
      kind: 'error',
      reason: 'condition_error: time_limit_exceeded',
    });
    expect(performance.now() - startedAtMs).toBeLessThan(2_000);
  });
});

describe('on a machine that is too busy,', () => {
  const large = { draft: false, text: 'aaa', list: [1], padding: 'x'.repeat(25_000) };
  /** Data whose reading stands still, without using the processor, as often as told. */
  function stalledSubject(stalls: { leftCount: number; stallMs: number }): ConditionSubject {
    const { event, ...rest } = createConditionSubject(storedEvent(large));
    const cell = new Int32Array(new SharedArrayBuffer(4));
    const stalled: FunctionEvent = {
      ...event,
      get data() {
        if (stalls.leftCount-- > 0) Atomics.wait(cell, 0, 0, stalls.stallMs);
        return large;
      },
    };
    return { ...rest, event: stalled };
  }

  test.each([
    ['a plain comparison', 'event.data.draft == false'],
    ['a loop', 'event.data.list.all(x, x > 0)'],
    ['a regular expression', 'event.data.text.matches("^a+$")'],
  ])('%s over large data is judged all the same, and nothing is held against it', (_, expression) => {
    const conditions = createConditions();
    const stalls = { leftCount: 1, stallMs: 150 };
    for (let round = 0; round < 2; round += 1) {
      expect(conditions.evaluate(expression, stalledSubject(stalls))).toEqual({ kind: 'true' });
    }
  });

  test('a condition that gets no time at all stays undecided, and can be judged later', () => {
    const conditions = createConditions();
    const stalls = { leftCount: Infinity, stallMs: 10_000 };
    const expression = 'event.data.list.all(x, x > 0)';
    const startedAtMs = performance.now();
    expect(conditions.evaluate(expression, stalledSubject(stalls))).toEqual({ kind: 'undecided' });
    expect(performance.now() - startedAtMs).toBeLessThan(3_000);
    stalls.leftCount = 0;
    expect(conditions.evaluate(expression, stalledSubject(stalls))).toEqual({ kind: 'true' });
  });
});

describe('conditions that take too long', () => {
  const slow = 'event.data.text.matches("^(a+)+$")';
  const hostile = { text: `${'a'.repeat(40)}!` };

  test('are not tried again until the penalty is over', () => {
    let nowMs = 0;
    const conditions = createConditions({ monotonicMs: () => nowMs, penaltyMs: 1_000 });
    const judge = (data: unknown) => conditions.evaluate(slow, createConditionSubject(storedEvent(data)));
    expect(judge(hostile).kind).toBe('error');
    expect(judge({ text: 'aaa' }).kind).toBe('error');
    nowMs += 1_000;
    expect(judge({ text: 'aaa' })).toEqual({ kind: 'true' });
  });

  test('share one budget per event', () => {
    const conditions = createConditions();
    const subject = createConditionSubject(storedEvent(hostile));
    const startedAtMs = performance.now();
    for (let index = 0; index < 200; index += 1) {
      conditions.evaluate(`event.data.text.matches("^(a+)+$|${index}")`, subject);
    }
    expect(performance.now() - startedAtMs).toBeLessThan(2_000);
  });

  test('leave the others as they were', () => {
    const conditions = createConditions();
    conditions.evaluate(slow, createConditionSubject(storedEvent(hostile)));
    const other = conditions.evaluate(
      'event.data.list.all(x, x > 0)',
      createConditionSubject(storedEvent({ list: [1] })),
    );
    expect(other).toEqual({ kind: 'true' });
  });
});

test('the cache of compiled expressions is bounded and forgets nothing that matters', () => {
  const conditions = createConditions({ expressionsMax: 2 });
  const subject = createConditionSubject(storedEvent(order));
  for (let round = 0; round < 2; round += 1) {
    for (let total = 100; total < 140; total += 10) {
      expect(conditions.evaluate(`event.data.total > ${total}`, subject).kind).toBe(String(total < 120));
    }
  }
});

/** Around what the api may refuse: sums, loops, depths, types and functions on both sides of every rule. */
const operands = fc.constantFrom(
  'event.data.total',
  'event.data.items',
  '1',
  '"a"',
  'event.data.?x',
  'nobody',
);
const sums = fc
  .tuple(operands, fc.integer({ min: 0, max: 36 }))
  .map(([first, count]) => first + ' + 1'.repeat(count));
const chains = fc
  .tuple(fc.constantFrom('map', 'filter', 'all'), fc.integer({ min: 1, max: 8 }))
  .map(([name, count]) => `[1]${`.${name}(x, x + x > 1)`.repeat(count)}`);
const terms = fc.oneof(operands, sums, chains, fc.constantFrom('[event.name].join("") ', 'size(event.name)'));
const wrapped = fc
  .tuple(terms, fc.constantFrom(' == 1', ' > 1', '', ' in [1]'), fc.integer({ min: 0, max: 60 }))
  .map(([term, comparison, depth]) => `${'('.repeat(depth)}${term}${comparison}${')'.repeat(depth)}`);

test('what the api lets be registered, the scheduler never refuses to compile, and the other way round', () => {
  const counts = { accepted: 0, refused: 0 };
  /** What only compiling says; what running says of data is something else. */
  const compileReasons =
    /not available|short text|too many additions|limit_exceeded|expected_token|unknown_variable|unexpected_/;
  const conditions = createConditions();
  fc.assert(
    fc.property(wrapped, (expression) => {
      const registered = compileCondition(expression);
      const verdict = conditions.evaluate(expression, createConditionSubject(storedEvent(order)));
      const reason = verdict.kind === 'error' ? verdict.reason : '';
      if (registered.kind === 'compiled') expect(reason).not.toMatch(compileReasons);
      else expect(reason).toBe(`condition_error: ${registered.reason}`);
      counts[registered.kind === 'compiled' ? 'accepted' : 'refused'] += 1;
    }),
    { numRuns: 1_000 },
  );
  expect(Math.min(counts.accepted, counts.refused)).toBeGreaterThan(50);
});
