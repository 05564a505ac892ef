/**
 * `ironflow smoke-test`: one workflow from end to end, as its users run theirs: with a key of an environment, a worker and an event. For whoever
 * has just installed or upgraded a platform; the Helm chart's test is this command.
 *
 * The environment is the test's own and stays; its keys end with each test, so that what is left opens nothing.
 */
import { randomUUID } from 'node:crypto';
import { Command, InvalidArgumentError } from 'commander';
import { slugSchema } from '@ironflow/schema';
import { createClient, createFunction, createWorker } from '@ironflow/sdk';
import type { Client, OperatorClient, RunResult } from '@ironflow/sdk';
import { parseWait } from '../input.js';
import type { WaitDuration } from '../input.js';
import { printJson } from '../output.js';
import { requireSuccess } from '../run-outcome.js';
import { openOperatorSession } from '../session.js';
import type { Terminal } from '../terminal.js';

interface Flags {
  project: string;
  timeout: WaitDuration;
}

interface Place {
  project: string;
  env: string;
}

export function smokeTestCommand(terminal: Terminal): Command {
  return new Command('smoke-test')
    .description(
      'run one workflow of three steps from end to end, in an environment of its own; for operators: IRONFLOW_OPERATOR_KEY',
    )
    .option('--project <name>', 'whose environment it is; made if need be', parseSlug, 'ironflow-smoke-test')
    .option(
      '--timeout <duration>',
      'for a worker to be connected, and for the run to end (≤ 1m)',
      parseWait,
      '30s',
    )
    .action(async ({ project, timeout }: Flags, command: Command) => {
      const { client: operator, json } = openOperatorSession(command, terminal);
      const place = { project, env: 'smoke-test' };
      const entered = await enter(operator, place);
      const outcome = await withOwnKey(entered.client, () => runOnce(entered, timeout));
      if (json) printJson(terminal, { ...place, ...outcome });
      else print(terminal, place, outcome);
      const { runId: id, status } = outcome;
      requireSuccess(terminal, id === undefined ? undefined : [{ id, status: status! }], json);
      requireResult(outcome);
    });
}

interface Entered {
  client: Client;
  url: string;
  apiKey: string;
}

async function enter(operator: OperatorClient, { project, env }: Place): Promise<Entered> {
  const { environments, url } = await operator.tenants.create({
    project,
    environments: [env],
    newKeys: true,
  });
  const apiKey = environments[0]!.apiKey!;
  return { client: createClient({ ironflowUrl: url, apiKey }), url, apiKey };
}

/** Long enough for an answer that is under way. */
const lastKeyMs = 60_000;

/** Once it is over every key of the environment ends: the last one that can make others cannot be revoked, but replaced by one that expires. */
async function withOwnKey<T>(client: Client, work: () => Promise<T>): Promise<T> {
  const [own, ...others] = (await client.keys.list()).filter(({ status }) => status === 'live');
  try {
    return await work();
  } finally {
    for (const { id } of others) await client.keys.revoke(id);
    const expiresAt = new Date(Date.now() + lastKeyMs).toISOString();
    await client.keys.rotate(own!.id, { overlap: 0, expiresAt });
  }
}

interface Outcome {
  eventId: string;
  /** The wait ran out before it was known. */
  runId: string | undefined;
  status: RunResult['status'] | undefined;
  output: unknown;
  steps: number;
  connectMs: number;
  runMs: number;
}

const eventName = 'smoke-test.asked';
/** What the three steps make of it is known before. */
const expected = { output: 7, steps: 3 };

async function runOnce({ client, url, apiKey }: Entered, timeout: WaitDuration): Promise<Outcome> {
  const mark = randomUUID();
  const smokeTest = createFunction(
    { id: 'smoke-test', triggers: [{ event: eventName }], retries: 1 },
    async ({ step }) => {
      const one = await step.run('one', () => 1);
      const three = await step.run('three', () => one + 2);
      return step.run('seven', () => 2 * three + one);
    },
  );
  const startedMs = performance.now();
  const worker = createWorker({
    ...{ app: 'smoke-test', functions: [smokeTest], ironflowUrl: url, apiKey },
    handleSignals: false,
    log: () => undefined,
  });
  try {
    await within(timeout, worker.start());
    const connectedMs = performance.now();
    const { ids, runs } = await client.emit({ name: eventName, data: { mark } }, { wait: timeout });
    const runMs = performance.now() - connectedMs;
    const run = runs?.[0];
    const steps = run === undefined ? [] : (await client.runs.get(run.id)).steps;
    return {
      eventId: ids[0]!,
      runId: run?.id,
      status: run?.status,
      output: run?.output,
      steps: steps.length,
      connectMs: Math.round(connectedMs - startedMs),
      runMs: Math.round(runMs),
    };
  } finally {
    await worker.stop({ timeoutMs: 1_000 });
  }
}

async function within(timeout: WaitDuration, started: Promise<void>): Promise<void> {
  const timedOut = AbortSignal.timeout(millisecondsOf(timeout));
  await Promise.race([
    started,
    new Promise((_, reject) => {
      timedOut.addEventListener('abort', () => {
        reject(
          new Error(`no executor has taken a worker within ${timeout}: is /v1/workers routed to executors?`),
        );
      });
    }),
  ]);
}

function millisecondsOf(timeout: WaitDuration): number {
  const [, amount = '', unit = ''] = /^(\d+)(ms|s|m)$/.exec(timeout) ?? [];
  return Number(amount) * { ms: 1, s: 1_000, m: 60_000 }[unit as 'ms' | 's' | 'm'];
}

function print(terminal: Terminal, { project, env }: Place, outcome: Outcome): void {
  const { runId, status, steps, connectMs, runMs } = outcome;
  terminal.print(`ok    environment  ${project}/${env}`);
  terminal.print(`ok    worker       connected after ${connectMs} ms`);
  const mark = status === 'completed' ? 'ok  ' : 'FAIL';
  terminal.print(
    `${mark}  run          ${runId ?? 'unknown'}: ${status ?? 'unknown'}, ${steps} steps, ${runMs} ms`,
  );
}

function requireResult({ output, steps }: Outcome): void {
  if (output === expected.output && steps === expected.steps) return;
  throw new Error(
    `the run answered ${JSON.stringify(output)} after ${steps} steps, not ${expected.output} after ${expected.steps}`,
  );
}

function parseSlug(text: string): string {
  const parsed = slugSchema.safeParse(text);
  if (parsed.success) return text;
  throw new InvalidArgumentError(`"${text}" ${parsed.error.issues[0]!.message}.`);
}
