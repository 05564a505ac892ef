/** What docs/failures.md shows of each failure is what `ironflow runs show` prints of a run that has just failed so. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { deriveRunId, limits } from '@ironflow/schema';
import { createFunction, NonRetryableError } from '@ironflow/sdk';
import type { HandlerContext } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { z } from 'zod';
import { settleGenerated } from '../generated-docs.mjs';
import { startPlatformUnderTest } from '../platform-under-test.js';
import type { PlatformUnderTest, Tenant } from '../platform-under-test.js';
import { createAppProcess } from '../primitives/app-process.js';
import type { AppProcess } from '../primitives/app-process.js';
import { normalised } from './normalised.js';

const document = fileURLToPath(new URL('../../../../docs/failures.md', import.meta.url));
const ironflow = fileURLToPath(new URL('../../../cli/bin/ironflow.js', import.meta.url));

let world: PlatformUnderTest;
let tenant: Tenant;
let killed: AppProcess;

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  await tenant.startWorker('shop', functions);
  const pushApp = await tenant.startPushApp('mailer', [define('mail', () => 'sent')]);
  pushApp.isFailing = true;
  killed = await createAppProcess(tenant, { mode: 'pull', group: 'steps' });
  await killed.start();
}, 60_000);
afterAll(async () => {
  await killed?.kill();
  await world?.stop();
}, 30_000);

/** Whether the function `changed` has been deployed anew while a run of it was under way. */
let isChanged = false;

const largestOutput = 'x'.repeat(limits.stepOutputBytesMax - 2);

function define(id: string, handler: (context: HandlerContext<unknown>) => unknown) {
  return createFunction({ id, triggers: [], retries: { attempts: 2, initialDelayMs: 10 } }, handler);
}

const functions = [
  define('step-error', async ({ step }) => {
    await step.run('reserve', () => 'reserved');
    await step.run('charge', () => {
      throw new RangeError('card declined');
    });
  }),
  define('non-retryable', ({ step }) =>
    step.run('charge', () => {
      throw new NonRetryableError('the card does not exist');
    }),
  ),
  define('function-error', async ({ step }) => {
    await step.run('reserve', () => 'reserved');
    throw new TypeError('order is undefined');
  }),
  define('step-timeout', ({ step }) => step.run('charge', () => new Promise(() => {}), { timeout: 50 })),
  define('invoked-failed', ({ step }) => step.invoke('bill', { function: 'function-error' })),
  define('invoke-timeout', ({ step }) => step.invoke('bill', { function: 'asleep', timeout: 50 })),
  define('asleep', ({ step }) => step.sleep('night', '1h')),
  createFunction({ id: 'function-timeout', triggers: [], timeout: 500 }, async ({ step, signal }) => {
    await step.run('reserve', () => 'reserved');
    await new Promise((_resolve, reject) => signal.addEventListener('abort', reject));
  }),
  define('not-compensated', async ({ step }) => {
    await step.compensate('reserve', () => {
      throw new RangeError('it has been picked up');
    });
    await step.run('reserve', () => 'reserved');
    await step.run('charge', () => {
      throw new NonRetryableError('the card does not exist');
    });
  }),
  define('memo-limit', async ({ step }) => {
    for (let page = 1; page < 10; page += 1) await step.run(`page ${page}`, () => largestOutput);
  }),
  define('output-limit', ({ step }) => step.run('read', () => 'x'.repeat(5 * 1024 * 1024))),
  define('configuration', ({ step }) => step.sleep('a while', 'soon' as '1s')),
  define('changed', async ({ step }) => {
    await (isChanged ? step.sleep('charge', '1s') : step.run('charge', () => 'charged'));
    await step.waitForSignal('go');
  }),
  createFunction({ id: 'schema', triggers: [], schema: z.object({ email: z.email() }) }, () => 'never'),
];

async function start(functionId: string): Promise<string> {
  const { ids } = await tenant.client.invoke(functionId, { email: 'nobody' });
  return deriveRunId({ environmentId: tenant.environmentId, eventId: ids[0]!, functionId });
}

async function shows(part: string, runId: string): Promise<void> {
  await tenant.ended(runId, 60_000);
  const { stdout } = await promisify(execFile)(process.execPath, [ironflow, 'runs', 'show', runId], {
    env: {
      PATH: process.env['PATH'],
      IRONFLOW_URL: tenant.ironflowUrl,
      IRONFLOW_API_KEY: tenant.apiKey,
    },
  });
  expect(settleGenerated(document, part, `\`\`\`text\n${normalised(stdout)}\n\`\`\``)).toBeUndefined();
}

test.each([
  'step-error',
  'non-retryable',
  'function-error',
  'function-timeout',
  'not-compensated',
  'memo-limit',
  'step-timeout',
  'invoked-failed',
  'invoke-timeout',
  'output-limit',
  'configuration',
  'schema',
])('%s', async (functionId) => shows(functionId, await start(functionId)), 90_000);

test('an endpoint that answers with errors', async () => shows('endpoint-error', await start('mail')));

test('a worker that is killed, again and again', async () => {
  killed.hold('handler');
  const runId = await start('pull-function-failing');
  for (let lost = 0; lost < 2; lost += 1) {
    await killed.isHolding(runId, 'handler');
    // Progress that is recorded by the second one only would give the run its attempts anew.
    await eventually(async () => expect((await tenant.client.runs.get(runId)).steps).toHaveLength(1));
    await killed.kill();
    killed.hold('handler');
    await killed.start();
  }
  await shows('worker-lost', runId);
}, 90_000);

test('code that no longer fits what a run has recorded', async () => {
  const runId = await start('changed');
  await eventually(async () => expect((await tenant.client.runs.get(runId)).status).toBe('waiting'));
  isChanged = true;
  await tenant.client.signal(runId, 'go');
  await shows('mismatch', runId);
});

test('a run that is cancelled', async () => {
  const runId = await start('asleep');
  await eventually(async () => expect((await tenant.client.runs.get(runId)).status).toBe('waiting'));
  await tenant.client.runs.cancel(runId);
  await shows('cancelled', runId);
});
