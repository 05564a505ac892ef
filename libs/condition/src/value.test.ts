import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { limits } from '@ironflow/schema';
import type { FunctionEvent } from '@ironflow/schema';
import { compileValue } from './value.js';
import type { ValueUse } from './value.js';

function eventOf(data: unknown): FunctionEvent {
  return {
    id: '0190a000-0000-7000-8000-0000000000aa',
    name: 'order.placed',
    data,
    receivedAt: '2026-01-02T03:04:05.000Z',
    correlationId: 'root',
  };
}
const order = eventOf({
  customer: 'c1',
  total: 120,
  rate: 0.5,
  paid: true,
  coupon: null,
  lines: [
    { sku: 'b', count: 2 },
    { count: 1, sku: 'a' },
  ],
  secret: 'hunter2',
  broken: '\ud800',
  long: 'x'.repeat(limits.flowKeyBytesMax + 1),
});

function run<Use extends ValueUse>(expression: string, use: Use, event = order) {
  const value = compileValue(expression, use);
  if (value.kind === 'refused') throw new Error(`refused: ${value.rule}`);
  return value.run(event);
}

describe('a key', () => {
  test.each([
    ['event.data.customer', 'c1'],
    ['event.data.total', '120'],
    ['120', '120'],
    ['120.0', '120'],
    ['string(event.data.total)', '120'],
    ['-0.0', '0'],
    ['event.data.rate', '0.5'],
    ['event.data.paid', 'true'],
    ['9223372036854775807', '9223372036854775807'],
    ['""', ''],
    ['event.data.?customer', 'c1'],
    ['[event.data.customer, event.data.total, 7, event.data.?none]', '["c1",120,7,null]'],
    ['event.data.lines', '[{"count":2,"sku":"b"},{"count":1,"sku":"a"}]'],
    ['{"b": 1, "a": [true]}', '{"a":[true],"b":1}'],
    ['event.name + event.data.customer', 'order.placedc1'],
  ])('%s is the text %s', (expression, value) => {
    expect(run(expression, 'key')).toEqual({ kind: 'value', value });
  });

  test.each(['null', 'event.data.coupon', 'event.data.?none', 'optional.none()'])(
    '%s is none',
    (expression) => {
      expect(run(expression, 'key')).toEqual({ kind: 'value', value: undefined });
    },
  );

  test.each([
    ['event.data.none', 'no_such_key at character 12'],
    ['event.data.long', 'key_too_long'],
    ['[event.data.long]', 'key_too_long'],
    ['{event.data.long: 1}', 'key_too_long'],
    ['event.data.broken', 'key_not_text'],
    ['"a\\u0000"', 'key_not_text'],
    ['0.0 / 0.0', 'result_not_key'],
    ['[timestamp(event.receivedAt)]', 'result_not_key'],
    ['int(event.data.secret)', 'int_conversion_error'],
  ])('%s fails with what went wrong and nothing of the event', (expression, expected) => {
    const result = run(expression, 'key');
    expect(result).toMatchObject({ kind: 'error', reason: expect.stringContaining(expected) });
    expect(JSON.stringify(result)).not.toContain('hunter2');
  });

  test.each(['é', '\ud83d\ude00'])('is as long as its bytes: %s', (character) => {
    const longest = character.repeat(limits.flowKeyBytesMax / Buffer.byteLength(character));
    expect(run('event.data.key', 'key', eventOf({ key: longest }))).toMatchObject({ value: longest });
    expect(run('event.data.key', 'key', eventOf({ key: `${longest}x` }))).toMatchObject({
      reason: 'key_too_long',
    });
  });

  test('that would be endless once written out is not', () => {
    const doubled = `[event.data.customer]${'.map(x, [x, x])'.repeat(40)}`;
    expect(run(doubled, 'key')).toEqual({ kind: 'error', reason: 'key_too_long' });
  });

  test.each(['b"a"', 'timestamp(event.receivedAt)', 'duration("1s")', 'type(1)', '1u', 'optional.of(b"a")'])(
    'is not %s',
    (expression) => {
      expect(compileValue(expression, 'key')).toEqual({
        kind: 'refused',
        rule: expect.stringMatching(/^must be a text, .* is of type /),
        reason: 'result_not_key',
      });
    },
  );
});

