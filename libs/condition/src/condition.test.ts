import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { FunctionEvent } from '@ironflow/schema';
import { compileCondition } from './condition.js';
import type { Condition, ConditionResult } from './condition.js';

function eventOf(data: unknown): FunctionEvent {
  return {
    id: '0190a000-0000-7000-8000-0000000000aa',
    name: 'order.placed',
    data,
    version: '2',
    receivedAt: '2026-01-02T03:04:05.000Z',
    correlationId: 'root',
  };
}
const order = eventOf({
  total: 120,
  currency: 'EUR',
  items: [{ sku: 'a' }, { sku: 'b' }],
  secret: 'hunter2',
});

function run(expression: string, event = order): ConditionResult {
  const condition = compileCondition(expression);
  if (condition.kind === 'refused') throw new Error(`refused: ${condition.rule}`);
  return condition.run(event);
}

describe('a condition', () => {
  test.each([
    ['event.data.total > 100', 'true'],
    ['event.data.total > 120', 'false'],
    ['event.data.currency == "EUR" && event.version == "2"', 'true'],
    ['event.name.startsWith("order.")', 'true'],
    ['event.data.items.exists(item, item.sku == "b")', 'true'],
    ['event.data.items.all(item, item.sku == "b")', 'false'],
    [`event.data.currency.contains("UR") && !event.name.contains("${'x'.repeat(256)}")`, 'true'],
    ['event.name.split(".")[0] == "order" && event.name.indexOf(".", 2) == 5', 'true'],
    ['has(event.data.coupon)', 'false'],
    ['event.data.?coupon.orValue("none") == "none"', 'true'],
    ['size(event.data.items) == 2', 'true'],
    ['timestamp(event.receivedAt).getFullYear() == 2026', 'true'],
    ['event.correlationId == "root"', 'true'],
    ['[1, "a", null].size() == 3', 'true'],
  ])('%s is %s', (expression, expected) => {
    expect(run(expression)).toEqual({ kind: expected });
  });

  test.each([
    ['event.data.coupon == "x"', 'no_such_key at character 12'],
    ['event.data.currency', 'result_not_boolean'],
    ['int(event.data.secret) == 1', 'int_conversion_error'],
    ['event.data[event.data.secret] == 1', 'no_such_key'],
    ['event.data.secret.matches("(")', 'invalid_regular_expression'],
  ])('%s compiles, and fails with what went wrong and nothing of the event', (expression, expected) => {
    const result = run(expression);
    expect(result).toMatchObject({ kind: 'error', reason: expect.stringContaining(expected) });
    expect(JSON.stringify(result)).not.toContain('hunter2');
  });

  test('whose data cannot be read fails without throwing', () => {
    const unreadable: FunctionEvent = {
      ...order,
      get data(): unknown {
        throw new SyntaxError('no JSON');
      },
    };
    expect(run('event.data.a == 1', unreadable)).toEqual({ kind: 'error', reason: 'unexpected_failure' });
    expect(run('event.name == "order.placed"', unreadable)).toEqual({ kind: 'true' });
  });
});

const additions = (count: number): string =>
  Array(count + 1)
    .fill('1')
    .join(' + ');
const loops = (count: number): string => `[event.data.secret]${'.map(x, x + x)'.repeat(count)} == []`;

describe('refused, in words for its author and in a code for its runs, is', () => {
  test.each([
    ['what is no expression', 'event.data.total >', /valid CEL/, /^unexpected_token at character 19$/],
    ['nothing', '', /valid CEL/, /^\w+ at character/],
    ['an unknown variable', 'evnt.data.total > 1', /valid CEL.*evnt/, /^unknown_variable at character 1$/],
    ['an unknown function', 'exec("x")', /valid CEL/, /at character/],
    ['a comparison of what cannot be compared', '1 < "a"', /valid CEL/, /at character/],
    ['an alias', 'cel.bind(s, event.data.secret, s + s == s)', /bind\(\)/, /^bind\(\) is not available$/],
    ['joining', '["a"].join("") == "a"', /join\(\)/, /^join\(\) is not available$/],
    [
      'a search for data',
      'event.data.secret.contains(event.data.x)',
      /contains\(\) a text/,
      /^contains\(\) takes/,
    ],
    ['a regular expression from data', 'event.name.matches(event.data.x)', /matches\(\)/, /short text$/],
    ['a search for a long text', `event.name.contains("${'x'.repeat(257)}")`, /at most 256/, /short text$/],
    ['too many additions', `${additions(33)} > 1`, /32 additions$/, /^too many additions$/],
    ['too many additions in loops', loops(7), /6 additions where it has loops/, /^too many additions$/],
    ['too deep a nesting', `${'('.repeat(80)}true${')'.repeat(80)}`, /valid CEL/, /^limit_exceeded/],
    ['too long a list', `1 in [${Array(501).fill('1').join()}]`, /valid CEL/, /^limit_exceeded/],
    ['a text', '"text"', /is of type string/, /^result_not_boolean$/],
    ['a number', '1 + 1', /is of type int/, /^result_not_boolean$/],
    ['what may be nothing', 'event.data.?total', /is of type optional/, /^result_not_boolean$/],
  ])('%s', (_what, expression, rule, reason) => {
    expect(compileCondition(expression)).toEqual({
      kind: 'refused',
      rule: expect.stringMatching(rule),
      reason: expect.stringMatching(reason),
    });
  });

  test.each([`${additions(32)} > 1`, loops(6)])('and not one addition less: %s', (expression) => {
    expect(compileCondition(expression).kind).toBe('compiled');
  });
});

