import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { loggedLineSchema, limits } from '@ironflow/schema';
import type { LogLine } from '../logger.js';
import { KeptLines } from './kept-lines.js';

const line = (changes: Partial<LogLine> = {}): LogLine => ({
  level: 'info',
  message: 'm',
  fields: {},
  ...changes,
});
const fieldsOf = (fields: Record<string, unknown>): unknown => {
  const kept = new KeptLines(() => 1);
  kept.add(line({ fields }), undefined);
  const [only] = kept.take();
  return only!.fields === undefined ? undefined : JSON.parse(only!.fields);
};

test('lines are numbered over all that is taken, and have their time and step', () => {
  let nowMs = 5;
  const kept = new KeptLines(() => nowMs++);
  kept.add(line({ message: 'first', fields: { a: 1 } }), undefined);
  expect(kept.size).toBeGreaterThan(0);
  expect(kept.take()).toEqual([{ sequence: 0, atMs: 5, level: 'info', message: 'first', fields: '{"a":1}' }]);
  expect([kept.size, kept.take()]).toEqual([0, []]);
  kept.add(line({ level: 'warn' }), { id: 'charge:1', attempt: 2 });
  expect(kept.take()).toEqual([
    { sequence: 1, atMs: 6, level: 'warn', message: 'm', step: { id: 'charge:1', attempt: 2 } },
  ]);
});

test('errors are readable, and what is no JSON costs neither the line nor the function', () => {
  class Declined extends Error {
    override name = 'Declined';
    code = 7;
  }
  expect(fieldsOf({ error: new Declined('no', { cause: new TypeError('why') }), n: 7n })).toMatchObject({
    error: { name: 'Declined', message: 'no', code: 7, cause: { name: 'TypeError', message: 'why' } },
    n: '7',
  });
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  expect(fieldsOf(circle)).toBe('not JSON');
  expect(fieldsOf({})).toBeUndefined();
  const kept = new KeptLines(() => 1);
  kept.add(line({ message: undefined as unknown as string }), undefined);
  expect(kept.take()[0]!.message).toBe('undefined');
});

test('whatever is written fits the protocol, and what is cut says so', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constantFrom('é', '"', '\\', '\u0001', '😀', '\ud800').map((unit) => unit.repeat(20_000)),
  );
  fc.assert(
    fc.property(text, text, (message, field) => {
      const kept = new KeptLines(() => 1);
      kept.add(line({ message, fields: { field } }), undefined);
      const [only] = kept.take();
      expect(loggedLineSchema.safeParse(only).success).toBe(true);
      if (Buffer.byteLength(message) > limits.logMessageBytesMax) expect(only!.message).toMatch(/ \[cut\]$/);
      else expect(only!.message).toBe(message);
      const fields = JSON.parse(only!.fields!) as { field?: string; cut?: string };
      if (fields.cut === undefined) expect(fields.field).toBe(field);
      else expect(fields.cut).toMatch(/^\{"field":.* \[cut\]$/su);
    }),
  );
});

test('of one call so many lines are kept, or so many bytes, and the last one says that there were more', () => {
  const many = new KeptLines(() => 1);
  for (let count = 0; count < limits.logLinesPerCallMax + 50; count += 1) many.add(line(), undefined);
  const lines = many.take();
  expect(lines).toHaveLength(limits.logLinesPerCallMax + 1);
  expect(lines.at(-2)).toMatchObject({ message: 'm' });
  expect(lines.at(-1)).toMatchObject({
    sequence: limits.logLinesPerCallMax,
    level: 'warn',
    message: expect.stringContaining('1000 lines are kept'),
  });
  expect(loggedLineSchema.safeParse(lines.at(-1)).success).toBe(true);

  const large = new KeptLines(() => 1);
  const message = 'x'.repeat(limits.logMessageBytesMax);
  for (let count = 0; count < 200; count += 1) large.add(line({ message }), undefined);
  const kept = limits.logBytesPerCallMax / limits.logMessageBytesMax;
  expect(large.take().map((one) => one.message.length)).toEqual([
    ...Array.from({ length: kept }, () => limits.logMessageBytesMax),
    expect.any(Number),
  ]);
});