describe('a priority', () => {
  test.each([
    ['event.data.total', 120],
    ['event.data.paid ? 300 : -300', 300],
    ['-event.data.rate', -0.5],
    ['601', 600],
    ['-1.0 / 0.0', -600],
    ['event.data.?none', 0],
    ['event.data.coupon', 0],
  ])('%s is %d', (expression, value) => {
    expect(run(expression, 'priority')).toEqual({ kind: 'value', value });
  });

  test.each([
    ['event.data.customer', 'result_not_number'],
    ['event.data.paid', 'result_not_number'],
    ['event.data.lines', 'result_not_number'],
    ['0.0 / 0.0', 'result_not_number'],
    ['event.data.none', 'no_such_key at character 12'],
  ])('%s fails', (expression, reason) => {
    expect(run(expression, 'priority')).toEqual({ kind: 'error', reason });
  });

  test.each(['"high"', 'true', '[1]', '{"a": 1}', 'timestamp(event.receivedAt)'])(
    'is not %s',
    (expression) => {
      expect(compileValue(expression, 'priority')).toEqual({
        kind: 'refused',
        rule: expect.stringMatching(/^must be a number of seconds: this is of type /),
        reason: 'result_not_number',
      });
    },
  );
});

describe('either', () => {
  test.each<[string, RegExp]>([
    ['event.data.', /^must be valid CEL over "event"/],
    ['trigger.data.customer', /^must be valid CEL over "event".*trigger/],
    ['[event.data.customer].join()', /^must not use join\(\)/],
    ['event.name.matches(event.data.customer)', /^must give matches\(\)/],
    [Array(34).fill('1').join(' + '), /32 additions$/],
  ])('is bounded like a condition: %s', (expression, rule) => {
    for (const use of ['key', 'priority'] as const) {
      expect(compileValue(expression, use)).toMatchObject({
        kind: 'refused',
        rule: expect.stringMatching(rule),
      });
    }
  });

  test('tells how often it may read the data', () => {
    expect(compileValue('event.data.customer', 'key')).toMatchObject({ readingsMax: 1 });
    expect(compileValue('event.data.lines.map(line, line.sku)', 'key')).toMatchObject({
      readingsMax: Infinity,
    });
  });

  test('whose data cannot be read fails without throwing', () => {
    const unreadable: FunctionEvent = {
      ...order,
      get data(): unknown {
        throw new SyntaxError('no JSON');
      },
    };
    expect(run('event.data', 'key', unreadable)).toEqual({ kind: 'error', reason: 'unexpected_failure' });
    expect(run('event', 'key', unreadable)).toEqual({ kind: 'error', reason: 'unexpected_failure' });
  });
});

/** The same value, its maps' fields in the opposite order. */
function reordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reordered);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, field]) => [name, reordered(field)]),
  );
}

test('a key of whatever is the same in whichever order its fields came, never too long, and tells values apart', () => {
  const keys = new Map<string, string>();
  fc.assert(
    fc.property(fc.jsonValue(), (data) => {
      const result = run('[event.data]', 'key', eventOf(data));
      expect(run('[event.data]', 'key', eventOf(reordered(data)))).toEqual(result);
      if (result.kind === 'error') {
        expect(result.reason).toMatch(/^key_(too_long|not_text)$/);
        return;
      }
      const text = String(result.value);
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(limits.flowKeyBytesMax);
      const [read] = JSON.parse(text) as unknown[];
      expect(run('[event.data]', 'key', eventOf(read))).toEqual(result);
      const spelled = JSON.stringify(reordered(reordered(read)));
      expect(keys.get(text) ?? spelled).toBe(spelled);
      keys.set(text, spelled);
    }),
    { numRuns: 500 },
  );
});

const pieces = fc.constantFrom(
  'event.data',
  'event.data.a',
  'event.?x',
  '1',
  '"a"',
  '0.5',
  'null',
  'nobody',
  '[1, event.data]',
  '{"a": event.name}',
  'b"a"',
  'timestamp(event.receivedAt)',
);
const joined = fc
  .tuple(pieces, fc.constantFrom('+', '==', '<', '&&', '/'), pieces)
  .map(([left, operator, right]) => `${left} ${operator} ${right}`);
const mapped = fc
  .tuple(pieces, fc.integer({ min: 0, max: 8 }), pieces)
  .map(([list, count, body]) => `${list}${`.map(x, ${body})`.repeat(count)}`);

test.each(['key', 'priority'] as const)(
  'every text is either refused as a %s with both of its sentences or runs to an answer, always the same',
  (use) => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.oneof(pieces, joined, mapped, fc.string()), fc.jsonValue(), (expression, data) => {
        const value = compileValue(expression, use);
        if (value.kind === 'refused') {
          expect(value.rule).toMatch(/^must /);
          expect(value.reason).toMatch(/^[\w ()]+$/);
          seen.add('refused');
          return;
        }
        const result = value.run(eventOf(data));
        expect(value.run(eventOf(data))).toEqual(result);
        seen.add(result.kind);
      }),
      {
        numRuns: 500,
        examples: [
          ['event.data.a', 1],
          ['1', 1],
          ['nobody', 1],
        ],
      },
    );
    expect([...seen].sort()).toEqual(['error', 'refused', 'value']);
  },
);
