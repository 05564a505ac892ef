import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { consumers } from '@ironflow/schema';
import { createLogger, createMetrics, systemClock } from '@ironflow/service';
import { eventually } from '@ironflow/testing';
import { completedStep, run } from '../test/journal.js';
import { createPlatform, drive } from '../test/collector-platform.js';
import type { Platform } from '../test/collector-platform.js';
import { createCollectorMetrics } from './collector-metrics.js';
import { createTrimmer } from './trimmer.js';
import type { Trimmer } from './trimmer.js';
import type { TrimLimits } from './trim-bound.js';

let platform: Platform;
beforeAll(async () => {
  platform = await createPlatform();
}, 60_000);
afterAll(() => platform.close());

const generous: TrimLimits = { maxAgeMs: 3_600_000, maxBytes: 1_000_000_000, breakerPatienceMs: 30_000 };

/** `laterMs`: how far its clock is ahead of the messages. */
function trimmerWith(limits: Partial<TrimLimits>, laterMs = 0): Trimmer {
  return createTrimmer({
    jetstream: platform.jetstream,
    database: platform.service,
    logger: createLogger({ service: 'test', level: 'silent' }),
    clock: { ...systemClock, now: () => Date.now() + laterMs },
    metrics: createCollectorMetrics(createMetrics({ service: 'test' })),
    intervalMs: 1_000,
    limits: { ...generous, ...limits },
  });
}

const first = async (): Promise<number> => (await platform.jetstream.states.stream('RESULTS')).firstSequence;

test('the stream is trimmed by age and size, never beyond what was acknowledged or the breaker still wants', async () => {
  const runs = await platform.startRuns(platform.ours, 10);
  const journal = [[completedStep('a')], [run({ kind: 'completed', served: 1 })]];
  const sequences: number[] = [];
  for (const { id } of runs) sequences.push(...(await drive(platform.jetstream, platform.ours, id, journal)));
  const beginning = await first();
  const tiny = { maxBytes: 1 };

  // Nobody has acknowledged anything.
  expect(await trimmerWith(tiny).runOnce()).toBeUndefined();
  expect(await first()).toBe(beginning);

  await platform.startCollector();
  await eventually(async () => {
    expect((await platform.jetstream.states.consumer(consumers.resultCollector)).ackFloor).toBe(
      sequences.at(-1),
    );
  });
  // The breaker has read none of them: only the entry before the first `run` entry may go.
  expect(await trimmerWith(tiny).runOnce()).toBeUndefined();
  // It is more than 30 s behind.
  const half = (await platform.jetstream.states.stream('RESULTS')).bytes / 2;
  const bound = await trimmerWith({ maxBytes: half }, 31_000).runOnce();
  expect(bound).toBe(await first());
  expect(sequences.indexOf(bound!)).toBeGreaterThan(8);
  expect(sequences.indexOf(bound!)).toBeLessThan(13);

  // By age: all of it is older than an hour and a minute.
  expect(await trimmerWith({}, 30 * 60_000).runOnce()).toBeUndefined();
  expect(await trimmerWith({}, 3_700_000).runOnce()).toBe(sequences.at(-1)! + 1);
  expect((await platform.jetstream.states.stream('RESULTS')).messages).toBe(0);
});
