import { describe, expect, test } from '@jest/globals';
import { IronflowError } from '@ironflow/errors';
import fc from 'fast-check';
import { dataDepthMax, dataText, isDeeperThan, prepareEvents } from './emitted-event.js';

const limitBytes = 512 * 1024;

function refusalOf(work: () => unknown): { code: string; field: string | undefined } {
  try {
    work();
  } catch (error) {
    if (error instanceof IronflowError) return { code: error.code, field: error.field };
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('the data of an event', () => {
  test('is written as JSON text, and null when absent', () => {
    expect(prepareEvents({ name: 'a', data: { b: [1, 'x'] } })[0]!.data).toBe('{"b":[1,"x"]}');
    expect(prepareEvents({ name: 'a' })[0]!.data).toBe('null');
  });

  test('is taken up to the limit and refused one byte above it', () => {
    expect(dataText('x'.repeat(limitBytes - 2), 'data')).toHaveLength(limitBytes);
    expect(refusalOf(() => dataText('x'.repeat(limitBytes - 1), 'data')).code).toBe('event_data_too_large');
  });

  test('is measured in bytes of UTF-8, not in characters', () => {
    expect(refusalOf(() => dataText('€'.repeat(limitBytes / 3 + 1), 'data')).code).toBe(
      'event_data_too_large',
    );
  });

  test('is refused when it would not fit a message once it is escaped', () => {
    expect(refusalOf(() => dataText('"'.repeat(limitBytes / 2 - 8), 'data')).code).toBe(
      'event_data_too_large',
    );
  });

  test('is refused when it nests too deep, however deep that is', () => {
    const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
    expect(dataText(nested(dataDepthMax), 'data')).toHaveLength(dataDepthMax * 2);
    for (const levels of [dataDepthMax + 1, 100_000]) {
      expect(refusalOf(() => dataText(nested(levels), 'data')).code).toBe('event_data_too_deep');
    }
  });

  test('has its depth counted outside of strings only', () => {
    const brackets = fc.string({ unit: fc.constantFrom('[', '{', '"', '\\', 'x', ']'), minLength: 1 });
    fc.assert(
      fc.property(fc.array(brackets), (strings) => !isDeeperThan(JSON.stringify([strings]).padEnd(10), 2)),
    );
  });
});

test('an event of a batch is refused by its place in it', () => {
  const events = [{ name: 'a' }, { name: 'b', version: 'a\u0000b' }];
  expect(refusalOf(() => prepareEvents(events))).toEqual({ code: 'invalid_request', field: '[1].version' });
});

test.each(['line\nbreak', 'ünïcode', ' space', 'nul\u0000'])(
  'a correlation id that cannot be a header is refused: %j',
  (correlationId) => {
    expect(refusalOf(() => prepareEvents({ name: 'a', correlationId })).field).toBe('correlationId');
  },
);

test.each(['idempotencyKey', 'version'])('half a surrogate pair is refused in %s', (field) => {
  expect(refusalOf(() => prepareEvents({ name: 'a', [field]: 'a\ud800' }))).toEqual({
    code: 'invalid_request',
    field,
  });
  expect(prepareEvents({ name: 'a', [field]: '😀' })).toMatchObject([{ [field]: '😀' }]);
});
