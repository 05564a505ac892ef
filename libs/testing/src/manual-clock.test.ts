import { expect, test } from '@jest/globals';
import { createManualClock } from './manual-clock.js';

test('timers fire in the order they fall due, each at its own time, and equal ones as they were set', async () => {
  const clock = createManualClock(1_000);
  const fired: string[] = [];
  const note = (name: string) => () => fired.push(`${name}@${clock.now()}`);
  clock.setTimeout(note('late'), 300);
  clock.setTimeout(note('first'), 100);
  clock.setTimeout(note('second'), 100);
  await clock.advance(250);
  expect(fired).toEqual(['first@1100', 'second@1100']);
  expect(clock.now()).toBe(1_250);
  await clock.advance(50);
  expect(fired.at(-1)).toBe('late@1300');
});

test('a loop that awaits a timer and sets the next one is followed within one advance', async () => {
  const clock = createManualClock(0);
  const times: number[] = [];
  const loop = async () => {
    for (let round = 0; round < 3; round += 1) {
      await new Promise<void>((resolve) => clock.setTimeout(resolve, 10));
      times.push(clock.now());
    }
  };
  const finished = loop();
  await clock.advance(100);
  await finished;
  expect(times).toEqual([10, 20, 30]);
});

test('a cancelled timer never fires', async () => {
  const clock = createManualClock();
  let fired = false;
  const timer = clock.setTimeout(() => (fired = true), 5);
  expect(clock.pending).toBe(1);
  timer.cancel();
  await clock.advance(10);
  expect(fired).toBe(false);
  expect(clock.pending).toBe(0);
});
