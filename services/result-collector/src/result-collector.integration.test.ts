/** One suite on one NATS and database: each test looks at what the collector did to runs of its own. Split, each part would pay for both. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { createApiStore } from '@ironflow/database';
import { consumers, headerNames, runSpanId, schemaVersion, subjects } from '@ironflow/schema';
import type { JournalEntry, RunNotice, Scope } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { completedStep, retryingStep, run, sleepStep } from '../test/journal.js';
import { createPlatform, drive, freshId } from '../test/collector-platform.js';
import type { Platform } from '../test/collector-platform.js';
import type { ResultCollector } from './result-collector.js';

const patience = { timeoutMs: 20_000 };
const completed = (output?: string): JournalEntry =>
  run({ kind: 'completed', served: 1, ...(output && { output }) });
let platform: Platform;
const running: ResultCollector[] = [];

beforeAll(async () => {
  platform = await createPlatform();
}, 60_000);
afterEach(async () => {
  for (const collector of running.splice(0)) await collector.stop();
  platform.notices.length = 0;
  platform.spans.length = 0;
});
afterAll(() => platform.close());

async function collect(count = 1): Promise<void> {
  for (let index = 0; index < count; index += 1) running.push(await platform.startCollector());
}

const show = (scope: Scope, runId: string) =>
  createApiStore(platform.tenant).getRun(scope.environmentId, runId);
const noticesOf = (runId: string): RunNotice[] => platform.notices.filter((notice) => notice.runId === runId);

/** How many messages came to that end, over all tests of this file. */
async function settledAs(outcome: string): Promise<number> {
  const match = new RegExp(`ironflow_results_total\\{[^}]*outcome="${outcome}"[^}]*\\} (\\d+)`);
  return Number(match.exec(await platform.renderMetrics())?.[1] ?? 0);
}

/** Everything in the stream is acknowledged. */
async function settled(): Promise<void> {
  await eventually(async () => {
    const state = await platform.jetstream.states.consumer(consumers.resultCollector);
    expect(state).toMatchObject({ pending: 0, ackPending: 0 });
  }, patience);
}

/** A collector that takes messages and never answers. */
function holdDeliveries(count: number) {
  const held: unknown[] = [];
  const consumer = platform.jetstream.consume(consumers.resultCollector, {
    capacity: () => count - held.length,
    onDelivery: (delivery) => held.push(delivery),
  });
  return { held, consumer };
}

/** Test servers commit asynchronously, for speed: what was committed last would be lost with the process. */
async function flushCommits(): Promise<void> {
  await platform.service.transaction(async (transaction) => {
    await transaction.query({ name: 'synchronous', text: 'set local synchronous_commit = on' }, []);
    await transaction.query(
      { name: 'write', text: "select pg_logical_emit_message(true, 'test', 'written')" },
      [],
    );
  });
}

/** A message as it would come from a writer that knew an older position, past the journal's own check. */
async function publishStray(
  scope: Scope,
  runId: string,
  prev: number,
  entries: JournalEntry[],
): Promise<void> {
  const body = {
    environmentId: scope.environmentId,
    runId,
    functionId: 'ship',
    prev,
    writer: { activation: 1, delivery: 1, executor: 'stray' },
    activatedAtMs: 1,
    entries,
  };
  const subject = subjects.journal(scope, runId, 'step');
  const headers = { [headerNames.schemaVersion]: schemaVersion };
  const result = await platform.jetstream.publisher.publish({ subject, data: JSON.stringify(body), headers });
  expect(result.kind).toBe('stored');
}

test('a run is applied as it goes on, each acceptance has its notice, and its span spans all of it', async () => {
  await collect();
  const trace = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7' };
  const traceparent = `00-${trace.traceId}-${trace.spanId}-01`;
  for (const scope of [platform.ours, platform.theirs]) {
    const [started] = await platform.startRuns(scope, 1, { traceparent });
    const [, last] = await drive(platform.jetstream, scope, started!.id, [
      [completedStep('a'), completedStep('b')],
      [completed('{"total":2}')],
    ]);
    await eventually(() => expect(noticesOf(started!.id).at(-1)).toMatchObject({ status: 'completed' }));
    expect(noticesOf(started!.id).at(-1)).toMatchObject({
      scope,
      journalSeq: last,
      output: '{"total":2}',
      served: 1,
    });
    const shown = (await show(scope, started!.id))!;
    expect(shown).toMatchObject({ status: 'completed', output: { total: 2 } });
    expect(shown.steps.map(({ id }) => id)).toEqual(['a', 'b']);
    const spans = platform.spans.filter(({ spanId }) => spanId === runSpanId(started!.id));
    expect(spans).toHaveLength(1);
    expect(spans[0]).toMatchObject({ traceId: trace.traceId, parentSpanId: trace.spanId });
    expect(spans[0]!.endTimeMs).toBeGreaterThanOrEqual(spans[0]!.startTimeMs);
  }
  const [mine, other] = [platform.ours, platform.theirs];
  const [foreign] = await platform.startRuns(mine, 1);
  expect(await show(other, foreign!.id)).toBeUndefined();
});

