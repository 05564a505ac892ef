import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatTraceparent, parseTraceparent, runSpanId } from './trace.js';

const hex = (length: number) =>
  fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`)).filter((text) => !/^0+$/.test(text));

test('what is written is read', () => {
  fc.assert(
    fc.property(hex(32), hex(16), fc.boolean(), (traceId, spanId, sampled) => {
      const context = { traceId, spanId, sampled };
      expect(parseTraceparent(formatTraceparent(context))).toEqual(context);
    }),
  );
});

test('other flags than "sampled" are passed over, and a newer version is read like the first', () => {
  const ids = `${'a'.repeat(32)}-${'b'.repeat(16)}`;
  expect(parseTraceparent(`00-${ids}-03`)?.sampled).toBe(true);
  expect(parseTraceparent(`00-${ids}-02`)?.sampled).toBe(false);
  expect(parseTraceparent(`01-${ids}-01`)?.traceId).toBe('a'.repeat(32));
});

test.each([
  undefined,
  '',
  'garbage',
  `ff-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
  `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`,
  `00-${'a'.repeat(32)}-${'0'.repeat(16)}-01`,
  `00-${'A'.repeat(32)}-${'b'.repeat(16)}-01`,
  `00-${'a'.repeat(31)}-${'b'.repeat(16)}-01`,
  `00-${'a'.repeat(32)}-${'b'.repeat(16)}`,
  `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01\n`,
])('is no traceparent: %j', (value) => {
  expect(parseTraceparent(value)).toBeUndefined();
});

test('a run’s span id is a span id, the same each time and another for another run', () => {
  fc.assert(
    fc.property(fc.uuid(), fc.uuid(), (a, b) => {
      expect(runSpanId(a)).toMatch(/^[0-9a-f]{16}$/);
      expect(runSpanId(a)).toBe(runSpanId(a));
      if (a !== b) expect(runSpanId(a)).not.toBe(runSpanId(b));
    }),
  );
});