describe('over the event and what started the run', () => {
  test('it compares both', () => {
    const condition = compileCondition('event.data.total > trigger.data.total', 'trigger');
    if (condition.kind === 'refused') throw new Error(condition.rule);
    const smaller = eventOf({ total: 1 });
    expect(condition.run(order, smaller)).toEqual({ kind: 'true' });
    expect(condition.run(smaller, order)).toEqual({ kind: 'false' });
  });

  test('a condition of a trigger knows nothing of the other', () => {
    expect(compileCondition('trigger.data.total > 1').kind).toBe('refused');
    expect(compileCondition('evnt.data.total > 1', 'trigger')).toMatchObject({
      rule: expect.stringContaining('over "event" and "trigger": '),
    });
  });
});

describe('how often it may read the data', () => {
  test.each([
    ['event.name == "a"', 1],
    ['event.data.a == 1 && event.data.b == 2', 2],
    ['has(event.data.a) && size(event.data.b) > 1', 2],
    ['event.data.a + event.data.b > 1', Infinity],
    ['event.data.a.matches("a")', Infinity],
    ['event.data.a.contains("a")', Infinity],
    ['event.data.list.all(x, x > 0)', Infinity],
  ])('%s: %d', (expression, readingsMax) => {
    expect(compileCondition(expression)).toMatchObject({ kind: 'compiled', readingsMax });
  });
});

/** Near the rules, on both sides of each. */
const operand = fc.constantFrom('event.data.total', 'event.data', '1', '"a"', 'event.?x', 'nobody', '[1]');
const sum = fc
  .tuple(operand, fc.integer({ min: 0, max: 36 }))
  .map(([first, count]) => `${first}${' + 1'.repeat(count)}`);
const loop = fc
  .tuple(operand, fc.constantFrom('map', 'filter', 'all', 'exists'), fc.integer({ min: 0, max: 8 }), sum)
  .map(([list, name, count, body]) => `${list}${`.${name}(x, ${body})`.repeat(count)}`);
const call = fc
  .tuple(
    fc.constantFrom('size', 'string', 'has', 'join', 'matches', 'contains', 'exec'),
    fc.boolean(),
    operand,
  )
  .map(([name, isMethod, on]) => (isMethod ? `${on}.${name}("a")` : `${name}(${on})`));
const term = fc.oneof(operand, sum, loop, call);
const comparison = fc
  .tuple(term, fc.constantFrom('==', '<', 'in', '&&', '||'), term)
  .map(([left, operator, right]) => `${left} ${operator} ${right}`);
const nested = fc
  .tuple(comparison, fc.integer({ min: 0, max: 60 }))
  .map(([inner, depth]) => `${'('.repeat(depth)}${inner}${')'.repeat(depth)}`);
const expressions = fc.oneof(term, comparison, nested, fc.string());

test('every text is either refused with both of its sentences or runs to an answer, and always the same', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(expressions, fc.jsonValue(), (expression, data) => {
      const [first, second] = [compileCondition(expression), compileCondition(expression)];
      const answer = answerOf(first, data);
      seen.add(answer.kind);
      expect(answerOf(second, data)).toEqual(answer);
    }),
    {
      numRuns: 1_000,
      // One of each kind, which chance alone does not always bring.
      examples: [
        ['event.data == event.data', 1],
        ['event.data != event.data', 1],
        ['event.data', 1],
        ['nobody', 1],
      ],
    },
  );
  expect([...seen].sort()).toEqual(['error', 'false', 'refused', 'true']);
});

function answerOf(condition: Condition, data: unknown) {
  if (condition.kind === 'compiled') return condition.run(eventOf(data));
  expect(condition.rule).toMatch(/^must /);
  expect(condition.reason).toMatch(/^[\w ()]+$/);
  return condition;
}
