import { describe, expect, test } from '@jest/globals';
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
    ['event.data.total > 100', 'true'],
    ['event.data.total > 120', 'false'],
    ['event.data.currency == "EUR" && event.version == "2"', 'true'],
    ['event.name.startsWith("order.")', 'true'],
    ['event.data.items.exists(item, item.sku == "b")', 'true'],
    ['event.data.items.all(item, item.sku == "b")', 'false'],
    ['has(event.data.coupon)', 'false'],
    ['event.data.?coupon.orValue("none") == "none"', 'true'],
    ['size(event.data.items) == 2', 'true'],
    ['timestamp(event.receivedAt).getFullYear() == 2026', 'true'],
    ['event.correlationId == "root"', 'true'],
  ])('%s is %s', (expression, expected) => {
    expect(evaluate(expression, order)).toEqual({ kind: expected });
  });

  test.each([
    ['event.data.total >', 'expected_token'],
    ['evnt.data.total > 1', 'unknown_variable'],
    ['event.data.coupon == "x"', 'no_such_key at character'],
    ['event.data.currency', 'result_not_boolean'],
    ['int(event.data.secret) == 1', 'int_conversion_error'],
    ['event.data[event.data.secret] == 1', 'no_such_key'],
    ['event.data.secret.matches("(")', 'invalid_regular_expression'],
    ['cel.bind(s, event.data.secret, s + s == s)', 'bind() is not available'],
    [`event.data.total > ${Array(40).fill('1').join(' + ')}`, 'too many additions'],
    [`[event.data.secret]${'.map(x, x + x)'.repeat(7)} == []`, 'too many additions'],
    [`${'('.repeat(80)}true${')'.repeat(80)}`, 'limit_exceeded'],
  ])('%s is an error that says what and where', (expression, expected) => {
    const verdict = evaluate(expression, order);
    expect(verdict).toMatchObject({ kind: 'error', reason: expect.stringContaining(expected) });
  });

  test('never quotes the event in its error', () => {
    for (const expression of ['int(event.data.secret) == 1', 'event.data[event.data.secret] == 1']) {
      expect(JSON.stringify(evaluate(expression, order))).not.toContain('hunter2');
    }
  });

  test('over data that is no JSON is an error, and one that does not look at it is not', () => {
    expect(evaluate('event.data.a == 1', '{broken')).toMatchObject({ kind: 'error' });
    expect(evaluate('event.name == "order.placed"', '{broken')).toEqual({ kind: 'true' });
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
