import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { NonRetryableError } from '../function-errors.js';
import type { HandlerContext } from '../function.js';
import { activate, define, drive, impatient, newRun } from '../testing/memory-run.js';
import type { Activate, MemoryRun } from '../testing/memory-run.js';
import { notCompensatedOf } from '../testing/stored-run.js';

const modes = ['pull', 'push'] as const;
const once = { retries: 1 };

/** An order in three steps, each with what undoes it; the last one is refused. */
function order(done: string[], undo: (name: string) => unknown = () => undefined) {
  return define(async ({ step }: HandlerContext<unknown>) => {
    for (const name of ['reserve', 'charge', 'ship']) {
      await step.run(name, () => void done.push(name));
      await step.compensate(name, () => {
        done.push(`undo ${name}`);
        return undo(name);
      });
    }
    await step.run('refused', () => {
      throw new NonRetryableError('no');
    });
  });
}

async function cancelledWhileItWaits(options: Activate) {
  for (let outcome; outcome?.kind !== 'yielded';) {
    const next = await activate(options);
    if (next === 'crashed') throw new Error('nothing crashes here');
    outcome = next;
  }
  options.run.stopping = { kind: 'cancelled' };
  return drive(options);
}

const attemptsOf = (run: MemoryRun) =>
  run.records
    .filter(({ type }) => type === 'compensate')
    .map(({ id, attempt, status }) => `${id} ${attempt} ${status}`);

describe.each(modes)('a run that fails for good in %s mode', (mode) => {
  test('undoes what it had registered, the last one first, each as a step', async () => {
    const done: string[] = [];
    const run = newRun();
    const end = await drive({ run, mode, definition: order(done) });
    expect(end).toMatchObject({ kind: 'threw', error: { name: 'StepError' } });
    expect(done).toEqual(['reserve', 'charge', 'ship', 'undo ship', 'undo charge', 'undo reserve']);
    expect(attemptsOf(run)).toEqual([
      'compensate(reserve) 0 registered',
      'compensate(charge) 0 registered',
      'compensate(ship) 0 registered',
      'compensate(ship) 1 completed',
      'compensate(charge) 1 completed',
      'compensate(reserve) 1 completed',
    ]);
    expect(notCompensatedOf(run)).toEqual([]);
  });

  test('keeps nothing of what the undoing returned', async () => {
    const run = newRun();
    await drive({ run, mode, definition: order([], () => 'x'.repeat(100)) });
    const undone = run.records.filter(({ type, attempt }) => type === 'compensate' && attempt > 0);
    expect(undone).toHaveLength(3);
    for (const record of undone) expect(record).not.toHaveProperty('output');
  });

  test('goes on past one that cannot be undone, and lists it', async () => {
    const done: string[] = [];
    const run = newRun();
    const undo = (name: string) => {
      if (name === 'charge') throw new NonRetryableError('it is gone');
    };
    await drive({ run, mode, definition: order(done, undo) });
    expect(done.slice(3)).toEqual(['undo ship', 'undo charge', 'undo reserve']);
    expect(notCompensatedOf(run)).toMatchObject([
      { step: 'compensate(charge)', error: { message: 'it is gone' } },
    ]);
  });

  test('tries each again by its policy, and nothing before it while it waits', async () => {
    const done: string[] = [];
    const run = newRun();
    let failures = 2;
    const undo = (name: string) => {
      if (name === 'ship' && failures-- > 0) throw new Error('not now');
    };
    await drive({ run, mode, definition: order(done, undo) });
    expect(done.slice(3)).toEqual(['undo ship', 'undo ship', 'undo ship', 'undo charge', 'undo reserve']);
    expect(attemptsOf(run).slice(3, 6)).toEqual([
      'compensate(ship) 1 retrying',
      'compensate(ship) 2 retrying',
      'compensate(ship) 3 completed',
    ]);
  });

  test('undoes nothing twice, wherever its process dies', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }), async (crashes) => {
        const run = newRun();
        const completed = () =>
          run.records.filter(({ id, attempt }) => id.startsWith('compensate') && attempt > 0);
        const end = await drive({ run, mode, definition: order([]), crashes });
        expect(end.kind).toBe('threw');
        expect(completed().map(({ id }) => id)).toEqual([
          'compensate(ship)',
          'compensate(charge)',
          'compensate(reserve)',
        ]);
      }),
      { numRuns: 30 },
    );
  });

  test('begins nothing new meanwhile, whatever the handler does with its errors', async () => {
    const done: string[] = [];
    const run = newRun();
    const definition = define(async ({ step }) => {
      await step.run('first', () => 1);
      await step.compensate('first', () => done.push('undo first'));
      const aside = step.run('never', () => done.push('never'), once).catch(() => undefined);
      if (run.stopping !== undefined) await step.run('new', () => done.push('new'));
      await aside;
      throw new NonRetryableError('enough');
    });
    run.stopping = undefined;
    await drive({ run, mode, definition });
    expect(done).toEqual(['never', 'undo first']);
  });
});

