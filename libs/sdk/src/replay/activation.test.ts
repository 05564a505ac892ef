/** The replay core against a run that is kept in memory: crashes after any record, both ways of recording. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { stepRecordSchema } from '@ironflow/schema';
import type { Invocation, MemoizedStep, Outcome, StepRecord } from '@ironflow/schema';
import { z } from 'zod';
import { NonRetryableError, RetryAfterError, StepError, NondeterminismError } from '../function-errors.js';
import { createFunction } from '../function.js';
import type { HandlerContext, IronflowFunction } from '../function.js';
import type { LogLine } from '../logger.js';
import { startActivation } from './activation.js';
import { createOccurrences } from './occurrences.js';

const runId = '0192f0c0-0000-7000-8000-000000000001';
const eventId = '0192f0c0-0000-7000-8000-000000000000';

interface MemoryRun {
  steps: Map<string, MemoizedStep>;
  records: StepRecord[];
  lines: LogLine[];
  attempt: number;
  violations: string[];
}
const newRun = (): MemoryRun => ({ steps: new Map(), records: [], lines: [], attempt: 1, violations: [] });

/** What the executor and Postgres do with records. */
function keep(run: MemoryRun, records: StepRecord[]): void {
  for (const record of records) {
    stepRecordSchema.parse(record);
    run.records.push(record);
    const { id, type, attempt, status } = record;
    const order = 'order' in record && record.order !== undefined ? { order: record.order } : {};
    const output = 'output' in record && record.output !== undefined ? { output: record.output } : {};
    const error = 'error' in record ? { error: record.error } : {};
    run.steps.set(id, { id, type, attempt, status, ...order, ...output, ...error });
  }
}

/** A timer fires: of those that are set, the one that `choose` picks; it moves behind what ended before. */
function fireTimer(run: MemoryRun, choose: (count: number) => number): boolean {
  const set = [...run.steps.values()].filter(({ status }) => status === 'waiting' || status === 'retrying');
  const step = set[choose(set.length)];
  if (step === undefined) return false;
  run.steps.delete(step.id);
  run.steps.set(step.id, { ...step, status: step.status === 'waiting' ? 'completed' : 'errored' });
  return true;
}

interface Activate {
  run: MemoryRun;
  definition: IronflowFunction;
  mode?: 'push' | 'pull';
  /** Pull: the process dies once so many records were kept. */
  crashAfter?: number;
  data?: unknown;
}

async function activate(options: Activate): Promise<Outcome | 'crashed'> {
  const { run, definition, mode = 'pull', crashAfter = Number.POSITIVE_INFINITY } = options;
  let kept = 0;
  let queue = Promise.resolve();
  const recorder = {
    record(records: StepRecord[]) {
      queue = queue.then(async () => {
        await turn();
        if (kept >= crashAfter) return new Promise<void>(() => {});
        keep(run, records);
        kept += records.length;
        if (kept >= crashAfter) {
          activation.abort(new Error('the process died'));
          return new Promise<void>(() => {});
        }
      });
      return queue;
    },
  };
  const activation = startActivation({
    definition,
    invocation: invocationOf(run, options.data),
    ...(mode === 'pull' ? { recorder } : {}),
    now: () => 1_700_000_000_000,
    random: () => 0.5,
    log: (line) => run.lines.push(line),
  });
  const result = await activation.result;
  if (result.kind === 'aborted') return 'crashed';
  keep(run, result.records);
  return result.outcome;
}

function invocationOf(memory: MemoryRun, data: unknown): Invocation {
  return {
    v: 1,
    run: { id: runId, functionId: 'under-test', attempt: memory.attempt },
    event: {
      id: eventId,
      name: 'order.placed',
      data: JSON.stringify(data ?? { order: 7 }),
      receivedAtMs: 1_700_000_000_000,
      correlationId: eventId,
    },
    memo: memoOf(memory),
  };
}

/** Where a step has its place, the order of the list must not matter. */
function memoOf(memory: MemoryRun): MemoizedStep[] {
  const steps = structuredClone([...memory.steps.values()]);
  const placed = steps.filter(({ order }) => order !== undefined);
  return [...placed.reverse(), ...steps.filter(({ order }) => order === undefined)];
}

