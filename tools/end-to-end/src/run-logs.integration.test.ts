/** What handlers log, kept with their runs: through crashes and outages, and within its bounds. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { deriveRunId } from '@ironflow/schema';
import type { RunLogLine } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest } from './platform-under-test.js';
import { createAppProcess } from './primitives/app-process.js';
import type { AppProcess, Mode } from './primitives/app-process.js';

const modes = ['pull', 'push'] as const;
const patience = { timeoutMs: 30_000 };
const linesPerRun = 1_200;

let world: PlatformUnderTest;
const apps = {} as Record<Mode, AppProcess>;

beforeAll(async () => {
  world = await startPlatformUnderTest({
    IRONFLOW_RUN_LOG_LINES: String(linesPerRun),
    // A push call that is lost is not repeated before its deadline.
    IRONFLOW_PUSH_DEADLINE_MS: '2500',
    IRONFLOW_SWEEP_INTERVAL_MS: '1000',
    IRONFLOW_BREAKER_CONSECUTIVE_FAILURES: '1000',
    IRONFLOW_BREAKER_MINIMUM_CALLS: '100000',
  });
  for (const mode of modes) {
    apps[mode] = await createAppProcess(world.tenant, { mode, group: 'logs' });
    await apps[mode].start();
  }
}, 60_000);
afterAll(async () => {
  await Promise.all(Object.values(apps).map((app) => app.kill()));
  await world?.stop();
}, 30_000);

/** Answers with its run, once that is there. */
async function start(functionId: string): Promise<string> {
  const { client, environmentId } = world.tenant;
  const { ids } = await client.invoke(functionId);
  const runId = deriveRunId({ environmentId, eventId: ids[0]!, functionId });
  await eventually(() => client.runs.get(runId), patience);
  return runId;
}

async function linesOf(runId: string): Promise<RunLogLine[]> {
  return (await world.tenant.client.runs.logs(runId, { limit: 1_000 })).lines;
}

const messagesOf = async (runId: string): Promise<string[]> =>
  (await linesOf(runId)).map(({ message }) => message);

const has = (runId: string, messages: string[]): Promise<void> =>
  eventually(async () => expect(await messagesOf(runId)).toEqual(messages), patience);

const before = ['begins', 'in first', 'in first', 'between'];

describe.each(modes)('in %s mode', (mode) => {
  test('each line is there once, in order, with its step, however often the function was replayed', async () => {
    const runId = await start(`${mode}-talk`);
    const followed: string[] = [];
    for await (const { message } of world.tenant.client.runs.followLogs(runId)) followed.push(message);
    expect(followed).toEqual([...before, 'held begins', 'held ends', 'ends']);
    const lines = await linesOf(runId);
    expect(lines.map(({ level, step }) => [level, step?.id, step?.attempt])).toEqual([
      ['info', undefined, undefined],
      ['warn', 'first', 1],
      ['warn', 'first', 2],
      ['info', undefined, undefined],
      ['info', 'held', 1],
      ['info', 'held', 1],
      ['error', undefined, undefined],
    ]);
    expect(lines[0]!.fields).toEqual({ mode });
    expect(lines.at(-1)!.fields).toMatchObject({ error: { name: 'RangeError', message: 'as an example' } });
    expect(await world.tenant.client.runs.get(runId)).toMatchObject({ status: 'completed', logLines: 7 });
  }, 45_000);

  test('what was flushed before the process was killed is kept, and what is replayed is not said again', async () => {
    const app = apps[mode];
    app.hold('held');
    const runId = await start(`${mode}-talk`);
    await app.isHolding(runId, 'held');
    // An endpoint's lines come with its answer, and this one never answers.
    const flushed = mode === 'pull' ? ['held begins'] : [];
    await has(runId, [...before, ...flushed]);
    await app.kill();
    await app.start();
    expect(await world.tenant.ended(runId, 30_000)).toMatchObject({ status: 'completed' });
    await has(runId, [...before, ...flushed, 'held begins', 'held ends', 'ends']);
  }, 60_000);

  test('while PostgreSQL is away lines wait for it', async () => {
    const app = apps[mode];
    app.hold('held');
    const runId = await start(`${mode}-talk`);
    await app.isHolding(runId, 'held');
    const postgres = world.platform.servers.postgres!;
    await postgres.kill();
    app.letGo('held');
    await eventually(() => expect(app.begun(runId, 'held')).toBe(1));
    // For longer than lines linger, so that they are refused at least once.
    await new Promise((resolve) => setTimeout(resolve, 300));
    await postgres.restart();
    expect(await world.tenant.ended(runId, 60_000)).toMatchObject({ status: 'completed' });
    await eventually(
      async () => expect((await messagesOf(runId)).slice(-3)).toEqual(['held begins', 'held ends', 'ends']),
      patience,
    );
  }, 120_000);

  test('of a call and of a run no more is kept than may be, and both say so', async () => {
    const runId = await start(`${mode}-flood`);
    await world.tenant.ended(runId, 30_000);
    const lines: string[] = [];
    for await (const { message } of world.tenant.client.runs.followLogs(runId)) lines.push(message);
    expect(lines).toHaveLength(linesPerRun + 1);
    expect([lines[0], lines[999], lines[1_000], lines[1_001], lines.at(-2), lines.at(-1)]).toEqual([
      'first 0',
      'first 999',
      '1000 lines are kept of this call of the function: it wrote more',
      'second 0',
      'second 198',
      '1200 lines are kept of a run: no more of this one are',
    ]);
  }, 60_000);

  test('a run that logs nothing has no lines', async () => {
    const runId = await start(`${mode}-silent`);
    expect(await world.tenant.ended(runId)).not.toHaveProperty('logLines');
    expect(await world.tenant.client.runs.logs(runId)).toEqual({ lines: [], ended: true });
  });
});
