import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { JournaledStep } from '@ironflow/schema';
import { stopSharedServers } from '@ironflow/testing';
import { createPlatform, startRuns } from '../test/platform.js';
import type { Platform } from '../test/platform.js';
import {
  claimFor,
  createApiStore,
  createCollectorStore,
  createExecutorStore,
  createSchedulerStore,
  isRefusedData,
  runStep,
} from './index.js';
import type { CollectorStore, ExecutorStore, NewRun, OutputToClaim, RunProgress } from './index.js';

let platform: Platform;
let executor: ExecutorStore;
let collector: CollectorStore;

beforeAll(async () => {
  platform = await createPlatform();
  executor = createExecutorStore(platform.service);
  collector = createCollectorStore(platform.service);
});

afterAll(async () => {
  await platform.close();
  await stopSharedServers();
});

/** What must come back as it was: no number made anew, no escape undone. */
const text = (mark: string): string =>
  `{"n": 1.0, "mark":"${mark}\\u0000","more":"${'"\\\\'.slice(1).repeat(40_000)}"}`;

function toClaim(
  run: NewRun,
  output: string,
  of: { stepId: string; attempt: number } = runStep,
): OutputToClaim {
  const { stepId, attempt } = of;
  return {
    runId: run.id,
    stepId,
    attempt,
    hash: claimFor(output).hash,
    environmentId: run.environmentId,
    output,
  };
}

const claimed = (id: string, output: string): JournaledStep => ({
  id,
  name: id,
  type: 'run',
  attempt: 1,
  status: 'completed',
  startedAtMs: 1_000,
  endedAtMs: 2_000,
  outputClaim: claimFor(output),
});

function progress(run: NewRun, changes: Partial<RunProgress>): RunProgress {
  const { id: runId, environmentId } = run;
  return { runId, environmentId, prev: 0, journalSeq: 10, steps: [], startedAtMs: 1_000, ...changes };
}

async function startRun(): Promise<NewRun> {
  return (await startRuns(platform, platform.ours.scope, 1))[0]!;
}

async function countOf(run: NewRun): Promise<number> {
  const { rowCount } = await platform.admin.query('select from claimed_outputs where run_id = $1', [run.id]);
  return rowCount!;
}

const first = { stepId: 'a', attempt: 1 };

describe('an output that was stored before its entry', () => {
  test('is its step’s once the entry is accepted, as it came, and is nowhere else then', async () => {
    const run = await startRun();
    await executor.storeClaimed([
      toClaim(run, text('1'), first),
      toClaim(run, text('2'), { stepId: 'b', attempt: 1 }),
    ]);
    const steps = [claimed('a', text('1')), claimed('small', '1')];
    const small = { ...steps[1]!, outputClaim: undefined, output: '1' } as JournaledStep;
    expect(
      await collector.apply([progress(run, { status: 'running', steps: [steps[0]!, small] })]),
    ).toHaveLength(1);
    const state = (await executor.loadRuns([run.id])).get(run.id)!;
    expect(state.steps.map(({ id, output }) => [id, output])).toEqual([
      ['a', text('1')],
      ['small', '1'],
    ]);
    // That of an entry under way is left alone.
    expect(await countOf(run)).toBe(1);
  });

  test('is the run’s own, and the API and a repetition of the run have it whole', async () => {
    const run = await startRun();
    await executor.storeClaimed([toClaim(run, text('run')), toClaim(run, text('a'), first)]);
    await collector.apply([
      progress(run, {
        status: 'completed',
        steps: [claimed('a', text('a'))],
        outputClaim: claimFor(text('run')),
      }),
    ]);
    const detail = await createApiStore(platform.tenant).getRun(run.environmentId, run.id);
    expect(detail!.output).toEqual(JSON.parse(text('run')));
    expect(detail!.steps[0]!.output).toEqual(JSON.parse(text('a')));
    expect(await countOf(run)).toBe(0);
  });

  test('is read by its claim before the entry is accepted and after it, and is nowhere for another hash', async () => {
    const run = await startRun();
    const key = toClaim(run, text('1'), first);
    await executor.storeClaimed([key]);
    const other = toClaim(run, text('other'), { stepId: 'b', attempt: 1 });
    expect(await executor.readClaimed([other, key])).toEqual([undefined, text('1')]);
    await collector.apply([progress(run, { status: 'running', steps: [claimed('a', text('1'))] })]);
    expect(await executor.readClaimed([key, other])).toEqual([text('1'), undefined]);
  });
});

test('storing the same again stores it once; another text for the same attempt is kept beside it', async () => {
  const run = await startRun();
  const one = toClaim(run, text('1'), first);
  expect(await executor.storeClaimed([one])).toEqual([true]);
  expect(await Promise.all([executor.storeClaimed([one]), executor.storeClaimed([one])])).toEqual([
    [true],
    [true],
  ]);
  expect(await countOf(run)).toBe(1);
  await executor.storeClaimed([toClaim(run, text('2'), first)]);
  expect(await countOf(run)).toBe(2);
});

test('what PostgreSQL does not take is refused, and costs its neighbours nothing', async () => {
  const run = await startRun();
  const deep = '['.repeat(200_000) + ']'.repeat(200_000);
  const outputs = ['1', 'no json', '2', deep, `"a\0b"`, '3'];
  const stored = await executor.storeClaimed(
    outputs.map((output, index) => toClaim(run, output, { stepId: `s${index}`, attempt: 1 })),
  );
  expect(stored).toEqual([true, false, true, false, false, true]);
});

test('many at once are more than one statement', async () => {
  const run = await startRun();
  const large = `"${'x'.repeat(3 * 1024 * 1024)}"`;
  const outputs = Array.from({ length: 7 }, (_, index) =>
    toClaim(run, large, { stepId: `s${index}`, attempt: 1 }),
  );
  expect(await executor.storeClaimed(outputs)).toEqual(outputs.map(() => true));
  expect(await countOf(run)).toBe(7);
});

test('entries that come again ask for nothing that was taken over', async () => {
  const run = await startRun();
  await executor.storeClaimed([toClaim(run, text('1'), first)]);
  const again = progress(run, { status: 'running', steps: [claimed('a', text('1'))] });
  expect(await collector.apply([again])).toHaveLength(1);
  expect(await collector.apply([again])).toEqual([]);
});

test('a claim for what is not there is refused data, whether a step’s or the run’s: nothing passes for no output', async () => {
  const run = await startRun();
  const step = progress(run, { status: 'running', steps: [claimed('a', text('1'))] });
  const end = progress(run, { status: 'completed', outputClaim: claimFor(text('1')) });
  for (const one of [step, end]) {
    expect(isRefusedData(await collector.apply([one]).catch((error: unknown) => error))).toBe(true);
  }
});

test('what a branch leaves goes after its run has ended, and not before', async () => {
  const [ended, live] = await startRuns(platform, platform.ours.scope, 2);
  const scheduler = createSchedulerStore(platform.service);
  await executor.storeClaimed([toClaim(ended!, text('1'), first), toClaim(live!, text('1'), first)]);
  await collector.apply([progress(ended!, { status: 'completed' })]);
  await scheduler.removeLeftBehind(1_000);
  expect([await countOf(ended!), await countOf(live!)]).toEqual([0, 1]);
});
