/** Steps that wait for events, signals and other functions: what is recorded, and what a replay makes of the answer. */
import { describe, expect, test } from '@jest/globals';
import { IronflowApiError } from '../client/api-error.js';
import { createFunction } from '../function.js';
import type { StepTools, WaitForEventOptions } from '../step-tools.js';
import {
  activate,
  answer,
  define,
  drive,
  invokedEventId,
  newRun,
  runId,
  valueOf,
} from '../testing/memory-run.js';

const weekMs = 7 * 86_400_000;
const yielded = { kind: 'yielded' };

describe('a wait', () => {
  test('is recorded as what it waits for, and goes on with the answer', async () => {
    const memory = newRun();
    const definition = define(async ({ step }) => {
      const paid = await step.waitForEvent('payment', {
        event: 'order.paid',
        if: 'event.data.ok',
        match: 'data.order',
        timeout: '1h',
      });
      return [paid?.data, await step.waitForSignal('approve')];
    });
    expect(await activate({ run: memory, definition })).toEqual(yielded);
    expect(memory.records).toMatchObject([
      {
        id: 'payment',
        type: 'wait_for_event',
        status: 'waiting',
        awaited: {
          kind: 'event',
          event: 'order.paid',
          condition: 'event.data.ok',
          match: { path: 'order', value: 7 },
        },
        due: { inMs: 3_600_000 },
      },
    ]);
    answer(memory, 'payment', { name: 'order.paid', data: { ok: true } });
    expect(await activate({ run: memory, definition })).toEqual(yielded);
    expect(memory.records[1]).toMatchObject({
      id: 'approve',
      type: 'wait_for_signal',
      awaited: { kind: 'signal', signal: 'approve' },
      due: { inMs: weekMs },
    });
    answer(memory, 'approve', null);
    expect(valueOf(await activate({ run: memory, definition }))).toEqual([{ ok: true }, null]);
  });

  test('several are pending at once, beside steps and sleeps, in either mode', async () => {
    for (const mode of ['pull', 'push'] as const) {
      const memory = newRun();
      const definition = define(({ step }) =>
        Promise.all([
          step.waitForEvent('event', { event: 'a' }),
          step.waitForSignal('signal'),
          step.invoke('child', { function: 'other' }),
          step.sleep('nap', '1s'),
          step.run('work', () => 1),
        ]),
      );
      let outcome = await activate({ run: memory, definition, mode });
      if (outcome !== 'crashed' && outcome.kind === 'continue') {
        outcome = await activate({ run: memory, definition, mode });
      }
      expect(outcome).toEqual(yielded);
      expect(memory.records.map(({ id, status }) => `${id} ${status}`).sort()).toEqual([
        'child waiting',
        'event waiting',
        'nap waiting',
        'signal waiting',
        'work completed',
      ]);
      for (const id of ['nap', 'child', 'signal', 'event']) answer(memory, id, id);
      expect(valueOf(await activate({ run: memory, definition, mode }))).toEqual([
        'event',
        'signal',
        'child',
        'nap',
        1,
      ]);
      expect(memory.invoked).toHaveLength(1);
    }
  });

  test.each<[string, Partial<Record<keyof WaitForEventOptions, unknown>> | undefined, string]>([
    ['no options', undefined, 'event: must be the name of an event'],
    ['a wildcard', { event: 'order.*' }, 'event: must be the name of an event'],
    ['an empty condition', { event: 'a', if: '' }, 'if: must be a CEL expression'],
    ['NUL in a condition', { event: 'a', if: '"\0"' }, 'if: must be a CEL expression'],
    ['a path that is not of the data', { event: 'a', match: 'order' }, 'match: must be a path'],
    [
      'a path to nothing',
      { event: 'a', match: 'data.nothing' },
      'no text, number or boolean at data.nothing',
    ],
    ['a path to a list', { event: 'a', match: 'data.list' }, 'no text, number or boolean at data.list'],
    ['a path to what cannot be kept', { event: 'a', match: 'data.nul' }, 'must be at most 1024 bytes'],
    ['a time that is none', { event: 'a', timeout: 'soon' }, 'a duration is milliseconds'],
  ])('refuses %s, naming the field', async (_what, given, message) => {
    const definition = define(({ step }) =>
      step.waitForEvent('wait', given as unknown as WaitForEventOptions),
    );
    const run = newRun();
    const outcome = await activate({ run, definition, data: { list: [1], nul: 'a\0' } });
    expect(outcome).toMatchObject({
      kind: 'threw',
      error: { name: 'ConfigurationError', message: expect.stringContaining(message) },
    });
    expect(run.records).toEqual([]);
  });

  test('that has become a sleep is reported as such', async () => {
    const memory = newRun();
    await activate({ run: memory, definition: define(({ step }) => step.waitForSignal('a')) });
    const changed = define(({ step }) => step.sleep('a', '1s'));
    expect(await activate({ run: memory, definition: changed })).toMatchObject({
      kind: 'threw',
      error: { name: 'NondeterminismError', message: expect.stringContaining('recorded as wait_for_signal') },
    });
  });
});

