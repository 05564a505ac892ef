/** Rate limits and throttles under kill -9: three replicas of the scheduler, one of which is killed every ten seconds. */
import type { Database } from '@ironflow/database';
import { rateLimit, ratedEvent, ratedFunction, throttle, throttledEvent } from './flow-functions.js';
import { judgeRate, mostWithin, overtaken } from './flow-rates.js';
import type { RatedEvent, RateVerdict } from './flow-rates.js';
import { emitAll, fleetVictims, killInTurn, settle } from './flow-scene.js';
import type { FlowScene } from './flow-scene.js';
import { readLedger } from './ledger.js';
import { say } from './program.js';

export interface RateLimitResult extends RateVerdict {
  arrivals: number;
  kills: number;
  failures: string[];
}

export interface ThrottleResult {
  arrivals: number;
  begun: number;
  kills: number;
  seconds: number;
  mostInPeriod: number;
  /** Beginnings after one that was to come later. */
  overtaken: number;
  overtakenMsMost: number;
  failures: string[];
}

const keys = 3;
const killEveryMs = 10_000;
const settledWithinMs = 300_000;

/** Twice to seven times what the limit lets in, in bursts of up to 20. */
export async function showRateLimit(scene: FlowScene, arrivals: number): Promise<RateLimitResult> {
  say(`rate limit: ${arrivals} arrivals`);
  const { kills, failures } = await underKills(scene, arrivals, { name: ratedEvent, perSecond: 200 });
  const rule = { ...rateLimit, periodMs: 10_000 };
  const verdict = judgeRate(await readRated(scene.database), rule);
  const allowed = rule.limit + rule.burst - 1;
  if (verdict.mostInPeriod > allowed) failures.push(`${verdict.mostInPeriod} were let in within a period`);
  if (verdict.unduly > 0) failures.push(`${verdict.unduly} were skipped that had room`);
  if (verdict.letIn + verdict.skipped !== arrivals) failures.push('not all arrivals were judged');
  return { arrivals, kills, ...verdict, failures };
}

export async function showThrottle(scene: FlowScene, arrivals: number): Promise<ThrottleResult> {
  say(`throttle: ${arrivals} arrivals`);
  const startedMs = performance.now();
  const { kills, failures } = await underKills(scene, arrivals, { name: throttledEvent, perSecond: 400 });
  const seconds = Math.round((performance.now() - startedMs) / 1_000);
  const begunAtMs = new Map<string, number>();
  for (const { run, atMs } of readLedger(scene.ledgerFile)) {
    if (!begunAtMs.has(run)) begunAtMs.set(run, atMs);
  }
  let mostInPeriod = 0;
  const late = { count: 0, mostMs: 0 };
  for (const runs of await readPlaces(scene.database)) {
    const times = runs.flatMap((run) => begunAtMs.get(run) ?? []);
    mostInPeriod = Math.max(mostInPeriod, mostWithin(times, 1_000));
    const { count, mostMs } = overtaken(times);
    late.count += count;
    late.mostMs = Math.max(late.mostMs, mostMs);
  }
  const allowed = throttle.limit + throttle.burst;
  if (mostInPeriod > allowed) failures.push(`${mostInPeriod} began within a period`);
  if (begunAtMs.size !== arrivals) failures.push(`${begunAtMs.size} of ${arrivals} runs began`);
  const order = { overtaken: late.count, overtakenMsMost: late.mostMs };
  return { arrivals, begun: begunAtMs.size, kills, seconds, mostInPeriod, ...order, failures };
}

async function underKills(
  scene: FlowScene,
  arrivals: number,
  { name, perSecond }: { name: string; perSecond: number },
): Promise<{ kills: number; failures: string[] }> {
  const end = new AbortController();
  const killing = killInTurn(fleetVictims(scene, 'scheduler'), killEveryMs, end.signal);
  const events = Array.from({ length: arrivals }, (_, n) => ({ name, data: { n, key: `k${n % keys}` } }));
  let failures: string[];
  try {
    await emitAll(scene.client, events, { perRequest: 20, perSecond });
    failures = await settle(scene.database, { runs: arrivals, withinMs: settledWithinMs });
  } finally {
    end.abort();
  }
  return { kills: (await killing).length, failures };
}

function readRated(database: Database): Promise<RatedEvent[]> {
  return database.query<RatedEvent>(
    {
      name: '',
      text: `select e.data ->> 'key' as key, (extract(epoch from e.received_at) * 1000000)::float8 as "receivedUs",
          r.skip_reason is null as "isLetIn"
        from events e join runs r on r.event_id = e.id and r.function_id = $1 order by e.received_at, e.id`,
    },
    [ratedFunction],
  );
}

/** The runs of each key in the order of the queue. */
async function readPlaces(database: Database): Promise<string[][]> {
  const rows = await database.query<{ runs: string[] }>(
    {
      name: '',
      text: `select array_agg(r.id::text order by e.received_at, e.id) as runs
        from events e join runs r on r.event_id = e.id group by e.data ->> 'key'`,
    },
    [],
  );
  return rows.map(({ runs }) => runs);
}