test('a yield leaves the run waiting with its timers, and tells when the first is due', async () => {
  await collect();
  const [started] = await platform.startRuns(platform.ours, 1);
  await drive(platform.jetstream, platform.ours, started!.id, [
    [sleepStep('nap', 60_000), retryingStep('call')],
    [run({ kind: 'yielded', served: 1 })],
  ]);
  await eventually(() =>
    expect(noticesOf(started!.id).at(-1)).toMatchObject({ status: 'waiting', served: 1 }),
  );
  const due = noticesOf(started!.id).map(({ nextDueInMs }) => nextDueInMs ?? 0);
  expect(Math.max(...due)).toBeGreaterThan(50_000);
  expect((await show(platform.ours, started!.id))!.status).toBe('waiting');
});

test('"\\u0000" and lone surrogates in outputs come back as they were recorded', async () => {
  await collect();
  const output = '"\\u0000 \\ud800"';
  const [started] = await platform.startRuns(platform.ours, 1);
  await drive(platform.jetstream, platform.ours, started!.id, [
    [completedStep('odd', output)],
    [completed(output)],
  ]);
  await eventually(() => expect(noticesOf(started!.id).at(-1)).toMatchObject({ output }));
  const shown = (await show(platform.ours, started!.id))!;
  expect(shown.output).toBe(JSON.parse(output));
  expect(shown.steps[0]!.output).toBe(JSON.parse(output));
});

test('two collectors on one durable complete 2,000 runs with every step, none lost and none twice', async () => {
  const failed = (): Promise<number[]> =>
    Promise.all(['branch', 'after_end', 'without_run', 'refused', 'unreadable'].map(settledAs));
  const failedBefore = await failed();
  await collect(2);
  const scopes = [platform.ours, platform.theirs];
  const started = await Promise.all(
    scopes.map(async (scope) => ({ scope, runs: await platform.startRuns(scope, 1_000) })),
  );
  const queue = started.flatMap(({ scope, runs }) => runs.map(({ id }) => ({ scope, id })));
  const journal = [[completedStep('a')], [completedStep('b')], [completedStep('c')], [completed('1')]];
  const worker = async (): Promise<void> => {
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      await drive(platform.jetstream, next.scope, next.id, journal);
    }
  };
  await Promise.all(Array.from({ length: 64 }, worker));
  await settled();
  for (const { scope } of started) {
    const counted = await platform.service.query<{ runs: number; steps: number; wrong: number }>(
      {
        name: 'count_completed',
        text: `select count(*)::int as runs, sum(step_count)::int as steps,
            (count(*) filter (where step_count <> 3))::int as wrong from (
          select (select count(*) from steps s where s.run_id = r.id) as step_count
          from runs r where r.environment_id = $1 and r.status = 'completed' and r.id = any($2::uuid[])) counted`,
      },
      [scope.environmentId, started.find((one) => one.scope === scope)!.runs.map(({ id }) => id)],
    );
    expect(counted[0]).toEqual({ runs: 1_000, steps: 3_000, wrong: 0 });
  }
  const ended = platform.notices.filter(({ status }) => status === 'completed');
  expect(new Set(ended.map(({ runId }) => runId)).size).toBe(2_000);
  expect(await failed()).toEqual(failedBefore);
}, 60_000);

