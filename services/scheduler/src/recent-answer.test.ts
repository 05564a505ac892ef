import { expect, test } from '@jest/globals';
import { createManualClock } from '@ironflow/testing';
import { createRecentAnswer } from './recent-answer.js';

test('an answer stands for a second, and is asked for once however many wait for it', async () => {
  const clock = createManualClock();
  let asked = 0;
  let answer = (_value: number): void => undefined;
  const recent = createRecentAnswer(() => {
    asked += 1;
    return new Promise<number>((resolve) => (answer = resolve));
  }, clock);
  const waiting = [recent(), recent()];
  await clock.advance(3_000);
  const late = recent();
  answer(7);
  expect(await Promise.all([...waiting, late])).toEqual([7, 7, 7]);
  expect(asked).toBe(1);

  // It took three seconds: whoever comes now hears another one.
  const next = recent();
  answer(8);
  expect([await next, await recent(), asked]).toEqual([8, 8, 2]);
  await clock.advance(1_000);
  const third = recent();
  answer(9);
  expect([await third, asked]).toEqual([9, 3]);
});

test('a failure stands for nobody who asks later', async () => {
  let isAway = true;
  const recent = createRecentAnswer(
    () => (isAway ? Promise.reject(new Error('away')) : Promise.resolve(1)),
    createManualClock(),
  );
  await expect(recent()).rejects.toThrow('away');
  isAway = false;
  expect(await recent()).toBe(1);
});
