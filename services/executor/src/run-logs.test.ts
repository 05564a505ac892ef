import { expect, test } from '@jest/globals';
import type { NewLogLine } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { LoggedLine } from '@ironflow/schema';
import { createLogger, createMetrics } from '@ironflow/service';
import { eventually } from '@ironflow/testing';
import { createExecutorMetrics } from './executor-metrics.js';
import { createRunLogs } from './run-logs.js';
import { createFakeRun } from './testing/fake-run.js';

const away = new IronflowError('unavailable', 'database_unavailable', 'Postgres is away');
const lines = (count: number, from = 0): LoggedLine[] =>
  Array.from({ length: count }, (_, n) => ({
    ...{ sequence: from + n, atMs: 1, level: 'info', message: `line ${from + n}` },
  }));

/** What stands for Postgres stores, is away, or fails for good. */
function setup(options: { bytesMax?: number; linesPerRunMax?: number } = {}) {
  const all = createMetrics({ service: 'executor' });
  const metrics = createExecutorMetrics(all);
  const stored = new Map<string, NewLogLine>();
  const batches: number[] = [];
  let failure: Error | undefined;
  const logs = createRunLogs({
    store: {
      storeLogLines: async (batch) => {
        batches.push(batch.length);
        if (failure !== undefined) throw failure;
        const before = stored.size;
        for (const line of batch) stored.set(line.id, line);
        return stored.size - before;
      },
    },
    metrics,
    logger: createLogger({ service: 'executor', level: 'silent' }),
    linesPerRunMax: 100,
    ...options,
  });
  const counted = async (result: string): Promise<number> =>
    Number(
      new RegExp(`run_log_lines_total\\{[^}]*result="${result}"[^}]*\\} (\\d+)`).exec(
        await all.render(),
      )?.[1] ?? 0,
    );
  const messages = (): string[] =>
    [...stored.values()].sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ message }) => message);
  return { logs, stored, batches, counted, messages, fail: (error: Error | undefined) => (failure = error) };
}

test('lines of one moment are one batch, in the order of calls, and a line that comes again is the same', async () => {
  const { logs, batches, messages, counted } = setup();
  const run = createFakeRun();
  logs.add(run, 2, lines(1, 7));
  logs.add(run, 1, lines(2));
  logs.add(run, 1, lines(2));
  await eventually(() => expect(messages()).toEqual(['line 0', 'line 1', 'line 7']));
  expect(batches).toEqual([5]);
  await eventually(async () => expect(await counted('stored')).toBe(3));
  expect(await counted('left_out')).toBe(2);
  expect(logs.waiting()).toBe(0);
});

test('while Postgres is away lines wait, the oldest give way, and then their run says how many', async () => {
  const { logs, batches, messages, counted, fail } = setup({ bytesMax: 50 * 208 });
  const run = createFakeRun();
  fail(away);
  logs.add(run, 0, lines(40));
  await eventually(() => expect(batches.length).toBeGreaterThan(1));
  logs.add(run, 0, lines(60, 40));
  const dropped = await counted('dropped');
  expect(dropped).toBeGreaterThanOrEqual(10);
  fail(undefined);
  await eventually(() => expect(messages().at(-1)).toBe('line 99'));
  const textOf = ({ message }: LoggedLine): string => message;
  expect(messages()).toEqual([
    ...lines(40).map(textOf),
    `${dropped} lines were dropped: they could not be stored in time`,
    ...lines(60 - dropped, 40 + dropped).map(textOf),
  ]);
});

test('what it holds is stored as it stops, and given up if Postgres does not take it', async () => {
  const { logs, messages } = setup();
  logs.add(createFakeRun(), 0, lines(3));
  await logs.stop();
  expect(messages()).toHaveLength(3);

  const other = setup();
  other.fail(away);
  other.logs.add(createFakeRun(), 0, lines(3));
  await other.logs.stop();
  expect([other.messages(), await other.counted('dropped')]).toEqual([[], 3]);
});

test('a failure that nobody expected costs its batch alone', async () => {
  const { logs, messages, counted, fail } = setup();
  fail(new Error('a column is missing'));
  logs.add(createFakeRun(), 0, lines(3));
  await eventually(async () => expect(await counted('dropped')).toBe(3));
  fail(undefined);
  logs.add(createFakeRun(), 0, lines(1));
  await eventually(() => expect(messages()).toEqual(['line 0']));
});

test('nothing is taken where nothing is to be kept', async () => {
  const { logs, batches } = setup({ linesPerRunMax: 0 });
  logs.add(createFakeRun(), 0, lines(3));
  await logs.stop();
  expect([logs.waiting(), batches]).toEqual([0, []]);
});