test('a branch is dropped, and so is what comes after the end', async () => {
  await collect();
  const [started] = await platform.startRuns(platform.ours, 1);
  const [first, second] = await drive(platform.jetstream, platform.ours, started!.id, [
    [completedStep('a')],
    [completedStep('b')],
  ]);
  await settled();
  await publishStray(platform.ours, started!.id, 0, [completedStep('stray')]);
  await publishStray(platform.ours, started!.id, first!, [completed('"stray"')]);
  await settled();
  const shown = (await show(platform.ours, started!.id))!;
  expect(shown).toMatchObject({ status: 'running' });
  expect(shown.steps.map(({ id }) => id)).toEqual(['a', 'b']);
  // Beyond Postgres' position, and not following it.
  expect(await settledAs('branch')).toBe(2);
  await publishStray(platform.ours, started!.id, second!, [completed('"end"')]);
  await publishStray(platform.ours, started!.id, second!, [completed('"late"')]);
  await settled();
  expect((await show(platform.ours, started!.id))!.output).toBe('end');
  expect(await settledAs('after_end')).toBe(1);
});

test('an entry that is delivered again gets its notice again', async () => {
  await collect();
  const [started] = await platform.startRuns(platform.ours, 1);
  await drive(platform.jetstream, platform.ours, started!.id, [[completedStep('a'), completed('"once"')]]);
  await eventually(() => expect(noticesOf(started!.id)).toHaveLength(1));
  for (const collector of running.splice(0)) await collector.stop();
  platform.notices.length = 0;
  // A durable that was made again delivers everything from the start.
  await platform.jetstream.connection.request({
    subject: '$JS.API.CONSUMER.DELETE.RESULTS.result-collector',
    data: '',
  });
  await platform.jetstream.provisioner.ensure();
  await collect();
  await eventually(() => expect(noticesOf(started!.id)).toHaveLength(1), patience);
  expect(noticesOf(started!.id)[0]).toMatchObject({ status: 'completed', output: '"once"' });
  await settled();
  expect(platform.spans.filter(({ spanId }) => spanId === runSpanId(started!.id))).toHaveLength(0);
  expect((await show(platform.ours, started!.id))!.steps).toHaveLength(1);
});

test('an entry without a run, or with a run of another environment, and garbage become dead letters', async () => {
  await collect();
  const unknown = freshId();
  await drive(platform.jetstream, platform.ours, unknown, [[completedStep('a')]]);
  const [foreign] = await platform.startRuns(platform.theirs, 1);
  await drive(platform.jetstream, platform.ours, foreign!.id, [[completed('"theirs"')]]);
  const subject = subjects.journal(platform.ours, freshId(), 'step');
  await platform.jetstream.publisher.publish({ subject, data: 'garbage' });
  await settled();
  const rows = await platform.service.query<{ reason: string; subject: string }>(
    { name: 'read_dead_letters', text: 'select reason, subject from dead_letters order by reason' },
    [],
  );
  expect(rows.map(({ reason }) => reason)).toEqual(['unreadable', 'without_run', 'without_run']);
  expect(rows.some((row) => row.subject === subjects.journal(platform.ours, unknown, 'step'))).toBe(true);
  expect((await platform.jetstream.states.stream('DLQ')).messages).toBe(3);
  expect((await show(platform.theirs, foreign!.id))!.status).toBe('queued');
});

test('an output that the database refuses fails its run alone, and keeps the entry as a dead letter', async () => {
  const runs = await platform.startRuns(platform.ours, 20);
  const culprit = runs[7]!.id;
  for (const { id } of runs) {
    const output = id === culprit ? 'no json' : '1';
    await drive(platform.jetstream, platform.ours, id, [
      [completedStep('a')],
      [completedStep('b', output)],
      [completed()],
    ]);
  }
  await collect();
  await settled();
  const shown = await Promise.all(runs.map(({ id }) => show(platform.ours, id)));
  expect(shown.filter((one) => one!.status === 'completed')).toHaveLength(19);
  const failed = (await show(platform.ours, culprit))!;
  expect(failed).toMatchObject({ status: 'failed', error: { name: 'refused_by_database' } });
  expect(failed.steps.map(({ id }) => id)).toEqual(['a']);
  expect(noticesOf(culprit).at(-1)).toMatchObject({
    status: 'failed',
    error: { name: 'refused_by_database' },
  });
});

