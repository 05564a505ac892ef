/** The replay core against a run that is kept in memory. Its property test is a file of its own. */
import { describe, expect, test } from '@jest/globals';
import type { StepRecord } from '@ironflow/schema';
import { z } from 'zod';
import { NonRetryableError, NondeterminismError } from '../function-errors.js';
import { createFunction } from '../function.js';
import type { EventSchema, HandlerContext } from '../function.js';
import type { LogLine } from '../logger.js';
import {
  activate,
  define,
  drive,
  fireTimer,
  invocationOf,
  newRun,
  runId,
  asksNothing,
  standingStill,
  turn,
  valueOf,
} from '../testing/memory-run.js';
import { startActivation } from './activation.js';

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
      platform: asksNothing,
      definition: define(async ({ step }) => {
        void step.run('a', () => begun.push('a'));
        for (let turns = 0; turns < 3; turns += 1) await turn();
        await step.run('b', () => begun.push('b'));
      }),
      invocation: invocationOf(newRun(), undefined),
      recorder: { record: () => new Promise<void>((resolve) => submitted.push(resolve)) },
      now: Date.now,
      random: () => 0.5,
      startTimer: standingStill,
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
      platform: asksNothing,
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
      startTimer: standingStill,
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

  test('fails a step for good that returns what cannot be stored, and the function itself', async () => {
    const memory = newRun();
    const definition = define(({ step }) => step.run('output', () => ({ n: 1n })));
    expect(await drive({ run: memory, definition })).toMatchObject({ error: { name: 'StepError' } });
    expect(memory.records).toMatchObject([{ status: 'failed', error: { name: 'OutputError' } }]);
    const outcome = await drive({ run: newRun(), definition: define(() => ({ n: 1n })) });
    expect(outcome).toMatchObject({ kind: 'threw', error: { name: 'OutputError' } });
  });

  test('fails a run whose recorded step has become another type, naming the step', async () => {
    const memory = newRun();
    memory.steps.set('nap', { id: 'nap', type: 'sleep', attempt: 1, status: 'completed' });
    let executed = false;
    const definition = define(({ step }) => step.run('nap', () => (executed = true)).catch(() => 'caught'));
    const outcome = await activate({ run: memory, definition });
    expect(outcome).toMatchObject({ kind: 'threw', error: { name: NondeterminismError.name } });
    expect(outcome).not.toHaveProperty('retryInMs');
    expect(JSON.stringify(outcome)).toContain('step \\"nap\\" was recorded as sleep');
    expect(executed).toBe(false);
  });

  test('waits for a recorded step that the handler calls after work of its own', async () => {
    const memory = newRun();
    const definition = define(async ({ step }) => {
      const digested = crypto.subtle.digest('SHA-256', new Uint8Array(1_000_000));
      const winner = await Promise.race([
        digested.then(() => step.run('a', () => 'a')),
        step.run('b', async () => {
          await digested;
          for (let turns = 0; turns < 3; turns += 1) await turn();
          return 'b';
        }),
      ]);
      await step.sleep('then', '1m');
      return winner;
    });
    expect(await activate({ run: memory, definition })).toEqual({ kind: 'yielded' });
    expect(memory.records.map(({ id }) => id)).toEqual(['a', 'then', 'b']);
    expect(valueOf(await drive({ run: memory, definition }))).toBe('a');
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

  test.each(['pull', 'push'] as const)('refuses a step inside a step, at any depth (%s)', async (mode) => {
    const nested = define(async ({ step }) => {
      await step.run('before', () => 1);
      return step.run('outer', async () => {
        await turn();
        return (async () => step.run('inner', () => 1))();
      });
    });
    const memory = newRun();
    expect(await drive({ run: memory, definition: nested, mode })).toMatchObject({ kind: 'threw' });
    expect(memory.records.map(({ id, status }) => [id, status])).toEqual([
      ['before', 'completed'],
      ['outer', 'failed'],
    ]);
    expect(JSON.stringify(memory.records[1])).toContain('step \\"inner\\" is called inside step \\"outer\\"');
  });

  test('survives a step inside a step that nobody awaits', async () => {
    const careless = define(({ step }) => step.run('outer', () => void step.run('inner', () => 1)));
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    expect(await drive({ run: newRun(), definition: careless })).toEqual({ kind: 'completed' });
    await turn();
    process.off('unhandledRejection', note);
    expect(unhandled).toEqual([]);
  });

  test('lets the step of another run be called inside a step', async () => {
    const other = define(({ step }) => step.run('theirs', () => 1));
    const definition = define(({ step }) =>
      step.run('ours', async () => valueOf(await activate({ run: newRun(), definition: other }))),
    );
    expect(valueOf(await activate({ run: newRun(), definition }))).toBe(1);
  });

  test('refuses a step without a name, one of another form, and more than 1,000 steps', async () => {
    const nameless = define(({ step }) => step.run('', () => 1));
    expect(await drive({ run: newRun(), definition: nameless })).toMatchObject({
      error: { name: 'ConfigurationError' },
    });
    for (const name of ['a\0b', 'a\ud800b', 'é'.repeat(129)]) {
      const outcome = await drive({
        run: newRun(),
        definition: define(({ step }) => step.run(name, () => 1)),
      });
      expect(outcome).toMatchObject({ error: { message: expect.stringContaining("a step's name") } });
    }
    expect(
      await drive({ run: newRun(), definition: define(({ step }) => step.run('é😀'.repeat(42), () => 1)) }),
    ).toMatchObject({ kind: 'completed' });
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

  test('keeps each line once, with the attempt that wrote it', async () => {
    const memory = newRun();
    const kept: [string, unknown, unknown][] = [];
    const definition = define(async ({ step, logger }) => {
      logger.info('begins');
      await step.run('charge', ({ attempt }) => {
        logger.warn('tries', { card: 7 });
        if (attempt === 1) throw new Error('declined');
      });
      await Promise.all([step.run('charge', () => logger.debug('again')), step.sleep('nap', '1m')]);
      logger.info('ends');
    });
    for (let activations = 0; ; activations += 1) {
      const outcome = await activate({
        ...{ run: memory, definition },
        keeper: {
          add: ({ message, fields }, step) => kept.push([message, fields, step]),
          passRecorded: () => undefined,
          passHeld: () => undefined,
        },
      });
      if (outcome === 'crashed' || outcome.kind !== 'yielded') break;
      fireTimer(memory, () => 0);
    }
    expect(kept).toEqual([
      ['begins', {}, undefined],
      ['tries', { card: 7 }, { id: 'charge', attempt: 1 }],
      ['tries', { card: 7 }, { id: 'charge', attempt: 2 }],
      ['again', {}, { id: 'charge:1', attempt: 1 }],
      ['ends', {}, undefined],
    ]);
  });

  test('a step that is tried again is heard, also while others beside it are only replayed', async () => {
    const memory = newRun();
    const definition = define(({ step, logger }) =>
      Promise.all([
        step.run('fails', ({ attempt }) => {
          logger.info(`attempt ${attempt}`);
          if (attempt === 1) throw new Error('once');
        }),
        step.run('done', () => 1),
      ]),
    );
    await drive({ run: memory, definition });
    expect(memory.lines.map(({ message }) => message)).toEqual(['attempt 1', 'attempt 2']);
  });

  test('logs nothing more once it is over, and never calls the handler if it is over by then', async () => {
    let checked!: (result: { success: true; data: unknown }) => void;
    let called = 0;
    const lines: string[] = [];
    const start = (handler: (context: HandlerContext<unknown>) => unknown, schema?: EventSchema<unknown>) =>
      startActivation({
        platform: asksNothing,
        definition: createFunction({ id: 'late', triggers: [], ...(schema && { schema }) }, handler),
        invocation: invocationOf(newRun(), undefined),
        recorder: { record: () => Promise.resolve() },
        now: Date.now,
        random: () => 0.5,
        startTimer: standingStill,
        log: ({ message }) => lines.push(message),
      });
    const slow = {
      safeParseAsync: () => new Promise<{ success: true; data: unknown }>((resolve) => (checked = resolve)),
    };
    const unchecked = start(() => (called += 1), slow);
    unchecked.abort(new Error('lost'));
    checked({ success: true, data: {} });
    const talking = start(async ({ logger }) => {
      logger.info('before');
      await turn();
      logger.info('after');
    });
    await Promise.resolve();
    await Promise.resolve();
    talking.abort(new Error('lost'));
    await turn();
    await turn();
    expect({ called, lines }).toEqual({ called: 0, lines: ['before'] });
  });

  test('says every ten minutes that a run makes no progress, and nothing once it is over', async () => {
    const timers: { delayMs: number; callback: () => void; cancelled: boolean }[] = [];
    const lines: LogLine[] = [];
    let release!: () => void;
    const activation = startActivation({
      platform: asksNothing,
      definition: define(({ step }) =>
        step.run('hangs', () => new Promise<void>((resolve) => (release = resolve))),
      ),
      invocation: invocationOf(newRun(), undefined),
      recorder: { record: () => Promise.resolve() },
      now: Date.now,
      random: () => 0.5,
      startTimer: (delayMs, callback) => {
        const timer = { delayMs, callback, cancelled: false };
        timers.push(timer);
        return () => (timer.cancelled = true);
      },
      log: (line) => lines.push(line),
    });
    await turn();
    timers[0]!.callback();
    expect(lines).toEqual([]);
    timers[1]!.callback();
    expect(lines).toMatchObject([
      { level: 'warn', message: expect.stringContaining('no progress'), fields: { runId } },
    ]);
    release();
    await activation.result;
    expect(timers.map(({ delayMs, cancelled }) => [delayMs, cancelled])).toEqual([
      [600_000, false],
      [600_000, false],
      [600_000, true],
    ]);
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
});
