import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

/** The largest output there may be: 512 KiB of JSON with its quotes. */
const largest = 'x'.repeat(512 * 1024 - 2);
/** As large, and twice as large again once it is a string within JSON. */
const largestEscaped = '"'.repeat((512 * 1024 - 2) / 2);

let world: PlatformUnderTest;
let tenant: Tenant;
const begun = new Map<string, number>();

beforeAll(async () => {
  world = await startPlatformUnderTest();
  tenant = world.tenant;
  await tenant.startWorker('large-pull', functions('pull'));
  await tenant.startPushApp('large-push', functions('push'));
}, 60_000);
afterAll(() => world?.stop(), 30_000);

describe.each(['pull', 'push'])('in %s mode', (mode) => {
  test('steps that end at once may each have the largest output', async () => {
    const run = await invoke(`${mode}-together`);
    expect(run).toMatchObject({ status: 'completed', output: Array(5).fill(largest.length) });
    expect(run.steps.map(({ status, attempt }) => `${status} ${attempt}`)).toEqual(
      Array(5).fill('completed 1'),
    );
    expect(begun.get(`${mode}-together`)).toBe(5);
  });

  test('an output of nothing but escapes is stored, or refused with a rule, but never stuck', async () => {
    const run = await invoke(`${mode}-escaped`);
    expect(['completed', 'failed']).toContain(run.status);
    if (run.status === 'failed') expect(run.error!.message).toMatch(/bytes|KiB/);
    expect(begun.get(`${mode}-escaped`)).toBe(1);
  });

  test('the function itself may answer the largest output, with the last step beside it', async () => {
    const run = await invoke(`${mode}-whole`);
    expect(run.status).toBe('completed');
    expect(run.output).toBe(largest);
  });
});

function functions(mode: string): IronflowFunction[] {
  const note = (name: string) => {
    const key = `${mode}-${name}`;
    begun.set(key, (begun.get(key) ?? 0) + 1);
  };
  return [
    createFunction({ id: `${mode}-together`, triggers: [] }, async ({ step }) => {
      const outputs = await Promise.all(
        Array.from({ length: 5 }, (_, n) => step.run(`large ${n}`, () => (note('together'), largest))),
      );
      return outputs.map((output) => output.length);
    }),
    createFunction({ id: `${mode}-escaped`, triggers: [] }, async ({ step }) => {
      const output = await step.run('escaped', () => (note('escaped'), largestEscaped));
      return output.length;
    }),
    createFunction({ id: `${mode}-whole`, triggers: [] }, ({ step }) => step.run('last', () => largest)),
  ];
}

async function invoke(functionId: string) {
  const { ids } = await tenant.client.invoke(functionId);
  const [run] = await tenant.endedRunsOf(ids[0]!);
  return run!;
}
