/**
 * What one environment's flood takes from another. The neighbour starts runs at a steady pace: alone, and while the flood
 * goes on, which is measured alone as well. A run's queue time is from the answer that its event was accepted until its
 * function began, both seen from outside the platform; what acceptance itself took is told beside it.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { Database } from '@ironflow/database';
import type { RunMode } from '@ironflow/schema';
import { eventually } from '@ironflow/testing';
import { Agent, fetch } from 'undici';
import { quantile } from './load.js';
import type { Answered } from './verification.js';
import { neighbourPull, neighbourPush, pullFunction, pushFunction } from './workload.js';

export interface FairnessOptions {
  urls: string[];
  /** Of the environment that floods. */
  apiKey: string;
  neighbourKey: string;
  /** Where the neighbour's apps note when a function began. */
  beginningsFile: string;
  database: Pick<Database, 'query'>;
  answered: Answered;
  /** Events of a flood, each of which starts a run. */
  count: number;
  quietSeconds: number;
  say: (line: string) => void;
}

export interface Spread {
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

export interface Waited {
  runs: number;
  queued: Spread;
  accepted: Spread;
}

export interface FairnessReport {
  mode: RunMode;
  flood: number;
  neighbourPerSecond: number;
  quiet: Waited;
  beside: Waited;
  floodPerSecond: { alone: number; beside: number };
  goal: { queuedP99Ms: number; throughputShare: number; met: boolean };
}

const neighbourPerSecond = 20;
const eventsPerRequest = 1_000;
const requestsAtOnce = 4;
const throughputShareMin = 0.7;
const queuedP99MsMin = 250;
const floodEndsWithinMs = 600_000;
const neighbourEndsWithinMs = 60_000;
const settleMs = 3_000;

export async function measureFairness(options: FairnessOptions, mode: RunMode): Promise<FairnessReport> {
  const { say, count } = options;
  const neighbour = createNeighbour(options, mode === 'pull' ? neighbourPull : neighbourPush);
  const flood = (): Promise<number> => runFlood(options, mode === 'pull' ? pullFunction : pushFunction);
  await pause(settleMs);
  const quiet = await neighbour.during(() => pause(options.quietSeconds * 1_000));
  say(`${mode}, the neighbour alone: ${JSON.stringify(quiet.waited)}`);
  const alone = await flood();
  say(`${mode}, a flood of ${count} alone: ${alone} runs/s`);
  await pause(settleMs);
  const beside = await neighbour.during(flood);
  say(`${mode}, both: ${JSON.stringify({ floodPerSecond: beside.result, ...beside.waited })}`);
  const queuedP99Ms = Math.max(2 * quiet.waited.queued.p99Ms, queuedP99MsMin);
  return {
    mode,
    flood: count,
    neighbourPerSecond,
    quiet: quiet.waited,
    beside: beside.waited,
    floodPerSecond: { alone, beside: beside.result },
    goal: {
      queuedP99Ms,
      throughputShare: throughputShareMin,
      met: beside.waited.queued.p99Ms <= queuedP99Ms && beside.result >= throughputShareMin * alone,
    },
  };
}

/** Answers how many runs a second ended, from the first request until the last run's end. */
async function runFlood(options: FairnessOptions, functionId: string): Promise<number> {
  const { count, answered, database } = options;
  const endedBefore = await countCompleted(database, functionId);
  const startedMs = performance.now();
  let begun = 0;
  const emit = async (url: string): Promise<void> => {
    while (begun < count) {
      const size = Math.min(eventsPerRequest, count - begun);
      begun += size;
      const body = JSON.stringify(
        Array.from({ length: size }, (_, n) => ({ name: `${functionId}.started`, data: { n } })),
      );
      await emitUntilTaken(url, options.apiKey, body);
      answered.requests += 1;
      answered.runs += size;
    }
  };
  const { urls } = options;
  await Promise.all(Array.from({ length: requestsAtOnce }, (_, n) => emit(urls[n % urls.length]!)));
  await eventually(
    async () => {
      const ended = (await countCompleted(database, functionId)) - endedBefore;
      if (ended < count) throw new Error(`${ended} of ${count} runs have ended`);
    },
    { timeoutMs: floodEndsWithinMs, intervalMs: 1_000 },
  );
  return Math.round((count / (performance.now() - startedMs)) * 1_000);
}

/** Whoever is told to come again does. */
async function emitUntilTaken(url: string, apiKey: string, body: string, dispatcher?: Agent): Promise<void> {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` };
  for (;;) {
    const init = { method: 'POST', headers, body, ...(dispatcher === undefined ? {} : { dispatcher }) };
    const answer = await fetch(`${url}/v1/events`, init);
    await answer.arrayBuffer();
    if (answer.ok) return;
    if (answer.status !== 503) throw new Error(`events were refused: status ${answer.status}`);
    await pause(Number(answer.headers.get('retry-after') ?? '1') * 1_000);
  }
}

interface Emitted {
  sentMs: number;
  acceptedMs: number;
}

/** One run after the other, whether or not those before have begun. */
function createNeighbour(options: FairnessOptions, functionId: string) {
  const { urls, neighbourKey, answered, database, beginningsFile } = options;
  let numbered = 0;
  const emit = async (n: number, dispatcher: Agent): Promise<Emitted> => {
    const sentMs = Date.now();
    const body = JSON.stringify({ name: `${functionId}.started`, data: { n } });
    await emitUntilTaken(urls[n % urls.length]!, neighbourKey, body, dispatcher);
    answered.requests += 1;
    answered.runs += 1;
    return { sentMs, acceptedMs: Date.now() };
  };
  return {
    during: async <Result>(work: () => Promise<Result>): Promise<{ result: Result; waited: Waited }> => {
      const endedBefore = await countCompleted(database, functionId);
      const dispatcher = new Agent();
      const first = numbered;
      const emitted: Promise<Emitted>[] = [];
      const startedMs = performance.now();
      const timer = setInterval(() => {
        const due = ((performance.now() - startedMs) / 1_000) * neighbourPerSecond;
        while (emitted.length < due) {
          const sent = emit((numbered += 1), dispatcher);
          sent.catch(() => undefined);
          emitted.push(sent);
        }
      }, 5);
      const result = await work().finally(() => clearInterval(timer));
      const all = await Promise.all(emitted);
      await eventually(
        async () => {
          const ended = (await countCompleted(database, functionId)) - endedBefore;
          if (ended < all.length) throw new Error(`${ended} of ${all.length} runs have ended`);
        },
        { timeoutMs: neighbourEndsWithinMs, intervalMs: 500 },
      );
      await dispatcher.close();
      const began = readBeginnings(await readFile(beginningsFile, 'utf8'));
      return { result, waited: waitedOf(all, (index) => began.get(`${functionId}.${first + 1 + index}`)) };
    },
  };
}

/** When each was called first: a function that waits or is called by HTTP begins again and again. */
function readBeginnings(text: string): Map<string, number> {
  const began = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [run = '', atMs = ''] = line.split(' ');
    if (atMs !== '' && !began.has(run)) began.set(run, Number(atMs));
  }
  return began;
}

/** A function may begin before its event's sender hears that it was accepted. */
function waitedOf(emitted: readonly Emitted[], beganMs: (index: number) => number | undefined): Waited {
  const queued = emitted.map(({ acceptedMs }, index) => Math.max(0, (beganMs(index) ?? NaN) - acceptedMs));
  if (queued.some(Number.isNaN)) throw new Error('a run has ended whose beginning nobody noted');
  return {
    runs: emitted.length,
    queued: spreadOf(queued),
    accepted: spreadOf(emitted.map(({ sentMs, acceptedMs }) => acceptedMs - sentMs)),
  };
}

function spreadOf(values: number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  return { p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99), maxMs: sorted.at(-1) ?? 0 };
}

async function countCompleted(database: Pick<Database, 'query'>, functionId: string): Promise<number> {
  const [row] = await database.query<{ completed: number }>(
    {
      name: 'bench_completed',
      text: `select count(*)::int as completed from runs where function_id = $1 and status = 'completed'`,
    },
    [functionId],
  );
  return row!.completed;
}