/** Activates until the run ends, as scheduler and executor would. */
async function drive(options: Activate & { crashes?: number[]; choose?: (count: number) => number }) {
  const crashes = [...(options.crashes ?? [])];
  for (let activations = 1; activations < 500; activations += 1) {
    const crashAfter = crashes.shift();
    const outcome = await activate({ ...options, ...(crashAfter === undefined ? {} : { crashAfter }) });
    if (outcome === 'crashed' || outcome.kind === 'continue') continue;
    if (outcome.kind === 'completed') return outcome;
    if (outcome.kind === 'threw' && outcome.retryInMs === undefined) return outcome;
    if (outcome.kind === 'threw') run(options).attempt += 1;
    else if (!fireTimer(options.run, options.choose ?? (() => 0))) throw new Error('yielded without a timer');
  }
  throw new Error('the run does not end');
}
const run = (options: { run: MemoryRun }) => options.run;

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const define = (handler: (context: HandlerContext<unknown>) => unknown, retries?: number) =>
  createFunction({ id: 'under-test', triggers: [], ...(retries === undefined ? {} : { retries }) }, handler);
const valueOf = (outcome: Outcome | 'crashed'): unknown =>
  outcome !== 'crashed' && outcome.kind === 'completed' && outcome.output !== undefined
    ? JSON.parse(outcome.output)
    : outcome;

type Program =
  | { kind: 'run'; name: string; turns: number; failures: number; fatal: boolean }
  | { kind: 'sleep'; name: string }
  | { kind: 'sequence' | 'all' | 'settled' | 'race'; parts: Program[] };

const names = fc.constantFrom('a', 'b', 'c', 'a:1');
const program = fc.letrec<{ node: Program }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc.record({
      kind: fc.constant('run' as const),
      name: names,
      turns: fc.nat(3),
      failures: fc.nat(2),
      fatal: fc.boolean(),
    }),
    fc.record({ kind: fc.constant('sleep' as const), name: names.map((name) => `sleep-${name}`) }),
    fc.record({
      kind: fc.constantFrom('sequence' as const, 'all' as const, 'settled' as const, 'race' as const),
      parts: fc.array(tie('node'), { minLength: 1, maxLength: 3 }),
    }),
  ),
})).node;

interface Watch {
  /** The handler saw a step settle. */
  saw(id: string, what: string): void;
  begins(id: string, attempt: number): void;
}

/** A handler whose next steps depend on who wins its races. */
function interpret(node: Program, { step }: HandlerContext<unknown>, watch: Watch): Promise<unknown> {
  const occurrences = createOccurrences();
  const runStep = (part: Extract<Program, { kind: 'run' }>) => {
    const id = occurrences.next(part.name);
    const work = async ({ attempt }: { attempt: number }) => {
      watch.begins(id, attempt);
      for (let turns = 0; turns < part.turns; turns += 1) await turn();
      if (attempt > part.failures) return id;
      throw part.fatal ? new NonRetryableError('for good') : new Error('once more');
    };
    return step.run(part.name, work).then(
      (value) => (watch.saw(id, `${id}=${value}`), value),
      (error: StepError) => (watch.saw(id, `${error.stepId}!${error.message} ${error.stack}`), error.message),
    );
  };
  const go = async (part: Program): Promise<unknown> => {
    switch (part.kind) {
      case 'run':
        return runStep(part);
      case 'sleep': {
        const id = occurrences.next(part.name);
        return step.sleep(part.name, '1h').then(() => watch.saw(id, id));
      }
      case 'sequence': {
        const values: unknown[] = [];
        for (const inner of part.parts) values.push(await go(inner));
        return values;
      }
      case 'all':
        return Promise.all(part.parts.map(go));
      case 'settled':
        return Promise.allSettled(part.parts.map(go));
      case 'race': {
        const winner = await Promise.race(part.parts.map((inner, index) => go(inner).then(() => index)));
        return [
          winner,
          await runStep({ kind: 'run', name: `after-${winner}`, turns: 1, failures: 0, fatal: false }),
        ];
      }
    }
  };
  return go(node);
}

