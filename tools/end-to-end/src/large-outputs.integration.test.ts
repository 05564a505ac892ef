import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction, RunDetail } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { startPlatformUnderTest } from './platform-under-test.js';
import type { PlatformUnderTest, Tenant } from './platform-under-test.js';

const kibibyte = 1024;
/** JSON text of so many bytes, with its quotes. */
const textOf = (bytes: number): string => 'x'.repeat(bytes - 2);
const largestBytes = 4 * kibibyte * kibibyte;
/** As large, and twice as large again once it is a string within JSON. */
const largestEscaped = '"'.repeat((largestBytes - 2) / 2);
const patienceMs = 60_000;

let world: PlatformUnderTest;
let tenant: Tenant;
const begun = new Map<string, number>();
let release: (() => void) | undefined;

beforeAll(async () => {
  world = await startPlatformUnderTest({ IRONFLOW_SWEEP_INTERVAL_MS: '1000' });
  tenant = world.tenant;
  await tenant.startWorker('large-pull', functions('pull'));
  await tenant.startPushApp('large-push', functions('push'));
}, 60_000);
afterAll(() => world?.stop(), 30_000);

describe.each(['pull', 'push'])('in %s mode', (mode) => {
  test('steps that end at once may each have the largest output, or one beside what goes inline', async () => {
    const run = await invoke(`${mode}-together`);
    const sizes = [64 * kibibyte - 1, 64 * kibibyte, 64 * kibibyte + 1, largestBytes, largestBytes];
    expect(run).toMatchObject({ status: 'completed', output: sizes });
    expect(lengthsOf(run)).toEqual(sizes);
    await nothingLeft(run);
  }, 90_000);

  test('the largest output may be nothing but escapes, of a step and of the function', async () => {
    const run = await invoke(`${mode}-escaped`);
    expect(run.status).toBe('completed');
    expect(run.output === largestEscaped).toBe(true);
    expect(run.steps[0]!.output === largestEscaped).toBe(true);
    await nothingLeft(run);
  }, 90_000);

  test.each(['step', 'function'])('a byte more fails the %s at once and says why', async (whose) => {
    const run = await invoke(`${mode}-beyond-${whose}`);
    expect(run).toMatchObject({ status: 'failed', error: { message: expect.stringContaining('4194305') } });
    expect(begun.get(`${mode}-beyond-${whose}`)).toBe(1);
  });

  test('a run that waits for another gets all that it returned', async () => {
    const run = await invoke(`${mode}-parent`);
    expect(run).toMatchObject({ status: 'completed', output: largestBytes });
    expect(lengthsOf(run)).toEqual([largestBytes]);
  }, 90_000);

  test('who waits for the end of a run gets it whole, and a rerun from a later step begins with it', async () => {
    const { runs } = await tenant.client.emit({ name: `${mode}.large` }, { wait: '30s' });
    expect(runs).toMatchObject([{ status: 'completed' }]);
    expect((runs![0]!.output as string).length).toBe(largestBytes - 2);
    const { runId } = await tenant.client.runs.rerun(runs![0]!.id, { fromStep: 'after' });
    const rerun = await tenant.ended(runId, patienceMs);
    expect(rerun.status).toBe('completed');
    expect((rerun.output as string).length).toBe(largestBytes - 2);
    expect(begun.get(`${mode}-whole`)).toBe(1);
    expect(begun.get(`${mode}-whole after`)).toBe(2);
  }, 90_000);
});

describe('what is lost meanwhile', () => {
  test.each(['pull', 'push'])(
    '%s: while PostgreSQL is away a large output waits, and its step does not begin again',
    async (mode) => {
      const { ids } = await tenant.client.invoke(`${mode}-held`);
      await eventually(() => expect(release).toBeDefined(), { timeoutMs: patienceMs });
      const postgres = world.platform.servers.postgres!;
      await postgres.kill();
      release!();
      release = undefined;
      await eventually(() => expect(begun.get(`${mode}-held returned`)).toBe(1));
      await postgres.restart();
      const [run] = await tenant.endedRunsOf(ids[0]!, 1, patienceMs);
      expect(run).toMatchObject({ status: 'completed', output: largestBytes });
      expect(begun.get(`${mode}-held`)).toBe(1);
      await nothingLeft(run!);
    },
    120_000,
  );
});

/** What was stored before its entry is its step's, and nowhere else. */
async function nothingLeft(run: RunDetail): Promise<void> {
  expect(await world.query('select from claimed_outputs where run_id = $1', [run.id])).toEqual([]);
}

function lengthsOf(run: RunDetail): number[] {
  return run.steps.map(({ output }) => JSON.stringify(output).length).sort((a, b) => a - b);
}

function functions(mode: string): IronflowFunction[] {
  const note = (name: string) => {
    const key = `${mode}-${name}`;
    begun.set(key, (begun.get(key) ?? 0) + 1);
  };
  const define = (
    name: string,
    handler: Parameters<typeof createFunction>[1],
    triggers: { event: string }[] = [],
  ) => createFunction({ id: `${mode}-${name}`, triggers }, handler);
  const child = createFunction({ id: `${mode}-child`, triggers: [] }, () => textOf(largestBytes));
  return [
    child,
    define('together', async ({ step }) => {
      const sizes = [64 * kibibyte - 1, 64 * kibibyte, 64 * kibibyte + 1, largestBytes, largestBytes];
      const outputs = await Promise.all(sizes.map((bytes, n) => step.run(`large ${n}`, () => textOf(bytes))));
      return outputs.map((output) => output.length + 2);
    }),
    define('escaped', ({ step }) => step.run('escaped', () => largestEscaped)),
    define('beyond-step', ({ step }) =>
      step.run('beyond', () => (note('beyond-step'), textOf(largestBytes + 1))),
    ),
    define('beyond-function', async ({ step }) => {
      await step.run('small', () => note('beyond-function'));
      return textOf(largestBytes + 1);
    }),
    define('parent', async ({ step }) => {
      const output = await step.invoke('child', { function: child });
      return output.length + 2;
    }),
    define(
      'whole',
      async ({ step }) => {
        const output = await step.run('first', () => (note('whole'), textOf(largestBytes)));
        await step.run('after', () => note('whole after'));
        return output;
      },
      [{ event: `${mode}.large` }],
    ),
    define('held', async ({ step }) => {
      const output = await step.run('held', async () => {
        note('held');
        await new Promise<void>((resolve) => (release = resolve));
        note('held returned');
        return textOf(largestBytes);
      });
      return output.length + 2;
    }),
  ];
}

async function invoke(functionId: string): Promise<RunDetail> {
  const { ids } = await tenant.client.invoke(functionId);
  const [run] = await tenant.endedRunsOf(ids[0]!, 1, patienceMs);
  return run!;
}
