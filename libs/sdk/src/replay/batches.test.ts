import { expect, test } from '@jest/globals';
import type { StepRecord } from '@ironflow/schema';
import {
  define,
  drive,
  invocationOf,
  newRun,
  asksNothing,
  standingStill,
  turn,
} from '../testing/memory-run.js';
import { startActivation } from './activation.js';
import { answerable, answerBytesMax, batchBytesMax } from './batches.js';

const outputLength = 500 * 1024;
const output = 'x'.repeat(outputLength);
const bytesOf = (records: StepRecord[]) => Buffer.byteLength(JSON.stringify(records));

/** Submissions as they come, acknowledged one by one. */
function start(handler: Parameters<typeof define>[0], recorded: StepRecord[][]) {
  const acknowledgements: (() => void)[] = [];
  const activation = startActivation({
    platform: asksNothing,
    definition: define(handler),
    invocation: invocationOf(newRun(), undefined),
    recorder: {
      record(records) {
        recorded.push(records);
        return new Promise((resolve) => acknowledgements.push(resolve));
      },
    },
    now: Date.now,
    random: () => 0.5,
    startTimer: standingStill,
    log: () => {},
  });
  return { activation, acknowledgements };
}

test('steps that end together are submitted in messages of at most 4 MiB, each acknowledged on its own', async () => {
  const recorded: StepRecord[][] = [];
  let ran = false;
  const { activation, acknowledgements } = start(async ({ step }) => {
    await Promise.all(Array.from({ length: 20 }, (_, n) => step.run(`part ${n}`, () => output)));
    await step.run('after', () => (ran = true));
  }, recorded);
  while (recorded.flat().length < 20) await turn();
  expect(recorded.length).toBe(3);
  for (const records of recorded) expect(bytesOf(records)).toBeLessThanOrEqual(batchBytesMax + 100);
  acknowledgements[0]!();
  acknowledgements[2]!();
  await turn();
  expect(ran).toBe(false);
  acknowledgements[1]!();
  expect(await activation.result).toMatchObject({ kind: 'ended', records: [{ id: 'after' }] });
});

test('the end carries no more than 4 MiB: what is more goes before it', async () => {
  const recorded: StepRecord[][] = [];
  const { activation, acknowledgements } = start(async ({ step }) => {
    await Promise.all(Array.from({ length: 20 }, (_, n) => step.run(`part ${n}`, () => output)));
    return 'done';
  }, recorded);
  let ended = false;
  void activation.result.then(() => (ended = true));
  while (recorded.flat().length < 20) await turn();
  await turn();
  expect(ended).toBe(false);
  for (const acknowledge of acknowledgements) acknowledge();
  expect(await activation.result).toMatchObject({
    outcome: { kind: 'completed', output: '"done"' },
    records: [],
  });
});

test('a thousand small steps at once are few messages', async () => {
  const recorded: StepRecord[][] = [];
  start(
    ({ step }) => Promise.all(Array.from({ length: 1_000 }, (_, n) => step.run(`${n}`, () => n))),
    recorded,
  );
  while (recorded.flat().length < 1_000) await turn();
  expect(recorded.length).toBeLessThanOrEqual(3);
});

test('push: an answer has at most 8 MiB of records, and what was left out runs again', async () => {
  const begun = new Map<string, number>();
  const definition = define(async ({ step }) => {
    const parts = Array.from({ length: 40 }, (_, n) =>
      step.run(`part ${n}`, () => {
        begun.set(`part ${n}`, (begun.get(`part ${n}`) ?? 0) + 1);
        return output;
      }),
    );
    return (await Promise.all(parts)).length;
  });
  const activation = startActivation({
    platform: asksNothing,
    definition,
    invocation: invocationOf(newRun(), undefined),
    now: Date.now,
    random: () => 0.5,
    startTimer: standingStill,
    log: () => {},
  });
  const first = await activation.result;
  if (first.kind !== 'ended') throw new Error('it was aborted');
  expect(first.outcome).toEqual({ kind: 'continue' });
  expect(bytesOf(first.records)).toBeLessThanOrEqual(answerBytesMax + 100);
  expect(first.records.length).toBe(16);
  begun.clear();
  const memory = newRun();
  expect(await drive({ run: memory, definition, mode: 'push' })).toEqual({ kind: 'completed', output: '40' });
  expect(memory.records).toHaveLength(40);
  expect(begun.get('part 0')).toBe(1);
  expect(begun.get('part 39')).toBe(3);
});

test('a record that is larger than an answer by itself goes alone', () => {
  const record = (id: string, text: string): StepRecord => ({
    ...{ id, name: id, attempt: 1, type: 'run', status: 'completed', startedAtMs: 1, endedAtMs: 2 },
    output: JSON.stringify(text),
  });
  const largest = record('largest', '"'.repeat(2 * 1024 * 1024 - 1));
  expect(bytesOf([largest])).toBeGreaterThan(answerBytesMax);
  expect(answerable([largest, record('small', 's')])).toEqual([largest]);
});