test('what ended a run that kept failing its executors is a dead letter, once, with the whole message', async () => {
  await collect();
  const [started] = await platform.startRuns(platform.ours, 1);
  const error = { name: 'delivery_exhausted', message: 'given up' };
  await drive(platform.jetstream, platform.ours, started!.id, [[run({ kind: 'failed', served: 1, error })]]);
  await settled();
  expect(noticesOf(started!.id).at(-1)).toMatchObject({ status: 'failed', error });
  const subject = subjects.journal(platform.ours, started!.id, 'run');
  const kept = await platform.service.prisma.deadLetter.findMany({ where: { subject } });
  expect(kept).toMatchObject([{ reason: 'delivery_exhausted', environmentId: platform.ours.environmentId }]);
  expect(Buffer.from(kept[0]!.payload!).toString()).toContain('given up');
});

test('an early entry waits for nothing: what it follows is read from the journal and applied first', async () => {
  const [started] = await platform.startRuns(platform.ours, 1);
  await drive(platform.jetstream, platform.ours, started!.id, [
    [completedStep('a')],
    [completedStep('b')],
    [completed('"all"')],
  ]);
  // The first two are in the hands of a collector that does not answer.
  const { held, consumer } = holdDeliveries(2);
  await eventually(() => expect(held).toHaveLength(2));
  consumer.stop();
  await collect();
  await eventually(async () => expect((await show(platform.ours, started!.id))!.status).toBe('completed'));
  expect((await show(platform.ours, started!.id))!.steps.map(({ id }) => id)).toEqual(['a', 'b']);
  await settled();
});

test('garbage within the journal of a run holds up neither who writes it nor who reads it', async () => {
  const [started] = await platform.startRuns(platform.ours, 1);
  const subject = subjects.journal(platform.ours, started!.id, 'step');
  await platform.jetstream.publisher.publish({ subject, data: 'garbage' });
  await drive(platform.jetstream, platform.ours, started!.id, [[completedStep('a')], [completed('1')]]);
  // The end comes first, so that the journal has to be read past the garbage.
  const { held, consumer } = holdDeliveries(2);
  await eventually(() => expect(held).toHaveLength(2));
  consumer.stop();
  await collect();
  await eventually(async () => expect((await show(platform.ours, started!.id))!.status).toBe('completed'));
  expect((await show(platform.ours, started!.id))!.steps.map(({ id }) => id)).toEqual(['a']);
  await settled();
  const kept = await platform.service.prisma.deadLetter.findMany({ where: { subject } });
  expect(kept.map(({ reason }) => reason)).toEqual(['unreadable']);
});

test('one journal that cannot be read holds up its own run only', async () => {
  const [unreadable, other] = await platform.startRuns(platform.ours, 2);
  const journal = [[completedStep('a')], [completed('1')]];
  const ids = [unreadable!.id, other!.id];
  await Promise.all(ids.map((id) => drive(platform.jetstream, platform.ours, id, journal)));
  // The first of each is in the hands of a collector that does not answer, so that journals have to be read; one of them
  // has a message of a newer version in it.
  const { held, consumer } = holdDeliveries(2);
  await eventually(() => expect(held).toHaveLength(2));
  consumer.stop();
  const subject = subjects.journal(platform.ours, unreadable!.id, 'step');
  const headers = { [headerNames.schemaVersion]: '99.0' };
  await platform.jetstream.publisher.publish({ subject, data: '{}', headers });
  await collect();
  await eventually(async () => expect((await show(platform.ours, other!.id))!.status).toBe('completed'));
  await platform.jetstream.connection.request({
    subject: '$JS.API.STREAM.PURGE.RESULTS',
    data: JSON.stringify({ filter: subject }),
  });
});

