import { expect, test } from '@jest/globals';
import { stopTimes } from './stop-times.js';

test.each([undefined, 0, 20_000, 600_000])(
  'after %p ms of draining HTTP is cut later, the process later still',
  (drain) => {
    const { httpDrainTimeoutMs, stopTimeoutMs } = stopTimes(drain);
    expect(httpDrainTimeoutMs).toBeGreaterThan(drain ?? 0);
    expect(stopTimeoutMs).toBeGreaterThan(httpDrainTimeoutMs);
    expect(stopTimeoutMs).toBeGreaterThanOrEqual(25_000);
  },
);
