/** Attempts that fail, of steps and of the function itself, and what becomes of them. */
import { getEventListeners } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import type { Duration } from '../duration.js';
import { createFunction } from '../function.js';
import { NonRetryableError, RetryAfterError, StepError } from '../function-errors.js';
import {
  activate,
  define,
  drive,
  impatient,
  invocationOf,
  newRun,
  asksNothing,
  standingStill,
  turn,
  valueOf,
} from '../testing/memory-run.js';
import { startActivation } from './activation.js';

describe('an attempt that takes too long', () => {
  const never = () => new Promise<never>(() => {});

  test('is aborted, fails, and is repeated by the policy like any other', async () => {
    const aborted: unknown[] = [];
    const memory = newRun();
    const definition = define(({ step }) =>
      step.run(
        'slow',
        ({ attempt, signal }) => {
          signal.addEventListener('abort', () => aborted.push(signal.reason));
          return attempt === 2 ? 'in time' : never();
        },
        { timeout: 20, retries: { attempts: 2, initialDelayMs: 0 } },
      ),
    );
    expect(valueOf(await drive({ run: memory, definition, startTimer: impatient }))).toBe('in time');
    expect(aborted).toMatchObject([{ name: 'StepTimeout' }]);
    expect(memory.records).toMatchObject([
      { status: 'retrying', error: { name: 'StepTimeout', message: 'it took longer than 20 ms' } },
      { status: 'completed', attempt: 2 },
    ]);
  });

  test('by the function’s own time unless the step has one, and what it says late is not heard', async () => {
    const definition = createFunction(
      { id: 'under-test', triggers: [], retries: 1, stepTimeout: '10ms' },
      async ({ step }) => {
        const late = async () => {
          for (let turns = 0; turns < 5; turns += 1) await turn();
          return 'said';
        };
        const patient = step.run('patient', late, { timeout: '1h' });
        const hasty = step.run('hasty', late).catch((error: Error) => error.message);
        return [await patient, await hasty];
      },
    );
    expect(valueOf(await drive({ run: newRun(), definition, startTimer: impatient }))).toEqual([
      'said',
      'step "hasty" failed after 1 attempt: StepTimeout: it took longer than 10 ms',
    ]);
  });

  test('leaves nothing behind on the signal of the run, however many there are', async () => {
    let left: number | undefined;
    const definition = define(async ({ step, signal }) => {
      for (let n = 0; n < 30; n += 1) await step.run('timed', () => n, { timeout: '1h' });
      left = getEventListeners(signal, 'abort').length;
    });
    await drive({ run: newRun(), definition });
    expect(left).toBe(0);
  });

  test('has a signal that also fires when the run is over for this process', async () => {
    let seen: AbortSignal | undefined;
    const definition = define(({ step }) =>
      step.run('long', ({ signal }) => ((seen = signal), new Promise<never>(() => {})), { timeout: '1h' }),
    );
    const activation = startActivation({
      platform: asksNothing,
      definition,
      invocation: invocationOf(newRun(), null),
      recorder: { record: async () => {} },
      now: () => 0,
      random: () => 0.5,
      startTimer: standingStill,
      log: () => {},
    });
    while (seen === undefined) await turn();
    activation.abort(new Error('over'));
    expect(seen.aborted && (seen.reason as Error).message).toBe('over');
  });

  test.each(['soon', 0, '2d', -1, null])('a time that is none is refused: %p', async (timeout) => {
    expect(() =>
      createFunction({ id: 'f', triggers: [], stepTimeout: timeout as Duration }, () => {}),
    ).toThrow('stepTimeout: must be a duration from 1 ms to a day');
    const definition = define(({ step }) => step.run('a', () => 1, { timeout: timeout as Duration }));
    expect(await activate({ run: newRun(), definition })).toMatchObject({
      kind: 'threw',
      error: { message: 'step "a": timeout: must be a duration from 1 ms to a day, such as "30s"' },
    });
  });
});

describe('an attempt that fails', () => {
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

  test.each([
    ['a date that cannot be read', new RetryAfterError('busy', new Date('soon')), 500],
    ['a time that has passed', new RetryAfterError('busy', new Date(0)), 0],
    [
      'a hundred years',
      new RetryAfterError('busy', new Date(Date.now() + 100 * 365 * 86_400_000)),
      315_619_200_000,
    ],
    [
      'a field of another type',
      Object.assign(new Error(), { name: 'RetryAfterError', retryAfterMs: '1' }),
      500,
    ],
  ])('takes %s for no other delay than one that the wire can carry', async (_, error, retryInMs) => {
    const memory = newRun();
    const definition = define(({ step }) => step.run('busy', () => Promise.reject(error)));
    await activate({ run: memory, definition });
    expect(memory.records).toMatchObject([{ status: 'retrying', retryInMs }]);
    const outcome = await activate({ run: newRun(), definition: define(() => Promise.reject(error)) });
    expect(outcome).toMatchObject({ kind: 'threw', retryInMs });
  });

  test.each([
    [{ attempts: 0 }, 'retries.attempts'],
    [{ attempts: 101 }, 'retries.attempts'],
    [{ initialDelayMs: 1e9 }, 'retries.initialDelayMs'],
    [{ maxDelayMs: Number.NaN }, 'retries.maxDelayMs'],
    [Object.assign({ attempts: 2 }, { backoff: 2 }), 'retries.backoff'],
  ])('refuses retries of a step that break a rule, naming the field: %j', async (retries, field) => {
    const definition = define(({ step }) => step.run('a', () => 1, { retries }));
    expect(await activate({ run: newRun(), definition })).toMatchObject({
      kind: 'threw',
      error: { name: 'ConfigurationError', message: expect.stringContaining(`step "a": ${field}: `) },
    });
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

  test('counts a step that is still running at the deadline as a failed attempt and answers at once', async () => {
    let aborted = false;
    const activation = startActivation({
      platform: asksNothing,
      definition: define(({ step }) =>
        step.run('slow', ({ signal }) => {
          signal.addEventListener('abort', () => (aborted = true));
          return new Promise(() => {});
        }),
      ),
      invocation: invocationOf(newRun(), undefined),
      now: Date.now,
      random: () => 0.5,
      startTimer: standingStill,
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
      platform: asksNothing,
      definition: define(() => new Promise(() => {})),
      invocation: invocationOf(newRun(), undefined),
      now: Date.now,
      random: () => 0.5,
      startTimer: standingStill,
      log: () => {},
    });
    await turn();
    activation.expire();
    expect(await activation.result).toMatchObject({
      outcome: { kind: 'threw', error: { name: 'DeadlineExceeded' }, retryInMs: 500 },
    });
  });
});