/** A function that checks itself: each activation sees what was recorded of what the one before saw, and begins nothing that is. */
function defineWatched(node: Program, memory: MemoryRun): IronflowFunction {
  let seen: { id: string; what: string }[] = [];
  return define((context) => {
    const lost = seen.findIndex(({ id }) => !isSettled(memory, id));
    const before = lost === -1 ? seen : seen.slice(0, lost);
    seen = [];
    return interpret(node, context, {
      saw(id, what) {
        const expected = before[seen.length]?.what ?? what;
        if (expected !== what) memory.violations.push(`saw ${what} in place of ${expected}`);
        seen.push({ id, what });
      },
      begins(id, attempt) {
        const recorded = memory.steps.get(id);
        if (recorded !== undefined && (recorded.status !== 'errored' || recorded.attempt >= attempt)) {
          memory.violations.push(`${id} attempt ${attempt} begins although ${recorded.status}`);
        }
      },
    });
  });
}

const isSettled = (memory: MemoryRun, id: string): boolean =>
  ['completed', 'failed'].includes(memory.steps.get(id)?.status ?? '');

describe('a run of any shape, crashed after any of its records', () => {
  for (const mode of ['pull', 'push'] as const) {
    test(`sees the same turns again and never begins a recorded step again (${mode})`, async () => {
      await fc.assert(
        fc.asyncProperty(
          program,
          fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }),
          fc.array(fc.nat(50), { minLength: 1, maxLength: 10 }),
          async (node, crashes, choices) => {
            const memory = newRun();
            let choice = 0;
            const outcome = await drive({
              run: memory,
              definition: defineWatched(node, memory),
              mode,
              crashes: mode === 'pull' ? crashes : [],
              choose: (count) => choices[choice++ % choices.length]! % Math.max(1, count),
            });
            expect(outcome.kind).toBe('completed');
            expect(memory.violations).toEqual([]);
            expect(memory.lines).toEqual([]);
          },
        ),
        { numRuns: 300 },
      );
    });
  }

  test('without races comes to the same result as an undisturbed one', async () => {
    await fc.assert(
      fc.asyncProperty(
        program.filter(
          (node) => !JSON.stringify(node).includes('"race"') && !/all|settled/.test(JSON.stringify(node)),
        ),
        fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }),
        async (node, crashes) => {
          const crashed = newRun();
          const smooth = newRun();
          const pushed = newRun();
          const expected = await drive({ run: smooth, definition: defineWatched(node, smooth) });
          expect(await drive({ run: crashed, definition: defineWatched(node, crashed), crashes })).toEqual(
            expected,
          );
          expect(await drive({ run: pushed, definition: defineWatched(node, pushed), mode: 'push' })).toEqual(
            expected,
          );
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('an activation', () => {
  test('hands on what went through JSON, on the first run as on a replay', async () => {
    const seen: unknown[] = [];
    const definition = define(async ({ step }) => {
      seen.push(await step.run('date', () => ({ at: new Date(0), gone: undefined })));
      seen.push(await step.run('nothing', () => undefined));
      await step.sleep('then', '1m');
      return seen.length;
    });
    await drive({ run: newRun(), definition });
    expect(seen).toEqual([
      { at: '1970-01-01T00:00:00.000Z' },
      undefined,
      { at: '1970-01-01T00:00:00.000Z' },
      undefined,
    ]);
  });

  test('begins steps as they are called and records those that nobody awaits', async () => {
    const memory = newRun();
    const begun: string[] = [];
    const definition = define(({ step }) => {
      void step.run('first', async () => (begun.push('first'), await turn(), 1));
      void step.run('second', () => (begun.push('second'), Promise.reject(new NonRetryableError('no'))));
      begun.push('handler');
      return 'done';
    });
    expect(valueOf(await activate({ run: memory, definition }))).toBe('done');
    expect(begun).toEqual(['first', 'second', 'handler']);
    expect(memory.records.map(({ id, status }) => `${id} ${status}`).sort()).toEqual([
      'first completed',
      'second failed',
    ]);
  });

  test('begins no step before the records that were submitted earlier are acknowledged', async () => {
    const submitted: (() => void)[] = [];
    const begun: string[] = [];
    const activation = startActivation({
      definition: define(async ({ step }) => {
        void step.run('a', () => begun.push('a'));
        for (let turns = 0; turns < 3; turns += 1) await turn();
        await step.run('b', () => begun.push('b'));
      }),
      invocation: invocationOf(newRun(), undefined),
      recorder: { record: () => new Promise<void>((resolve) => submitted.push(resolve)) },
      now: Date.now,
      random: () => 0.5,
      log: () => {},
    });
    for (let turns = 0; turns < 10; turns += 1) await turn();
    expect(begun).toEqual(['a']);
    submitted.shift()!();
    expect(await activation.result).toMatchObject({ kind: 'ended', records: [{ id: 'b' }] });
    expect(begun).toEqual(['a', 'b']);
  });

  test('goes on with the handler before a record is acknowledged, and lets nothing but steps wait for it', async () => {
    const submitted: { records: StepRecord[]; acknowledge: () => void }[] = [];
    const seen: string[] = [];
    const activation = startActivation({
      definition: define(async ({ step }) => {
        seen.push(await step.run('a', () => 'a settled'));
        const next = step.run('b', () => seen.push('b begun'));
        await step.sleep('rest', '1m');
        return next;
      }),
      invocation: invocationOf(newRun(), undefined),
      recorder: {
        record: (records) => new Promise<void>((acknowledge) => submitted.push({ records, acknowledge })),
      },
      now: Date.now,
      random: () => 0.5,
      log: () => {},
    });
    for (let turns = 0; turns < 3; turns += 1) await turn();
    expect(seen).toEqual(['a settled']);
    expect(submitted.map(({ records }) => records.map(({ id }) => id))).toEqual([['a', 'rest']]);
    submitted[0]!.acknowledge();
    for (let turns = 0; turns < 3; turns += 1) await turn();
    expect(seen).toEqual(['a settled', 'b begun']);
    submitted[1]!.acknowledge();
    expect(await activation.result).toEqual({ kind: 'ended', outcome: { kind: 'yielded' }, records: [] });
  });

  test('throws the same StepError on the first run and on a replay', async () => {
    const errors: StepError[] = [];
    const definition = define(async ({ step }) => {
      const failing = step.run('charge', () => Promise.reject(new RangeError('no funds')), { retries: 1 });
      await failing.catch((error: StepError) => errors.push(error));
      await step.sleep('then', 10);
      return 'handled';
    });
    expect(valueOf(await drive({ run: newRun(), definition }))).toBe('handled');
    const [first, replayed] = errors;
    expect(first).toBeInstanceOf(StepError);
    expect(replayed).toBeInstanceOf(StepError);
    const shape = (error: StepError) => ({
      ...error,
      message: error.message,
      stack: error.stack,
      cause: error.cause,
    });
    expect(shape(replayed!)).toEqual(shape(first!));
    expect(first).toMatchObject({
      stepId: 'charge',
      attempts: 1,
      failure: { name: 'RangeError', message: 'no funds' },
    });
    expect((first!.cause as Error).stack).toBe((replayed!.cause as Error).stack);
    expect(first!.message).toBe('step "charge" failed after 1 attempt: RangeError: no funds');
  });

  test.each([
    ['a BigInt', () => ({ n: 1n }), 'it contains a BigInt'],
    ['a function', () => () => 1, 'it is a function'],
    ['a function inside', () => ({ user: { save: () => 1 } }), 'there is a function at "user.save"'],
    ['a symbol inside', () => [[Symbol('x')]], 'there is a symbol at "0.0"'],
    ['a circle', circle, 'it refers to itself'],
    [
      'too many bytes',
      () => 'é'.repeat(262_144),
      'the output is 524290 bytes of JSON, above the limit of 524288 bytes (512 KiB)',
    ],
  ])('fails a step for good that returns %s', async (_, work, message) => {
    const memory = newRun();
    const definition = define(({ step }) => step.run('output', work));
    const outcome = await drive({ run: memory, definition });
    expect(memory.records).toHaveLength(1);
    expect(memory.records[0]).toMatchObject({ status: 'failed', error: { name: 'OutputError' } });
    expect(outcome).toMatchObject({ kind: 'threw', error: { name: 'StepError' } });
    expect(JSON.stringify(outcome)).toContain(JSON.stringify(message).slice(1, -1));
  });

  test('takes an output of exactly 512 KiB, and the function’s own output obeys the same rules', async () => {
    const definition = define(({ step }) => step.run('output', () => 'x'.repeat(512 * 1024 - 2)));
    expect((await drive({ run: newRun(), definition })).kind).toBe('completed');
    const outcome = await drive({ run: newRun(), definition: define(() => ({ n: 1n })) });
    expect(outcome).toMatchObject({ kind: 'threw', error: { name: 'OutputError' } });
  });

  test('fails a run whose recorded step has become another type, naming the step', async () => {
    const memory = newRun();
    memory.steps.set('nap', { id: 'nap', type: 'sleep', attempt: 1, status: 'completed' });
    let executed = false;
    const definition = define(({ step }) => step.run('nap', () => (executed = true)).catch(() => 'caught'));
    const outcome = await activate({ run: memory, definition });
    expect(outcome).toEqual({
      kind: 'threw',
      error: expect.objectContaining({ name: NondeterminismError.name }),
    });
    expect(JSON.stringify(outcome)).toContain('step \\"nap\\" was recorded as sleep');
    expect(executed).toBe(false);
  });

  test('reports recorded steps that the code no longer calls, and goes on without them', async () => {
    const memory = newRun();
    memory.steps.set('old', { id: 'old', type: 'run', attempt: 1, status: 'completed', order: 0 });
    memory.steps.set('new', {
      id: 'new',
      type: 'run',
      attempt: 1,
      status: 'completed',
      order: 1,
      output: '5',
    });
    const definition = define(({ step }) => step.run('new', () => 0));
    expect(valueOf(await activate({ run: memory, definition }))).toBe(5);
    expect(memory.lines).toEqual([
      expect.objectContaining({ level: 'warn', fields: expect.objectContaining({ steps: ['old'] }) }),
    ]);
  });

  test('retries by the policy, or after the delay an error asks for', async () => {
    const memory = newRun();
    const definition = define(({ step }) =>
      Promise.all([
        step.run('backoff', ({ attempt }) => (attempt === 3 ? 'ok' : Promise.reject(new Error('again')))),
        step.run('asked', ({ attempt }) =>
          attempt === 2 ? 'ok' : Promise.reject(new RetryAfterError('busy', '7s')),
        ),
      ]),
    );
    expect(valueOf(await drive({ run: memory, definition }))).toEqual(['ok', 'ok']);
    const delays = memory.records.flatMap((record) =>
      record.status === 'retrying' ? [[record.id, record.retryInMs]] : [],
    );
    expect(delays).toEqual([
      ['backoff', 500],
      ['asked', 7_000],
      ['backoff', 1_000],
    ]);
  });

  test('retries the function itself by the run’s attempt, and not at all when the error is final', async () => {
    const failing = define(() => Promise.reject(new Error('down')));
    const memory = { ...newRun(), attempt: 1 };
    expect(await activate({ run: memory, definition: failing })).toMatchObject({
      kind: 'threw',
      retryInMs: 500,
    });
    expect(await activate({ run: { ...memory, attempt: 3 }, definition: failing })).not.toHaveProperty(
      'retryInMs',
    );
    const final = define(() => Promise.reject(new NonRetryableError('never')));
    expect(await activate({ run: memory, definition: final })).not.toHaveProperty('retryInMs');
  });

  test('records a sleep as it begins; a time that has passed ends at once and is recorded', async () => {
    const memory = newRun();
    const definition = define(async ({ step }) => {
      await step.sleepUntil('past', new Date(1_600_000_000_000));
      await step.sleep('none', 0);
      await Promise.all([step.sleep('nap', '90s'), step.sleepUntil('later', new Date(1_800_000_000_000))]);
    });
    expect(await activate({ run: memory, definition })).toEqual({ kind: 'yielded' });
    expect(memory.records.map(({ id, status }) => `${id} ${status}`)).toEqual([
      'past completed',
      'none completed',
      'nap waiting',
      'later waiting',
    ]);
    expect(memory.records[2]).toMatchObject({ due: { inMs: 90_000 } });
    expect(memory.records[3]).toMatchObject({ due: { atMs: 1_800_000_000_000 } });
  });

  test('waits for a handler that is busy with work of its own while no step is pending', async () => {
    const definition = define(async ({ step }) => {
      await step.run('a', () => 1);
      for (let turns = 0; turns < 20; turns += 1) await turn();
      return 'patient';
    });
    expect(valueOf(await activate({ run: newRun(), definition }))).toBe('patient');
  });

  test('leaves a handler that has work of its own beside a pending sleep, and calls it again when that is due', async () => {
    let calls = 0;
    const definition = define(async ({ step }) => {
      calls += 1;
      const busy = (async () => {
        for (let turns = 0; turns < 50; turns += 1) await turn();
      })();
      await Promise.all([step.sleep('nap', '1m'), busy]);
      return 'both';
    });
    expect(valueOf(await drive({ run: newRun(), definition }))).toBe('both');
    expect(calls).toBe(2);
  });

  test('refuses a step inside a step, a step without a name, and more than 1,000 steps', async () => {
    const nested = define(({ step }) => step.run('outer', () => step.run('inner', () => 1)));
    expect(JSON.stringify(await drive({ run: newRun(), definition: nested }))).toContain('steps do not nest');
    const nameless = define(({ step }) => step.run('', () => 1));
    expect(await drive({ run: newRun(), definition: nameless })).toMatchObject({
      error: { name: 'ConfigurationError' },
    });
    const endless = define(async ({ step }) => {
      for (;;) await step.run('more', () => 1);
    });
    expect(await drive({ run: newRun(), definition: endless, mode: 'pull' })).toMatchObject({
      kind: 'threw',
      error: { message: 'a run has at most 1000 steps' },
    });
  });

  test('logs nothing while it goes over code that it had passed before', async () => {
    const memory = newRun();
    const definition = define(async ({ step, logger }) => {
      logger.info('one');
      await step.run('a', () => 1);
      logger.info('two', { a: 1 });
      await step.sleep('nap', '1m');
      logger.info('three');
    });
    await drive({ run: memory, definition });
    expect(memory.lines.map(({ message }) => message)).toEqual(['one', 'two', 'three']);
    expect(memory.lines[1]).toMatchObject({
      level: 'info',
      fields: { a: 1, runId, functionId: 'under-test' },
    });
  });

  test('refuses an event that does not fit the schema by path, without its value', async () => {
    const definition = createFunction(
      { id: 'typed', triggers: [], schema: z.object({ user: z.object({ email: z.email() }) }) },
      ({ event }) => event.data.user.email,
    );
    const wrong = { user: { email: 'secret-value' } };
    const outcome = await activate({ run: newRun(), definition, data: wrong });
    expect(outcome).toMatchObject({ kind: 'threw', error: { name: 'EventSchemaError' } });
    expect(outcome).not.toHaveProperty('retryInMs');
    expect(JSON.stringify(outcome)).toContain('data.user.email (invalid_format)');
    expect(JSON.stringify(outcome)).not.toContain('secret-value');
    const right = { user: { email: 'a@example.org' } };
    expect(valueOf(await activate({ run: newRun(), definition, data: right }))).toBe('a@example.org');
  });

  test('counts a step that is still running at the deadline as a failed attempt and answers at once', async () => {
    let aborted = false;
    const activation = startActivation({
      definition: define(({ step }) =>
        step.run('slow', ({ signal }) => {
          signal.addEventListener('abort', () => (aborted = true));
          return new Promise(() => {});
        }),
      ),
      invocation: invocationOf(newRun(), undefined),
      now: Date.now,
      random: () => 0.5,
      log: () => {},
    });
    await turn();
    activation.expire();
    const result = await activation.result;
    expect(aborted).toBe(true);
    expect(result).toMatchObject({
      outcome: { kind: 'yielded' },
      records: [{ id: 'slow', status: 'retrying', retryInMs: 500, error: { name: 'DeadlineExceeded' } }],
    });
  });

  test('fails a call whose handler hangs outside of any step when the deadline passes', async () => {
    const activation = startActivation({
      definition: define(() => new Promise(() => {})),
      invocation: invocationOf(newRun(), undefined),
      now: Date.now,
      random: () => 0.5,
      log: () => {},
    });
    await turn();
    activation.expire();
    expect(await activation.result).toMatchObject({
      outcome: { kind: 'threw', error: { name: 'DeadlineExceeded' }, retryInMs: 500 },
    });
  });
});

function circle(): unknown {
  const value: { self?: unknown } = {};
  value.self = value;
  return value;
}
