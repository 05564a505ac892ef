/** The test of an installation, against one. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Platform } from '@ironflow/platform';
import { createOperatorClient } from '@ironflow/sdk';
import { createLifecycle, createLogger } from '@ironflow/service';
import { createScratch, throwAwayPostgres } from '@ironflow/testing';
import type { Scratch } from '@ironflow/testing';
import { cli } from './testing/recorded-terminal.js';

const logger = createLogger({ service: 'cli-test', level: 'silent' });
const lifecycle = createLifecycle({ logger });
let scratch: Scratch;
let platform: Platform;

beforeAll(async () => {
  const { startPlatform } = await import('@ironflow/platform');
  scratch = await createScratch('cli-smoke-test');
  platform = await startPlatform({
    dataFolder: scratch.file('data'),
    env: {},
    lifecycle,
    loggerFor: () => logger,
    say: () => undefined,
    port: 0,
    postgres: throwAwayPostgres(),
  });
}, 120_000);
afterAll(async () => {
  await lifecycle.stop();
  await scratch.remove();
}, 60_000);

const operatorEnv = () => ({ IRONFLOW_URL: platform.url, IRONFLOW_OPERATOR_KEY: platform.operatorKey });

/** Those that go on living, but for the minute that the last one has. */
async function livingKeys(project: string): Promise<string[]> {
  const operator = createOperatorClient({ ironflowUrl: platform.url, operatorKey: platform.operatorKey });
  const { environments } = await operator.tenants.create({
    project,
    environments: ['smoke-test'],
    newKeys: true,
  });
  const { createClient } = await import('@ironflow/sdk');
  const client = createClient({ ironflowUrl: platform.url, apiKey: environments[0]!.apiKey! });
  const [, ...before] = (await client.keys.list()).filter(({ status }) => status === 'live');
  const soon = Date.now() + 60_000;
  return before
    .filter(({ expiresAt }) => expiresAt === undefined || Date.parse(expiresAt) > soon)
    .map(({ id }) => id);
}

test('a workflow goes through, again and again, and leaves no key', async () => {
  for (const round of [1, 2]) {
    const result = await cli(['smoke-test', '--json'], { env: operatorEnv() });
    expect([round, result.err]).toEqual([round, '']);
    expect(result.exitCode).toBe(0);
    expect(JSON.parse(result.out)).toMatchObject({
      project: 'ironflow-smoke-test',
      env: 'smoke-test',
      status: 'completed',
      output: 7,
      steps: 3,
    });
  }
  expect(await livingKeys('ironflow-smoke-test')).toEqual([]);
});

test('people read it in three lines', async () => {
  const result = await cli(['smoke-test', '--project', 'other'], { env: operatorEnv() });
  expect(result).toMatchObject({ exitCode: 0, err: '' });
  expect(result.out).toMatch(
    /^ok {4}environment {2}other\/smoke-test\nok {4}worker .* ms\nok {4}run .*: completed, 3 steps, \d+ ms$/,
  );
});

test('a run that has not ended in time is a failure, and leaves no key either', async () => {
  const result = await cli(['smoke-test', '--timeout', '1ms', '--project', 'late'], { env: operatorEnv() });
  expect(result).toMatchObject({ exitCode: 1, err: expect.stringContaining('within 1ms') });
  expect(await livingKeys('late')).toEqual([]);
});

test('without a key of an operator it is said where one comes from', async () => {
  const result = await cli(['smoke-test'], { env: { IRONFLOW_URL: platform.url } });
  expect(result).toMatchObject({ exitCode: 1, err: expect.stringContaining('IRONFLOW_OPERATOR_KEY') });
});