describe('an invocation', () => {
  const child = createFunction({ id: 'child', triggers: [] }, () => ({ at: new Date(0) }));
  const parent = define(async ({ step }) => (await step.invoke('call', { function: child, data: 1 })).at);

  test('that is lost before it is recorded is made again with the same key, and waits for the run it started', async () => {
    const [lost, repeated] = [newRun(), newRun()];
    expect(await activate({ run: lost, definition: parent })).toEqual(yielded);
    expect(await activate({ run: repeated, definition: parent })).toEqual(yielded);
    const keys = [...lost.invoked, ...repeated.invoked].map(({ options }) => options!.idempotencyKey);
    expect(new Set(keys).size).toBe(1);
    expect(lost.invoked).toMatchObject([
      { functionId: 'child', data: 1, options: { correlationId: expect.any(String) } },
    ]);
    expect(lost.records).toMatchObject([
      {
        type: 'invoke',
        status: 'waiting',
        awaited: { kind: 'run', eventId: invokedEventId, functionId: 'child' },
      },
    ]);
    expect(lost.records[0]).not.toHaveProperty('due');
    answer(lost, 'call', { at: 'then' });
    expect(valueOf(await activate({ run: lost, definition: parent }))).toBe('then');
  });

  test('that another step makes has a key of its own; one that is not waited for is a step like any', async () => {
    const memory = newRun();
    const definition = define(async ({ step }) => [
      await step.invokeAsync('aside', { function: 'child' }),
      await step.invokeAsync('aside', { function: child }),
    ]);
    expect(valueOf(await drive({ run: memory, definition }))).toEqual([
      { eventId: invokedEventId },
      { eventId: invokedEventId },
    ]);
    expect(new Set(memory.invoked.map(({ options }) => options!.idempotencyKey)).size).toBe(2);
    expect(memory.records).toMatchObject([{ type: 'run' }, { type: 'run' }]);
  });

  test.each([
    [404, 'failed'],
    [503, 'retrying'],
  ] as const)('that the platform answers with %i has %s', async (status, recorded) => {
    const memory = newRun();
    memory.refusal = new IronflowApiError({ status, code: 'c', message: 'not so' });
    await activate({ run: memory, definition: parent });
    expect(memory.records).toMatchObject([
      { type: 'invoke', status: recorded, error: { message: 'not so' } },
    ]);
  });

  test('is tried again by the policy, and is one step all the same', async () => {
    const memory = newRun();
    memory.refusal = new IronflowApiError({ status: 503, code: 'c', message: 'busy' });
    await activate({ run: memory, definition: parent });
    memory.refusal = undefined;
    memory.steps.set('call', { ...memory.steps.get('call')!, status: 'errored' });
    expect(await activate({ run: memory, definition: parent })).toEqual(yielded);
    expect(memory.records[1]).toMatchObject({ id: 'call', attempt: 2, status: 'waiting' });
  });

  test.each([
    [{ function: 'no function' }, 'function: must be a function or its id'],
    [undefined, 'function: must be a function or its id'],
    [{ function: 'child', timeout: 'soon' }, 'a duration is milliseconds'],
  ])('refuses %j', async (given, message) => {
    const definition = define(({ step }) =>
      step.invoke('call', given as unknown as Parameters<StepTools['invoke']>[1]),
    );
    expect(await activate({ run: newRun(), definition })).toMatchObject({
      error: { message: expect.stringContaining(message) },
    });
  });

  test('has keys that name its run', async () => {
    const memory = newRun();
    await activate({ run: memory, definition: parent });
    expect(memory.invoked[0]!.options!.idempotencyKey).toMatch(new RegExp(`^${runId}\\.`));
  });
});
