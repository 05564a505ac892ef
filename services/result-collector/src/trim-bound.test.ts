import { expect, test } from '@jest/globals';
import { bytesKept, hasOutlived, sizeBound, trimCeiling } from './trim-bound.js';
import type { TrimState } from './trim-bound.js';

const limits = { maxAgeMs: 3_600_000, maxBytes: 1_000, breakerPatienceMs: 30_000 };
const nowMs = 10_000_000;
const state = (changes: Partial<TrimState>): TrimState => ({
  nowMs,
  stream: {
    messages: 100,
    bytes: 2_000,
    maxBytes: 8_000,
    firstSequence: 101,
    lastSequence: 200,
    firstStoredAtMs: nowMs - 1,
    replicasBehind: 0,
  },
  collector: { ackFloor: 180, pending: 0, ackPending: 20 },
  breaker: { ackFloor: 150, pending: 5, ackPending: 0 },
  breakerNextStoredAtMs: nowMs - 1_000,
  ...changes,
});

test('what the collectors have not acknowledged never goes', () => {
  const breaker = { ackFloor: 500, pending: 1, ackPending: 0 };
  expect(trimCeiling(state({ breaker }), limits)).toBe(181);
});

test('the breaker holds back what it has not read, but not for longer than its patience', () => {
  expect(trimCeiling(state({}), limits)).toBe(151);
  expect(trimCeiling(state({ breakerNextStoredAtMs: nowMs - 30_001 }), limits)).toBe(181);
});

test('a breaker that has read everything holds nothing back, though its last message is an old one', () => {
  const breaker = { ackFloor: 120, pending: 0, ackPending: 0 };
  expect(trimCeiling(state({ breaker, breakerNextStoredAtMs: undefined }), limits)).toBe(181);
});

test('the size bound leaves as many messages as fit, and nothing goes that fits', () => {
  const { stream } = state({});
  expect(sizeBound(stream, 1_000)).toBe(151);
  expect(sizeBound({ ...stream, maxBytes: Infinity }, 2_000)).toBe(101);
  expect(sizeBound({ ...stream, messages: 0, bytes: 0 }, 1_000)).toBe(101);
});

test('a stream that is small itself keeps an eighth, so that it does not stay full of what nobody needs', () => {
  const { stream } = state({});
  expect(sizeBound({ ...stream, maxBytes: 2_000 }, 1_000_000)).toBe(101 + 88);
  expect(bytesKept({ ...stream, maxBytes: 16_000 }, 1_000_000)).toBe(2_000);
  expect(bytesKept({ ...stream, maxBytes: 16_000 }, 500)).toBe(500);
});

test('a stream outlives its age with a minute of slack, and an empty one never does', () => {
  const { stream } = state({});
  const bornAgo = (ageMs: number) => ({ ...stream, firstStoredAtMs: nowMs - ageMs });
  expect(hasOutlived(bornAgo(3_650_000), limits.maxAgeMs, nowMs)).toBe(false);
  expect(hasOutlived(bornAgo(3_670_000), limits.maxAgeMs, nowMs)).toBe(true);
  expect(hasOutlived({ ...stream, firstStoredAtMs: undefined }, limits.maxAgeMs, nowMs)).toBe(false);
});
