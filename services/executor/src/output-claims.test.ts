import { expect, test } from '@jest/globals';
import { claimFor } from '@ironflow/database';
import type { OutputToClaim } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { JournalEntry } from '@ironflow/schema';
import type { WriteResult } from './journal-chain.js';
import { createClaimingWriter, withClaimedOutputs } from './output-claims.js';

const kibibytes = (count: number): string => `"${'x'.repeat(count * 1024 - 2)}"`;
const large = `${kibibytes(64)} `;

const step = (id: string, output: string): Extract<JournalEntry, { type: 'step' }> => ({
  type: 'step',
  step: {
    ...{ id, name: id, attempt: 2, type: 'run', status: 'completed', startedAtMs: 1, endedAtMs: 2, order: 3 },
    ...{ output },
  } as never,
});
const ended = (output: string): JournalEntry => ({
  type: 'run',
  run: { kind: 'completed', served: 1, output },
});

function setup() {
  const written: JournalEntry[][] = [];
  const stored: OutputToClaim[] = [];
  const answers: { resolve: (isStored: boolean) => void; reject: (error: Error) => void }[] = [];
  const broken: unknown[] = [];
  let held = true;
  const writer = createClaimingWriter({
    writer: {
      append: (entries) => {
        written.push(entries);
        return Promise.resolve('appended');
      },
      pin: () => undefined,
      hasAppended: () => written.length > 0,
    },
    environmentId: 'environment',
    runId: 'run',
    outputs: {
      add: (output) => {
        stored.push(output);
        return new Promise((resolve, reject) => answers.push({ resolve, reject }));
      },
    },
    lease: { isHeld: () => held },
    onBroken: (error) => broken.push(error),
    pause: turn,
  });
  return { writer, written, stored, answers, broken, lose: () => (held = false) };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const ids = (written: JournalEntry[][]): string[] =>
  written.flat().map((entry) => (entry.type === 'step' ? entry.step.id : 'end'));

test.each([
  ['64 KiB', kibibytes(64), true],
  ['64 KiB in three bytes a character', `"${'€'.repeat(21_844)}"`, true],
  ['a byte more', large, false],
  ['64 KiB and a byte in three bytes a character', `"${'€'.repeat(21_844)}" `.padEnd(21_850), false],
])('%s goes inline: %#', async (_what, output, isInline) => {
  const { writer, written, stored, answers } = setup();
  const appended = writer.append([step('a', output)]);
  await turn();
  answers[0]?.resolve(true);
  expect(await appended).toBe('appended');
  expect(stored).toHaveLength(isInline ? 0 : 1);
  expect(JSON.stringify(written).length > 20_000).toBe(isInline);
});

test('a step and a run claim what they returned under keys of their own; the rest of their entries stays', async () => {
  const { writer, written, stored, answers } = setup();
  const appended = writer.append([step('a', large), step('b', '1'), ended(large)]);
  for (const { resolve } of answers) resolve(true);
  expect(await appended).toBe('appended');
  const { hash, bytes } = claimFor(large);
  expect(bytes).toBe(65_537);
  const own = { runId: 'run', environmentId: 'environment', hash, output: large };
  expect(stored).toEqual([
    { ...own, stepId: 'a', attempt: 2 },
    { ...own, stepId: '', attempt: 0 },
  ]);
  const [first, second, last] = JSON.parse(JSON.stringify(written[0])) as JournalEntry[];
  expect(first).toEqual({
    type: 'step',
    step: {
      ...{ id: 'a', name: 'a', attempt: 2, type: 'run', status: 'completed', startedAtMs: 1, endedAtMs: 2 },
      ...{ order: 3, outputClaim: { hash, bytes } },
    },
  });
  expect(second).toEqual(step('b', '1'));
  expect(last).toEqual({ type: 'run', run: { kind: 'completed', served: 1, outputClaim: { hash, bytes } } });
});

test('nothing overtakes what waits for its output; outputs are stored at the same time', async () => {
  const { writer, written, answers } = setup();
  const appended = [writer.append([step('a', large)]), writer.append([step('b', '1')])];
  appended.push(writer.append([step('c', large)]), writer.append([ended('1')]));
  await turn();
  expect(answers).toHaveLength(2);
  answers[1]!.resolve(true);
  await turn();
  expect(written).toEqual([]);
  answers[0]!.resolve(true);
  expect(await Promise.all(appended)).toEqual(Array<WriteResult>(4).fill('appended'));
  expect(ids(written)).toEqual(['a', 'b', 'c', 'end']);
});

test('what waits for its output is being appended: a start that was announced behind it would follow the end', async () => {
  const { writer, written, answers } = setup();
  expect(writer.hasAppended()).toBe(false);
  void writer.append([step('a', large), ended('null')]);
  expect([writer.hasAppended(), written]).toEqual([true, []]);
  answers[0]!.resolve(true);
});

test('what is small goes straight on once nothing large is under way', async () => {
  const { writer, written, answers } = setup();
  const appended = writer.append([step('a', large)]);
  answers[0]!.resolve(true);
  await appended;
  await turn();
  void writer.append([step('b', '1')]);
  expect(ids(written)).toEqual(['a', 'b']);
});

test('while Postgres is away it is tried again, until the lease is lost', async () => {
  const { writer, written, answers, stored, lose } = setup();
  const away = new IronflowError('unavailable', 'database_unavailable', 'away');
  const first = writer.append([step('a', large)]);
  answers[0]!.reject(away);
  while (answers.length < 2) await turn();
  answers[1]!.resolve(true);
  expect(await first).toBe('appended');
  const second = writer.append([step('b', large)]);
  const behind = writer.append([ended('1')]);
  lose();
  answers[2]!.reject(away);
  expect(await Promise.all([second, behind])).toEqual(['lost', 'lost']);
  expect(ids(written)).toEqual(['a']);
  expect(stored).toHaveLength(3);
});

test('what is refused is not written, nor what waits behind it; the end that follows is', async () => {
  const { writer, written, answers } = setup();
  const refused = writer.append([step('a', large)]);
  const behind = writer.append([step('b', large)]);
  answers[0]!.resolve(false);
  expect(await refused).toBe('refused');
  // Its own output is still on its way: nobody waits for that any more.
  expect(await writer.append([ended('1')])).toBe('appended');
  answers[1]!.resolve(true);
  expect(await behind).toBe('lost');
  expect(ids(written)).toEqual(['end']);
});

test('a failure that nobody expected has the run read again', async () => {
  const { writer, written, answers, broken } = setup();
  const failed = writer.append([step('a', large)]);
  const behind = writer.append([ended('1')]);
  answers[0]!.reject(new Error('surprise'));
  expect(await Promise.all([failed, behind])).toEqual(['restart', 'restart']);
  expect([written, broken]).toEqual([[], [new Error('surprise')]]);
});

test('a tail is read with its outputs, and cannot be read without one of them', async () => {
  const { writer, written, answers } = setup();
  void writer.append([step('a', large), step('b', '1'), ended(large)]);
  for (const { resolve } of answers) resolve(true);
  await turn();
  const messages = [{ sequence: 9, messageId: 'm', message: { prev: 0, entries: written[0]! } as never }];
  const readClaimed = async (keys: readonly { stepId: string }[]) => keys.map(() => large);
  const [read] = await withClaimedOutputs({ readClaimed }, 'run', messages);
  expect(read!.message.entries[0]).toMatchObject(step('a', large));
  expect(read!.message.entries.slice(1)).toEqual(written[0]!.slice(1));
  const nowhere = withClaimedOutputs({ readClaimed: async () => [undefined] }, 'run', messages);
  await expect(nowhere).rejects.toThrow('is not there');
});

test('of a tail that an older executor wrote, what an undoing returned is not read', async () => {
  const claimed = { ...step('compensate(a)', '').step, type: 'compensate', output: undefined };
  const entry = { type: 'step', step: { ...claimed, outputClaim: { hash: 'h', bytes: 70_000 } } };
  const messages = [{ sequence: 9, messageId: 'm', message: { prev: 0, entries: [entry] } as never }];
  const readClaimed = () => Promise.reject(new Error('it is not needed'));
  expect(await withClaimedOutputs({ readClaimed }, 'run', messages)).toEqual(messages);
});