test('a stream that went back is applied along the chains and moved beyond what PostgreSQL has', async () => {
  await collect();
  const [half, fresh] = await platform.startRuns(platform.ours, 2);
  const journal = [[completedStep('a')], [completedStep('b')], [completedStep('c')]];
  const before = await drive(platform.jetstream, platform.ours, half!.id, journal);
  await settled();
  await running.pop()!.stop();
  // As after a loss of power: the stream begins below the positions of Postgres, and gives out sequences again.
  const highest = before.at(-1)!;
  const { connection } = platform.jetstream;
  const info = await connection.request({ subject: '$JS.API.STREAM.INFO.RESULTS', data: '' });
  if (info.kind !== 'message') throw new Error('no stream');
  const { config } = JSON.parse(new TextDecoder().decode(info.data)) as { config: object };
  await connection.request({ subject: '$JS.API.STREAM.DELETE.RESULTS', data: '' });
  await connection.request({
    subject: '$JS.API.STREAM.CREATE.RESULTS',
    data: JSON.stringify({ ...config, first_seq: highest - 6 }),
  });
  await platform.jetstream.provisioner.ensure();
  const goingOn = [[completedStep('d')], [completed('"all"')]];
  const again = await drive(platform.jetstream, platform.ours, half!.id, goingOn, highest);
  expect(again.at(-1)).toBeLessThan(highest);
  await drive(platform.jetstream, platform.ours, fresh!.id, [[completedStep('a')]]);
  // The end comes to a collector alone, and before the step that it follows.
  const { held, consumer } = holdDeliveries(1);
  await eventually(() => expect(held).toHaveLength(1));
  consumer.stop();
  await collect(2);
  await eventually(
    async () => expect((await show(platform.ours, half!.id))!.status).toBe('completed'),
    patience,
  );
  expect((await show(platform.ours, half!.id))!.steps.map(({ id }) => id)).toEqual(['a', 'b', 'c', 'd']);
  expect((await show(platform.ours, fresh!.id))!.steps.map(({ id }) => id)).toEqual(['a']);
  await eventually(async () => {
    const stream = await platform.jetstream.states.stream('RESULTS');
    expect(stream).toMatchObject({ messages: 0, lastSequence: highest });
  });
  const [next] = await platform.startRuns(platform.ours, 1);
  const [sequence] = await drive(platform.jetstream, platform.ours, next!.id, [[completed('1')]]);
  expect(sequence).toBe(highest + 1);
  await eventually(async () => expect((await show(platform.ours, next!.id))!.status).toBe('completed'));
}, 60_000);

test('collectors can be started and stopped at any time', async () => {
  const runs = await platform.startRuns(platform.ours, 60);
  const driving = Promise.all(
    runs.map(({ id }) =>
      drive(platform.jetstream, platform.ours, id, [[completedStep('a')], [completed('1')]]),
    ),
  );
  for (let round = 0; round < 5; round += 1) {
    const collector = await platform.startCollector();
    await Promise.all([collector.stop(), collector.stop()]);
  }
  await driving;
  await collect();
  await settled();
  const shown = await Promise.all(runs.map(({ id }) => show(platform.ours, id)));
  expect(shown.every((one) => one!.status === 'completed' && one!.steps.length === 1)).toBe(true);
}, 60_000);

test('while PostgreSQL is away nothing is lost, and the collector goes on when it is back', async () => {
  await collect(2);
  const runs = await platform.startRuns(platform.ours, 50);
  await flushCommits();
  await platform.servers.postgres.kill();
  for (const { id } of runs) {
    await drive(platform.jetstream, platform.ours, id, [[completedStep('a')], [completed('1')]]);
  }
  const before = await platform.jetstream.states.consumer(consumers.resultCollector);
  expect(before.pending + before.ackPending).toBe(100);
  await platform.servers.postgres.restart();
  await settled();
  const shown = await Promise.all(runs.map(({ id }) => show(platform.ours, id)));
  expect(shown.every((one) => one!.status === 'completed' && one!.steps.length === 1)).toBe(true);
}, 60_000);

test('NATS can be wiped with entries that nobody applied, and their runs go on from what PostgreSQL has', async () => {
  const [half, lost] = await platform.startRuns(platform.ours, 2);
  await collect();
  const [accepted] = await drive(platform.jetstream, platform.ours, half!.id, [[completedStep('a')]]);
  await settled();
  await running.pop()!.stop();
  await drive(platform.jetstream, platform.ours, lost!.id, [[completedStep('a')]]);
  const { held, consumer } = holdDeliveries(1);
  await eventually(() => expect(held).toHaveLength(1));
  consumer.stop();
  await collect();
  await platform.servers.nats.kill();
  await platform.servers.nats.restart({ wipe: true });
  const ending = [[completedStep('b')], [completed('1')]];
  await eventually(() => drive(platform.jetstream, platform.ours, half!.id, ending, accepted), patience);
  await drive(platform.jetstream, platform.ours, lost!.id, ending);
  const stepsOf = async (runId: string): Promise<string[]> => {
    const shown = (await show(platform.ours, runId))!;
    expect(shown.status).toBe('completed');
    return shown.steps.map(({ id }) => id);
  };
  await eventually(async () => expect(await stepsOf(half!.id)).toEqual(['a', 'b']), patience);
  await eventually(async () => expect(await stepsOf(lost!.id)).toEqual(['b']), patience);
}, 60_000);
