import { expect, test } from '@jest/globals';
import type { Delivery } from '@ironflow/jetstream';
import type { JournalEntry, JournalMessage } from '@ironflow/schema';
import { createManualClock } from '@ironflow/testing';
import { createIntake } from './intake.js';

const limits = { messages: 10, bytes: 1_000_000 };
const runId = (run: number): string => `0192f0c0-0000-7000-8000-00000000000${run}`;
const step: JournalEntry = {
  type: 'step',
  step: {
    ...{ id: 'a', name: 'a', attempt: 1, type: 'run', startedAtMs: 1, endedAtMs: 2 },
    ...{ status: 'completed', output: '1' },
  },
};
const end: JournalEntry = { type: 'run', run: { kind: 'completed', served: 1 } };

function setup() {
  const clock = createManualClock();
  let setBackMs = 0;
  const moved = { ...clock, now: () => clock.now() - setBackMs };
  const setBack = (ms: number): void => void (setBackMs = ms);
  const intake = createIntake({ messagesMax: 100, bytesMax: 1_000_000, lingerMs: 50, clock: moved });
  const add = (sequence: number, run: number, entry: JournalEntry): void => {
    const message: JournalMessage = {
      environmentId: runId(0),
      runId: runId(run),
      functionId: 'f',
      prev: 0,
      writer: { activation: 1, delivery: 1, executor: 'e' },
      activatedAtMs: 1,
      entries: [entry],
    };
    const text = JSON.stringify(message);
    intake.add({ sequence, data: Buffer.from(text), text: () => text } as unknown as Delivery);
  };
  const take = (bounds = limits): number[] => intake.take(bounds).map(({ sequence }) => sequence);
  return { clock, setBack, intake, add, take };
}

test('records of steps linger, each for its own time', async () => {
  const { clock, intake, add, take } = setup();
  expect(intake.dueInMs()).toBeUndefined();
  add(1, 1, step);
  await clock.advance(20);
  add(2, 2, step);
  expect([intake.dueInMs(), take()]).toEqual([30, []]);
  await clock.advance(30);
  expect([intake.dueInMs(), take(), intake.dueInMs()]).toEqual([0, [1], 20]);
});

test('what somebody waits for goes at once with what came before it of its run; other runs go on waiting', () => {
  const { intake, add, take } = setup();
  add(1, 1, step);
  add(2, 2, step);
  add(3, 1, end);
  expect([intake.dueInMs(), take()]).toEqual([0, [1, 3]]);
  expect([intake.dueInMs(), take()]).toEqual([50, []]);
});

test('what was due and found no room in a batch is due still', () => {
  const { intake, add, take } = setup();
  for (const [sequence, run] of [
    [1, 1],
    [2, 2],
    [3, 3],
  ] as const)
    add(sequence, run, end);
  expect(take({ ...limits, bytes: 1 })).toEqual([1]);
  expect([intake.dueInMs(), take()]).toEqual([0, [2, 3]]);
});

test('a full batch waits for nothing', () => {
  const { add, take } = setup();
  for (const sequence of [1, 2, 3]) add(sequence, sequence, step);
  expect(take({ ...limits, messages: 3 })).toEqual([1, 2, 3]);
});

test('a clock that is set back keeps nothing waiting', () => {
  const { setBack, intake, add, take } = setup();
  add(1, 1, step);
  setBack(3_600_000);
  expect([intake.dueInMs(), take()]).toEqual([0, [1]]);
});
