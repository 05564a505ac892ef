import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { HandlerContext, StepTools } from '@ironflow/sdk';
import { noteSteps, openLedger, readLedger } from './ledger.js';
import { isDeliveryOf } from './payloads.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ironflow-ledger-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a step is noted as it begins and as it ends; an attempt that throws has no end', async () => {
  const path = join(folder, 'ledger.jsonl');
  const handler = noteSteps(openLedger(path), async ({ step }) => {
    await step.run('flaky', ({ attempt }) => {
      if (attempt === 1) throw new Error('not yet');
      return 'done';
    });
  });
  await expect(handler(contextOf({ delivery: 'demo.7', attempt: 1 }))).rejects.toThrow('not yet');
  await handler(contextOf({ delivery: 'demo.7', attempt: 2 }));

  const lines = readLedger(path, () => true);
  const common = { delivery: 'demo.7', payload: 7, function: 'triage', run: 'run-1', step: 'flaky' };
  expect(lines.map(({ at: _at, ...line }) => line)).toEqual([
    { ...common, attempt: 1, kind: 'begin' },
    { ...common, attempt: 2, kind: 'begin' },
    { ...common, attempt: 2, kind: 'end' },
  ]);
});

test('a handler gets what its step returned', async () => {
  const handler = noteSteps(openLedger(join(folder, 'ledger.jsonl')), ({ step }) =>
    step.run('count', async () => 3),
  );
  await expect(handler(contextOf({ delivery: 'demo.1', attempt: 1 }))).resolves.toBe(3);
});

test('lines of other demos in the same file are left out', async () => {
  const path = join(folder, 'ledger.jsonl');
  const handler = noteSteps(openLedger(path), ({ step }) => step.run('one', () => 1));
  await handler(contextOf({ delivery: 'earlier.1', attempt: 1 }));
  await handler(contextOf({ delivery: 'demo.2', attempt: 1 }));
  const ours = readLedger(path, (delivery) => isDeliveryOf(delivery, 'demo'));
  expect(new Set(ours.map(({ payload }) => payload))).toEqual(new Set([2]));
});

test('a demo in which nothing ran has an empty ledger', () => {
  expect(readLedger(join(folder, 'absent.jsonl'), () => true)).toEqual([]);
});

/** What the SDK hands to a handler, as far as it matters here: steps run at once and are not recorded. */
function contextOf(of: { delivery: string; attempt: number }): HandlerContext<unknown> {
  const { signal } = new AbortController();
  const step = {
    run: async (_name: string, work: (context: object) => unknown) => work({ signal, attempt: of.attempt }),
  } as unknown as StepTools;
  const event = {
    id: 'event-1',
    name: 'github.fork',
    data: {},
    receivedAt: '2026-01-01T00:00:00.000Z',
    correlationId: of.delivery,
  };
  const silent = (): void => undefined;
  return {
    event,
    events: [event],
    step,
    run: { id: 'run-1', functionId: 'triage', attempt: 1, traceparent: undefined },
    signal,
    logger: { debug: silent, info: silent, warn: silent, error: silent },
  };
}
