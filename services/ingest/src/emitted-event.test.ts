import { describe, expect, test } from '@jest/globals';
import { IronflowError } from '@ironflow/errors';
import { dataDepthMax } from '@ironflow/schema';
import { dataText, prepareEvents } from './emitted-event.js';

const nowMs = Date.UTC(2030, 0, 1);
const now = { nowMs, isWaiting: false };

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
    expect(prepareEvents({ name: 'a', data: { b: [1, 'x'] } }, now)[0]!.data).toBe('{"b":[1,"x"]}');
    expect(prepareEvents({ name: 'a' }, now)[0]!.data).toBe('null');
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
});

test('an event of a batch is refused by its place in it', () => {
  const events = [{ name: 'a' }, { name: 'b', version: 'a\u0000b' }];
  expect(refusalOf(() => prepareEvents(events, now))).toEqual({
    code: 'invalid_request',
    field: '[1].version',
  });
});

test.each(['line\nbreak', 'ünïcode', ' space', 'nul\u0000'])(
  'a correlation id that cannot be a header is refused: %j',
  (correlationId) => {
    expect(refusalOf(() => prepareEvents({ name: 'a', correlationId }, now)).field).toBe('correlationId');
  },
);

test.each(['idempotencyKey', 'version'])('half a surrogate pair is refused in %s', (field) => {
  expect(refusalOf(() => prepareEvents({ name: 'a', [field]: 'a\ud800' }, now))).toEqual({
    code: 'invalid_request',
    field,
  });
  expect(prepareEvents({ name: 'a', [field]: '😀' }, now)).toMatchObject([{ [field]: '😀' }]);
});

describe('an event that is to come later', () => {
  const at = (offsetMs: number): string => new Date(nowMs + offsetMs).toISOString();
  const yearMs = 366 * 86_400_000;

  test('has its time, whatever its offset is written as', () => {
    expect(prepareEvents({ name: 'a', at: '2030-01-02T01:00:00+01:00' }, now)).toMatchObject([
      { atMs: nowMs + 86_400_000 },
    ]);
  });

  test('comes at once when its time is long gone; when it has just passed Postgres decides', () => {
    expect(prepareEvents({ name: 'a', at: at(-61_000) }, now)[0]).not.toHaveProperty('atMs');
    expect(prepareEvents({ name: 'a', at: at(-59_000) }, now)).toMatchObject([{ atMs: nowMs - 59_000 }]);
  });

  test('is at most a year ahead', () => {
    expect(prepareEvents({ name: 'a', at: at(yearMs) }, now)).toMatchObject([{ atMs: nowMs + yearMs }]);
    const beyond = [{ name: 'a' }, { name: 'a', at: at(yearMs + 1) }];
    expect(() => prepareEvents(beyond, now)).toThrow(expect.objectContaining({ field: '[1].at' }));
  });

  test('cannot be waited for', () => {
    const waiting = { nowMs, isWaiting: true };
    expect(() => prepareEvents({ name: 'a', at: at(1) }, waiting)).toThrow(
      expect.objectContaining({ field: 'at' }),
    );
    expect(prepareEvents({ name: 'a', at: at(0) }, waiting)[0]).not.toHaveProperty('atMs');
  });
});
