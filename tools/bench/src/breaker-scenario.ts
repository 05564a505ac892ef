/**
 * A push endpoint, a process of its own behind a breaker, fails, hangs and recovers under four executors, and is then forced open by
 * an operator. It counts its calls itself.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { circuitNoticeSchema } from '@ironflow/schema';
import { createClient } from '@ironflow/sdk';
import type { Client } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { callsWhileForced, fragileFunction, judgeOpenTime, obeyWithinMs } from './breaker-calls.js';
import type { BreakerChange, EndpointCall, EndpointMode } from './breaker-calls.js';
import { startChild } from './children.js';
import type { Injection, Scenario, Scene } from './scenarios.js';

const executors = 4;
const runs = 100;
const runsWhileForced = 20;
const pushDeadlineMs = 2_000;
/** A probe that hangs is heard at its deadline: a window takes openMs and that. */
const windowMs = fragileFunction.openMs + pushDeadlineMs;
const within = { timeoutMs: 60_000 };
/** Runs that wait for a breaker that was forced open look at it each minute. */
const withinAfterReset = { timeoutMs: 120_000 };

export const breakerScenario: Scenario = {
  name: 'breaker',
  replicas: 1,
  replicasOf: { executor: executors, 'circuit-breaker': 2 },
  env: { IRONFLOW_PUSH_DEADLINE_MS: String(pushDeadlineMs) },
  inject,
};

async function inject(scene: Scene): Promise<Injection> {
  const { platform, jetstream, holdSeconds } = scene;
  const endpoint = await startEndpoint(scene);
  const client = createClient({ ironflowUrl: platform.url, apiKey: platform.apiKey });
  const changes: BreakerChange[] = [];
  const heard = jetstream.connection.nats.subscribe('public.*.*.system.breaker.>', {
    callback: (_error, message) => {
      changes.push(circuitNoticeSchema.parse(message.json()));
    },
  });
  try {
    const holdMs = Math.max(2 * windowMs, holdSeconds(40) * 500);
    await endpoint.set('fails');
    await emit(client, runs);
    await stateBecomes(client, 'open');
    await pause(holdMs);
    await endpoint.set('hangs');
    await pause(holdMs);
    await endpoint.set('works');
    await stateBecomes(client, 'closed');
    await allCompleted(scene, runs, within);
    const opened = judgeOpenTime(await endpoint.calls(), changes);
    const { failed, used } = await countAttempts(scene, await endpoint.calls());

    const before = (await endpoint.calls()).length;
    await client.breakers.open(fragileFunction.id);
    await emit(client, runsWhileForced);
    await pause(obeyWithinMs + 2 * fragileFunction.openMs);
    await client.breakers.reset(fragileFunction.id);
    await allCompleted(scene, runs + runsWhileForced, withinAfterReset);
    const calls = await endpoint.calls();
    const whileForced = callsWhileForced(calls, changes);
    return {
      fault:
        `an endpoint failed and then hung for ${holdMs / 1_000} s each, under ${executors} executors: ${opened.callsBefore} calls until ` +
        `all obeyed, ${opened.probes} probes in ${opened.windows} windows, ${failed} failed calls and as many attempts for ${runs} runs; ` +
        `forced open: ${whileForced} calls, and ${calls.length - before} for ${runsWhileForced} runs in all`,
      failures: [
        ...opened.failures,
        ...(opened.windows < 3 ? [`only ${opened.windows} windows: nothing was measured`] : []),
        ...(used === failed ? [] : [`${failed} calls failed and runs used ${used} attempts`]),
        ...(whileForced === 0 ? [] : [`${whileForced} calls while it was forced open`]),
      ],
    };
  } finally {
    heard.unsubscribe();
    await endpoint.end();
  }
}

interface Endpoint {
  set(mode: EndpointMode): Promise<void>;
  calls(): Promise<EndpointCall[]>;
  end(): Promise<void>;
}

async function startEndpoint({ platform }: Scene): Promise<Endpoint> {
  const child = await startChild(new URL('./fragile-endpoint.js', import.meta.url), {
    IRONFLOW_URL: platform.url,
    IRONFLOW_API_KEY: platform.apiKey,
    IRONFLOW_SIGNING_KEY: platform.signingKey,
  });
  const { url } = child.message as { url: string };
  return {
    set: async (mode) => void (await fetch(url + mode, { method: 'PUT' })),
    calls: async () => (await (await fetch(url)).json()) as EndpointCall[],
    end: () => child.end('SIGKILL'),
  };
}

async function emit(client: Client, count: number): Promise<void> {
  await client.emit(Array.from({ length: count }, () => ({ name: fragileFunction.event })));
}

function stateBecomes(client: Client, wanted: 'open' | 'closed'): Promise<void> {
  return eventually(async () => {
    const { state } = await client.breakers.get(fragileFunction.id);
    if (state !== wanted) throw new Error(`the breaker is ${state}, and was to be ${wanted}`);
  }, within);
}

function allCompleted({ database }: Scene, wanted: number, patience: { timeoutMs: number }): Promise<void> {
  const text = `select count(*)::int as completed from runs where function_id = $1 and status = 'completed'`;
  return eventually(async () => {
    const values = [fragileFunction.id];
    const [row] = await database.query<{ completed: number }>({ name: 'faults_fragile', text }, values);
    if (row!.completed < wanted)
      throw new Error(`${row!.completed} of ${wanted} runs behind the breaker completed`);
  }, patience);
}

/** Calls that the endpoint did not answer well, and attempts that runs have used: what waits uses none. */
async function countAttempts(
  { database }: Scene,
  calls: readonly EndpointCall[],
): Promise<{ failed: number; used: number }> {
  const text = 'select coalesce(sum(failures), 0)::int as used from runs where function_id = $1';
  const values = [fragileFunction.id];
  const [row] = await database.query<{ used: number }>({ name: 'faults_fragile_attempts', text }, values);
  return { failed: calls.filter(({ mode }) => mode !== 'works').length, used: row!.used };
}
