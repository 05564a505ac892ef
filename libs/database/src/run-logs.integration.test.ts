import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { deriveLogLineId, runLogsQuerySchema } from '@ironflow/schema';
import type { RunLogLine, RunLogsPage, RunLogsQuery } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, freshId, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import { createApiStore, createCollectorStore, createExecutorStore } from './index.js';
import type { ApiStore, ExecutorStore, NewLogLine, NewRun } from './index.js';

let platform: Platform;
let executor: ExecutorStore;
let api: ApiStore;

beforeAll(async () => {
  platform = await createPlatform();
  executor = createExecutorStore(platform.service);
  api = createApiStore(platform.tenant);
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

const atMs = Date.UTC(2030, 0, 1);

function lineOf(run: NewRun, sequence: number, changes: Partial<NewLogLine> = {}): NewLogLine {
  const id = deriveLogLineId({ activation: 7, activatedAtMs: atMs, call: 0, sequence });
  const { id: runId, environmentId } = run;
  return { environmentId, runId, id, atMs, level: 'info', message: `line ${sequence}`, ...changes };
}

async function freshRun(): Promise<NewRun> {
  const [run] = await startRuns(platform, platform.ours.scope, 1);
  return run!;
}

const pageOf = (run: NewRun, query: Partial<RunLogsQuery> = {}): Promise<RunLogsPage | undefined> =>
  api.listRunLogs(run.environmentId, run.id, runLogsQuerySchema.parse(query));
const linesOf = async (run: NewRun, query: Partial<RunLogsQuery> = {}): Promise<RunLogLine[]> =>
  (await pageOf(run, { limit: 1_000, ...query }))!.lines;
const messagesOf = async (run: NewRun, query: Partial<RunLogsQuery> = {}): Promise<string[]> =>
  (await linesOf(run, query)).map(({ message }) => message);

test('lines are read as they were written, in the order of their places, and counted with their run', async () => {
  const [run, other] = await startRuns(platform, platform.ours.scope, 2);
  expect(await pageOf(run!)).toEqual({ lines: [], ended: false });
  const lines = [
    lineOf(run!, 1, { level: 'error', fields: '{"big":12345678901234567890,"nul":"\\u0000"}' }),
    lineOf(run!, 0, { message: 'a\0b', atMs: atMs + 5, step: { id: 'charge:1', attempt: 2 } }),
  ];
  expect(await executor.storeLogLines([...lines, lineOf(other!, 0)], 10)).toBe(3);
  expect(await linesOf(run!)).toEqual([
    {
      id: lines[1]!.id,
      at: '2030-01-01T00:00:00.005Z',
      level: 'info',
      message: 'a\ufffdb',
      step: { id: 'charge:1', attempt: 2 },
    },
    {
      id: lines[0]!.id,
      at: '2030-01-01T00:00:00.000Z',
      level: 'error',
      message: 'line 1',
      fields: { big: 12345678901234567890, nul: '\0' },
    },
  ]);
  expect(await api.getRun(run!.environmentId, run!.id)).toMatchObject({ logLines: 2 });
  const { environmentId } = platform.theirs.scope;
  expect(await api.listRunLogs(environmentId, run!.id, runLogsQuerySchema.parse({}))).toBeUndefined();
  expect(await pageOf({ ...run!, id: freshId() })).toBeUndefined();
});

test('a line that comes again is stored once, within a batch and in a later one', async () => {
  const run = await freshRun();
  const lines = [lineOf(run, 0), lineOf(run, 1), lineOf(run, 1)];
  expect(await executor.storeLogLines(lines, 10)).toBe(2);
  expect(await executor.storeLogLines([...lines, lineOf(run, 2)], 10)).toBe(1);
  expect(await messagesOf(run)).toEqual(['line 0', 'line 1', 'line 2']);
});

test('of a run no more lines are kept than may be, and one that says so, whatever batches they come in', async () => {
  for (const size of [1, 3, 4, 5, 20]) {
    const [run, beside] = await startRuns(platform, platform.ours.scope, 2);
    const lines = Array.from({ length: 20 }, (_, sequence) => lineOf(run!, sequence, { fields: '{}' }));
    for (let from = 0; from < lines.length; from += size) {
      const batch = [...lines.slice(from, from + size), lineOf(beside!, from)];
      await executor.storeLogLines(batch, 4);
      // As after an answer that was lost.
      await executor.storeLogLines(batch, 4);
    }
    const kept = await linesOf(run!);
    expect(kept.map(({ message }) => message)).toEqual([
      ...['line 0', 'line 1', 'line 2', 'line 3'],
      '4 lines are kept of a run: no more of this one are',
    ]);
    expect(kept.at(-1)).toMatchObject({ level: 'warn', id: lines[4]!.id });
    expect(kept.at(-1)).not.toHaveProperty('fields');
    expect((await linesOf(beside!)).length).toBeLessThanOrEqual(5);
  }
});

test('a line that is refused for what it is costs its neighbours nothing', async () => {
  const run = await freshRun();
  const bad = ['{', 'x\0', `${'['.repeat(8_000)}${']'.repeat(8_000)}`].map((fields, index) =>
    lineOf(run, 10 + index, { fields }),
  );
  const good = Array.from({ length: 10 }, (_, sequence) => lineOf(run, sequence));
  const count = await executor.storeLogLines([...good.slice(0, 5), ...bad, ...good.slice(5)], 100);
  expect(count).toBeLessThanOrEqual(good.length + 1);
  expect(await messagesOf(run)).toEqual(expect.arrayContaining(good.map(({ message }) => message)));
  expect(await messagesOf(run)).toHaveLength(count);
});

test('pages go on behind a line, filters are by level and step, and large lines end a page early', async () => {
  const run = await freshRun();
  const levels = ['debug', 'info', 'warn', 'error'] as const;
  const lines = Array.from({ length: 12 }, (_, sequence) =>
    lineOf(run, sequence, {
      level: levels[sequence % 4]!,
      ...(sequence < 6 ? { step: { id: 'charge', attempt: 1 } } : {}),
    }),
  );
  await executor.storeLogLines(lines, 100);
  const read: string[] = [];
  let cursor: string | undefined;
  do {
    const page: RunLogsPage = (await pageOf(run, { limit: 5, cursor }))!;
    read.push(...page.lines.map(({ message }) => message));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  expect(read).toEqual(lines.map(({ message }) => message));
  expect(await messagesOf(run, { cursor: lines[9]!.id })).toEqual(['line 10', 'line 11']);
  expect(await messagesOf(run, { level: 'warn' })).toEqual([2, 3, 6, 7, 10, 11].map((n) => `line ${n}`));
  expect(await messagesOf(run, { level: 'error', step: 'charge' })).toEqual(['line 3']);
  expect(await messagesOf(run, { step: 'nowhere' })).toEqual([]);
  await expect(pageOf(run, { cursor: 'none' })).rejects.toMatchObject({ code: 'cursor_invalid' });

  const large = await freshRun();
  const fields = JSON.stringify({ text: 'x'.repeat(15_000) });
  await executor.storeLogLines(
    Array.from({ length: 600 }, (_, sequence) => lineOf(large, sequence, { fields })),
    1_000,
  );
  const first = (await pageOf(large, { limit: 1_000 }))!;
  expect(first.lines.length).toBeGreaterThan(250);
  expect(first.lines.length).toBeLessThan(300);
  expect(first.nextCursor).toBe(first.lines.at(-1)!.id);
  const rest = await messagesOf(large, { cursor: first.nextCursor });
  expect(rest[0]).toBe(`line ${first.lines.length}`);
});

test('a page says whether its run has ended', async () => {
  const run = await freshRun();
  const progress = { runId: run.id, environmentId: run.environmentId, steps: [], startedAtMs: 1 };
  await createCollectorStore(platform.service).apply([
    { ...progress, prev: 0, journalSeq: 1, status: 'completed', served: 1 },
  ]);
  expect(await pageOf(run)).toEqual({ lines: [], ended: true });
});

test('lines lie in the month of their run, and the tenant’s role may not write them', async () => {
  const run = await freshRun();
  await executor.storeLogLines([lineOf(run, 0)], 10);
  const writing = platform.tenant.inEnvironment(run.environmentId, (transaction) =>
    transaction.query({ name: '', text: `update run_logs set message = 'other'` }, []),
  );
  await expect(writing).rejects.toMatchObject({ code: '42501' });
  const { rows } = await platform.admin.query<{ partition: string }>(
    'select distinct tableoid::regclass::text as partition from run_logs',
  );
  expect(rows.map(({ partition }) => partition)).toEqual([expect.stringMatching(/^run_logs_m\d{6}$/)]);
});
