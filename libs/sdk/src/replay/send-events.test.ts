import { expect, test } from '@jest/globals';
import { IronflowApiError } from '../client/api-error.js';
import { isNonRetryable } from '../function-errors.js';
import { asksNothing, define, drive, invocationOf, newRun, valueOf } from '../testing/memory-run.js';
import type { MemoryRun } from '../testing/memory-run.js';
import { createSendEvents } from './send-events.js';

const twice = define(async ({ step }) => {
  const first = await step.sendEvent('notify', [{ name: 'a.b' }, { name: 'c.d', data: 2 }]);
  return [first, await step.sendEvent('notify', { name: 'a.b' })];
});

test('a step that is lost before it is recorded sends the same keys again; other steps have others', async () => {
  const [lost, repeated] = [newRun(), newRun()];
  for (const run of [lost, repeated]) {
    expect(valueOf(await drive({ run, definition: twice }))).toEqual([
      { ids: ['event-0', 'event-1'] },
      { ids: ['event-0'] },
    ]);
  }
  const keysOf = (run: MemoryRun) => run.sent.map(({ idempotencyKey }) => idempotencyKey!);
  expect(keysOf(lost)).toEqual(keysOf(repeated));
  expect(new Set(keysOf(lost)).size).toBe(3);
  for (const key of keysOf(lost)) expect(Buffer.byteLength(key)).toBeLessThanOrEqual(256);
});

test('events belong to the run’s correlation and its event, unless they say otherwise', async () => {
  const memory = newRun();
  const invocation = invocationOf(memory, null);
  const sent: unknown[] = [];
  const send = createSendEvents(
    {
      ...asksNothing,
      emit: async (events) => {
        sent.push(...(events as unknown[]));
        return { ids: [] };
      },
    },
    { ...invocation, event: { ...invocation.event, correlationId: 'root' } },
  );
  const own = { name: 'x', correlationId: 'mine', causationId: 'that', idempotencyKey: 'once' };
  await send([{ name: 'x' }, own], 'step', new AbortController().signal);
  expect(sent).toMatchObject([{ correlationId: 'root', causationId: invocation.event.id }, own]);
});

test.each([
  [422, true],
  [401, true],
  [429, false],
  [503, false],
  [0, false],
])('what the platform answers with %i is given up at once: %p', async (status, isFinal) => {
  const refusal = new IronflowApiError({ status, code: 'c', message: 'not so' });
  const send = createSendEvents(
    { ...asksNothing, emit: () => Promise.reject(refusal) },
    invocationOf(newRun(), null),
  );
  const thrown = await send([{ name: 'x' }], 'step', new AbortController().signal).catch(
    (error: unknown) => error,
  );
  expect(isNonRetryable(thrown)).toBe(isFinal);
  expect((thrown as Error).message).toBe('not so');
});
