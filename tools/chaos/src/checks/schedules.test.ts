import { expect, test } from '@jest/globals';
import { systemEventNames } from '@ironflow/schema';
import { overlapEveryMs, overlapFunction, overlaps } from '../cases/schedules.js';
import type { Facts } from '../facts.js';
import { checkOverlapTimes } from './schedules.js';

const times = Array.from({ length: 20 }, (_, index) => index * overlapEveryMs);

function found(over: { without?: number; and?: number } = {}): number {
  const events = overlaps.flatMap((overlap) =>
    [...times.filter((timeMs) => timeMs !== over.without), ...(over.and === undefined ? [] : [over.and])].map(
      (timeMs) => ({
        name: systemEventNames.cron(overlapFunction(overlap)),
        data: { scheduledAt: new Date(timeMs).toISOString() },
      }),
    ),
  );
  const schedule = { fromMs: 0, untilMs: times.at(-1)! };
  return checkOverlapTimes({ events, schedule } as unknown as Facts).length;
}

test('a time that did not fire, fired twice, or is none', () => {
  expect(found()).toBe(0);
  expect(found({ without: times[7]! })).toBe(overlaps.length);
  expect(found({ and: times[7]! })).toBe(overlaps.length);
  expect(found({ and: times[7]! + 1_000 })).toBe(overlaps.length);
  // It may have been registered a moment too late for it, or have been stopped.
  expect(found({ without: 0 })).toBe(0);
  expect(found({ without: times.at(-1)! })).toBe(0);
});