describe.each(modes)('a run that is cancelled in %s mode', (mode) => {
  test('is replayed no further than it had come, and then undone', async () => {
    const done: string[] = [];
    const run = newRun();
    const definition = define(async ({ step }) => {
      await step.compensate('room', () => done.push('undo room'));
      await step.run('room', () => done.push('room'));
      await step.sleep('night', '8h');
      await step.run('breakfast', () => done.push('breakfast'));
    });
    const end = await cancelledWhileItWaits({ run, mode, definition });
    expect(end).toEqual({ kind: 'cancelled' });
    expect(done).toEqual(['room', 'undo room']);
    expect(run.records.map(({ id, status }) => `${id} ${status}`).slice(0, 2)).toEqual([
      'compensate(room) registered',
      'room completed',
    ]);
  });

  test('undoes what parallel branches had registered, though one of them has not ended', async () => {
    const done: string[] = [];
    const run = newRun();
    const definition = define(({ step }) =>
      step.parallel('trip', {
        hotel: async (own) => {
          await own.run('book', () => 1);
          await own.compensate('book', () => done.push('undo hotel'));
          await own.sleep('wait', '8h');
        },
        flight: async (own) => {
          await own.run('book', () => 2);
          await own.compensate('book', () => done.push('undo flight'));
        },
      }),
    );
    await cancelledWhileItWaits({ run, mode, definition });
    expect([...done].sort()).toEqual(['undo flight', 'undo hotel']);
    expect(attemptsOf(run)).toContain('compensate(trip.hotel.book) 1 completed');
  });
});

test('a registration is recorded with the step that has just ended, and one before a step holds it back', async () => {
  const run = newRun();
  const batches: string[][] = [];
  const definition = define(async ({ step }) => {
    await step.run('charge', () => 1);
    await step.compensate('charge', () => undefined);
    await step.compensate('ship', () => undefined);
    await step.run('ship', () => batches.push(run.records.map(({ id }) => id)));
  });
  await activate({ run, definition });
  expect(batches).toEqual([['charge', 'compensate(charge)', 'compensate(ship)']]);
  const cut = newRun();
  await activate({ run: cut, definition, crashAfter: 3 });
  expect(cut.records.map(({ id }) => id)).toEqual(['charge', 'compensate(charge)', 'compensate(ship)']);
});

test('what the changed code registers no more is listed, and the rest is undone', async () => {
  const done: string[] = [];
  const run = newRun();
  const version = (isOld: boolean) =>
    define(async ({ step }) => {
      await step.run('a', () => 1);
      await step.compensate('a', () => done.push('undo a'));
      if (isOld) await step.compensate('b', () => done.push('undo b'));
      throw new Error('later');
    });
  await activate({ run, definition: version(true) });
  run.stopping = { kind: 'cancelled' };
  await drive({ run, definition: version(false), startTimer: impatient });
  expect(done).toEqual(['undo a']);
  expect(notCompensatedOf(run)).toMatchObject([{ step: 'compensate(b)', error: { name: 'not_run' } }]);
});

test('a name is counted as those of steps are, and cannot be a step’s own', async () => {
  const done: number[] = [];
  const run = newRun();
  const definition = define(async ({ step }) => {
    for (const item of [1, 2]) await step.compensate('item', () => done.push(item));
    await step.run('compensate(item)', () => 1);
  });
  const end = await drive({ run, definition });
  expect(end).toMatchObject({ kind: 'threw', error: { message: expect.stringMatching(/step.compensate/) } });
  expect(done).toEqual([2, 1]);
  expect(run.steps.get('compensate(item):1')).toMatchObject({ status: 'completed' });
});

test('a run that completes undoes nothing', async () => {
  const done: string[] = [];
  const run = newRun();
  const definition = define(async ({ step }) => {
    await step.compensate('a', () => done.push('undo a'));
    return step.run('a', () => 'kept');
  });
  expect(await drive({ run, definition })).toEqual({ kind: 'completed', output: '"kept"' });
  expect(done).toEqual([]);
});
