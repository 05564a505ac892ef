import { expect, test } from '@jest/globals';
import { createLogger } from '@ironflow/service';
import { createManualClock } from '@ironflow/testing';
import { createStorageMeasure } from './storage-measure.js';

const minuteMs = 60_000;

test('it is measured every minute by whoever has the lock, also after a failure, and no more once it is stopped', async () => {
  const clock = createManualClock();
  let measured = 0;
  let isLocked = false;
  let fails = false;
  const storage = createStorageMeasure({
    measure: async () => {
      measured += 1;
      if (fails) throw new Error('the database is away');
    },
    withAdvisoryLock: async (_name, work) => (isLocked ? undefined : work()),
    logger: createLogger({ service: 'test', level: 'silent' }),
    clock,
  });
  storage.start();
  await clock.advance(minuteMs - 1);
  expect(measured).toBe(0);
  await clock.advance(1);
  expect(measured).toBe(1);
  fails = true;
  await clock.advance(minuteMs);
  fails = false;
  isLocked = true;
  await clock.advance(minuteMs);
  isLocked = false;
  await clock.advance(minuteMs);
  expect(measured).toBe(3);
  await storage.stop();
  await clock.advance(minuteMs * 5);
  expect([measured, clock.pending]).toEqual([3, 0]);
});
