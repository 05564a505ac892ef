import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { createFunction, serve } from '@ironflow/sdk';
import type { HandlerContext } from '@ironflow/sdk';
import { noteSteps, openLedger, readLedger } from './ledger.js';
import { isDeliveryOf } from './payloads.js';

const runId = '0192f0c0-0000-7000-8000-000000000001';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ironflow-ledger-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a step is noted as it begins and as it ends; an attempt that throws has no end', async () => {
  const path = join(folder, 'ledger.jsonl');
  const handler = noteSteps(openLedger(path), async ({ step }: HandlerContext<unknown>) => {
    await step.run('flaky', ({ attempt }) => {
      if (attempt === 1) throw new Error('not yet');
      return 'done';
    });
  });
  expect(await call(handler, 'demo.7')).toMatchObject({ outcome: { kind: 'yielded' } });
  const failed = { id: 'flaky', type: 'run', attempt: 1, status: 'errored' };
  expect(await call(handler, 'demo.7', [failed])).toMatchObject({ outcome: { kind: 'completed' } });

  const lines = readLedger(path, () => true);
  const common = { delivery: 'demo.7', payload: 7, function: 'triage', run: runId, step: 'flaky' };
  expect(lines.map(({ at: _at, ...line }) => line)).toEqual([
    { ...common, attempt: 1, kind: 'begin' },
    { ...common, attempt: 2, kind: 'begin' },
    { ...common, attempt: 2, kind: 'end' },
  ]);
});

test('a handler gets what its step returned', async () => {
  const handler = noteSteps(openLedger(join(folder, 'ledger.jsonl')), ({ step }: HandlerContext<unknown>) =>
    step.run('count', async () => 3),
  );
  expect(await call(handler, 'demo.1')).toMatchObject({ outcome: { kind: 'completed', output: '3' } });
});

test('lines of other demos in the same file are left out', async () => {
  const path = join(folder, 'ledger.jsonl');
  const handler = noteSteps(openLedger(path), ({ step }: HandlerContext<unknown>) =>
    step.run('one', () => 1),
  );
  await call(handler, 'earlier.1');
  await call(handler, 'demo.2');
  const ours = readLedger(path, (delivery) => isDeliveryOf(delivery, 'demo'));
  expect(new Set(ours.map(({ payload }) => payload))).toEqual(new Set([2]));
});

test('a demo in which nothing ran has an empty ledger', () => {
  expect(readLedger(join(folder, 'absent.jsonl'), () => true)).toEqual([]);
});

/** One call of the platform, to an endpoint of the SDK. */
async function call(
  handler: (context: HandlerContext<unknown>) => unknown,
  delivery: string,
  memo: unknown[] = [],
): Promise<unknown> {
  const definition = createFunction({ id: 'triage', triggers: [] }, handler);
  const endpoint = serve({ app: 'triage', functions: [definition], dev: true, signingKey: [] });
  const body = JSON.stringify({
    v: 1,
    run: { id: runId, functionId: 'triage', attempt: 1 },
    event: { id: runId, name: 'github.fork', data: '{}', receivedAtMs: 1, correlationId: delivery },
    memo,
  });
  const response = await endpoint(new Request('http://localhost', { method: 'POST', body }));
  return response.json();
}
