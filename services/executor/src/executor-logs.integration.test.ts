import { beforeAll, describe, expect, test } from '@jest/globals';
import { limits } from '@ironflow/schema';
import type { LogLevel } from '@ironflow/schema';
import { createFunction, serve } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { completed, end, record } from './testing/raw-worker.js';
import { answer, patience, useWorld } from './testing/suite.js';
import type { RunHandle, World } from './testing/world.js';

const suite = useWorld();
const { activated, connect, createApp, createPushRun, ended, open, start } = suite;
let world: World;
beforeAll(() => {
  world = suite.world();
});

interface StoredLine {
  environment_id: string;
  level: LogLevel;
  message: string;
  fields: unknown;
  step_id: string | null;
  attempt: number | null;
}

async function linesOf({ runId }: RunHandle): Promise<StoredLine[]> {
  const text = `select environment_id, level, message, fields, step_id, attempt from run_logs
    where run_id = $1 order by id`;
  return world.database.query({ name: 'test_run_logs', text }, [runId]);
}

const messagesOf = async (run: RunHandle): Promise<string[]> =>
  (await linesOf(run)).map(({ message }) => message);

const has = (run: RunHandle, messages: string[]): Promise<void> =>
  eventually(async () => expect(await messagesOf(run)).toEqual(messages), patience);

type Given = Parameters<typeof end>[0];
const line = (sequence: number, message: string, more: object = {}) => ({
  ...{ sequence, atMs: 1_900_000_000_000, level: 'info', message },
  ...more,
});
const log = ({ writer, invocation }: Given, ...lines: unknown[]) => ({
  ...{ type: 'log', runId: invocation.run.id, writer, lines },
});

describe('lines of a worker', () => {
  test('are stored as they come, with their step, also while the run goes on', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId);
    const run = await activated(appId);
    const given = await worker.next('activate');
    const step = { id: 'charge:1', attempt: 2 };
    worker.send(log(given, line(0, 'begins'), line(1, 'tries', { level: 'warn', fields: '{"n":1}', step })));
    await has(run, ['begins', 'tries']);
    expect((await linesOf(run))[1]).toEqual({
      ...{ environment_id: run.scope.environmentId, level: 'warn', message: 'tries' },
      ...{ fields: { n: 1 }, step_id: 'charge:1', attempt: 2 },
    });
    worker.send(log(given, line(2, 'ends')), end(given));
    await ended(run);
    await has(run, ['begins', 'tries', 'ends']);
  });

  test('that come twice are stored once, and of another lease, or of a run that is over, not at all', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId);
    const run = await activated(appId);
    const given = await worker.next('activate');
    const stranger = { ...given, writer: { ...given.writer, delivery: 9 } };
    const lines = [line(0, 'once'), line(1, 'more')];
    worker.send(log(given, ...lines), log(given, ...lines), log(stranger, line(2, 'of a stranger')));
    worker.send(log(given, ...lines, line(3, 'last')), end(given), log(given, line(4, 'too late')));
    await ended(run);
    await has(run, ['once', 'more', 'last']);
    expect(worker.received.filter(({ type }) => type === 'abort')).toEqual([]);
  });

  test('that cannot be read cost neither the run nor the connection anything', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId);
    const run = await activated(appId);
    const given = await worker.next('activate');
    const long = 'x'.repeat(limits.logMessageBytesMax + 1);
    for (const unfit of [
      line(0, long),
      line(-1, 'm'),
      { level: 'info' },
      line(0, 'm', { level: 'loud' }),
      7,
    ]) {
      worker.send(log(given, unfit));
    }
    worker.send(log(given, line(5, 'no JSON', { fields: '{' }), line(6, 'good')));
    worker.send(record(given, 0, completed('a')), end(given));
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'completed' } });
    await has(run, ['good']);
  });

  test('of one activation come before those of the next, whatever the clocks of their workers say', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId);
    const run = await activated(appId);
    const first = await worker.next('activate');
    worker.send(log(first, line(0, 'first', { atMs: 2_000_000_000_000 })));
    worker.send(end(first, { kind: 'threw', error: { name: 'Error', message: 'm' }, retryInMs: 1 }));
    await ended(run);
    await world.retryDue(run);
    await world.activate(run);
    const second = await worker.next('activate', 1);
    worker.send(log(second, line(0, 'second', { atMs: 1 })), end(second));
    await has(run, ['first', 'second']);
  });

  test('are kept of a run up to so many, and one says that there were more', async () => {
    const appId = await createApp();
    const executor = await start({ logLinesPerRunMax: 3 });
    const worker = await connect(executor, appId);
    const run = await activated(appId);
    const given = await worker.next('activate');
    worker.send(log(given, ...Array.from({ length: 9 }, (_, n) => line(n, `line ${n}`))), end(given));
    await has(run, ['line 0', 'line 1', 'line 2', '3 lines are kept of a run: no more of this one are']);
    await eventually(async () =>
      expect(await executor.metrics()).toMatch(/run_log_lines_total\{[^}]*result="left_out"[^}]*\} 5/),
    );
  });

  test('are not waited for, and a worker of an older version sends none', async () => {
    const appId = await createApp();
    const worker = await connect(await start(), appId);
    const run = await activated(appId);
    const given = await worker.next('activate');
    worker.send(record(given, 0, completed('a')), end(given));
    await ended(run);
    expect(await linesOf(run)).toEqual([]);
  });
});

describe('lines of a push endpoint', () => {
  test('come with its answers, call by call, and a replay brings none again', async () => {
    const functionId = await createApp();
    const talking = createFunction(
      { id: functionId, triggers: [], retries: { attempts: 2, initialDelayMs: 1 } },
      async ({ step, logger }) => {
        logger.info('begins');
        const one = await step.run('one', () => (logger.debug('in one'), 1));
        logger.info('between', { one });
        await step.run('two', () => logger.debug('in two'));
        logger.info('ends');
      },
    );
    const handler = serve({
      ...{ app: functionId, functions: [talking], signingKey: world.ours.signingKey, log: () => {} },
    });
    const endpoint = await open((request, response) => handler.node(request, response));
    await world.register(world.ours.scope, { id: functionId, url: endpoint.url }, { [functionId]: {} });
    const { scope } = world.ours;
    const run = await world.createRun({ scope, appId: functionId, functionId, mode: 'push' }, null);
    await start();
    await world.activate(run);
    await ended(run);
    await has(run, ['begins', 'in one', 'between', 'in two', 'ends']);
    expect(endpoint.calls.length).toBeGreaterThan(1);
    expect((await linesOf(run)).map(({ step_id: step }) => step)).toEqual([null, 'one', null, 'two', null]);
  });

  test('are kept of an answer that fails the call as well', async () => {
    const lines = [line(0, 'what it was at')];
    const endpoint = await open(answer({ v: 1, records: [], outcome: { kind: 'continue' }, lines }));
    const run = await createPushRun(endpoint.url, { attempts: 1 });
    await start();
    await world.activate(run);
    expect((await ended(run)).at(-1)).toMatchObject({
      run: { kind: 'failed', error: { name: 'bad_answer' } },
    });
    await has(run, ['what it was at']);
  });

  test('cost an answer nothing if they cannot be read', async () => {
    const body = { v: 1, records: [], outcome: { kind: 'completed' }, lines: [{ level: 'loud' }] };
    const endpoint = await open(answer(body));
    const run = await createPushRun(endpoint.url);
    await start();
    await world.activate(run);
    expect((await ended(run)).at(-1)).toMatchObject({ run: { kind: 'completed' } });
    expect(await linesOf(run)).toEqual([]);
  });
});
