/** Rate limits and throttles under kill -9: three replicas of the scheduler, one of which is killed every ten seconds. */
import type { Database } from '@ironflow/database';
import { judgeBegins } from './flow-begins.js';
import type { BeginsVerdict } from './flow-begins.js';
import { noteDecisions, readRateDecisions, readThrottlePasses } from './flow-decisions.js';
import {
  rateLimit,
  ratedEvent,
  ratedFunction,
  throttle,
  throttledEvent,
  throttledFunction,
} from './flow-functions.js';
import { judgeRate } from './flow-rates.js';
import type { RateRule, RateVerdict } from './flow-rates.js';
import { emitAll, fleetVictims, killInTurn, settle } from './flow-scene.js';
import type { FlowScene } from './flow-scene.js';
import { judgeThrottle } from './flow-throttles.js';
import type { ThrottleRule, ThrottleVerdict } from './flow-throttles.js';
import { readLedger } from './ledger.js';
import { say } from './program.js';

/** What was asked for, and what was done meanwhile. */
interface Circumstances {
  arrivals: number;
  keys: number;
  perSecond: number;
  perRequest: number;
  schedulers: number;
  killEveryMs: number;
  kills: number;
  seconds: number;
}

export interface RateLimitResult extends Circumstances, RateVerdict {
  rule: RateRule;
  failures: string[];
}

export interface ThrottleResult
  extends Circumstances, Omit<ThrottleVerdict, 'beginsAtUs' | 'differences'>, BeginsVerdict {
  rule: ThrottleRule;
  failures: string[];
}

const keys = 3;
const perRequest = 20;
const killEveryMs = 10_000;
const settledWithinMs = 300_000;
const ratedRule: RateRule = { limit: rateLimit.limit, periodMs: 10_000, burst: rateLimit.burst };
/** As docs/flow-control.md has it, and how the scheduler spreads its passes. */
const throttledRule: ThrottleRule = {
  ...{ limit: throttle.limit, periodMs: 1_000, burst: throttle.burst },
  ...{ onTheWayMs: 50, aheadMs: 50 },
};

/** Nearly seven times what the limit lets in. */
export async function showRateLimit(scene: FlowScene, arrivals: number): Promise<RateLimitResult> {
  say(`rate limit: ${arrivals} arrivals`);
  const load = { name: ratedEvent, arrivals, perSecond: 200 };
  const { failures, ...circumstances } = await underKills(scene, load);
  const verdict = judgeRate(await readRateDecisions(scene.database, ratedFunction), ratedRule);
  const allowed = ratedRule.limit + ratedRule.burst - 1;
  if (verdict.mostInPeriod > allowed) failures.push(`${verdict.mostInPeriod} were let in within a period`);
  if (verdict.differing > 0) failures.push(`of ${verdict.differing} decisions the oracle says otherwise`);
  const decided = verdict.letIn + verdict.skipped;
  if (decided !== arrivals) failures.push(`${decided} of ${arrivals} arrivals were decided`);
  return { ...circumstances, rule: ratedRule, ...verdict, failures };
}

/** Nearly three times what the throttle lets in. */
export async function showThrottle(scene: FlowScene, arrivals: number): Promise<ThrottleResult> {
  say(`throttle: ${arrivals} arrivals`);
  const load = { name: throttledEvent, arrivals, perSecond: 400 };
  const { failures, ...circumstances } = await underKills(scene, load);
  const passes = await readThrottlePasses(scene.database, throttledFunction);
  const { beginsAtUs, differences, ...verdict } = judgeThrottle(passes, throttledRule);
  const begins = judgeBegins({
    places: await readPlaces(scene.database),
    letInMs: new Map([...beginsAtUs].map(([run, atUs]) => [run, atUs / 1_000])),
    begunMs: begunAtMs(scene),
    periodMs: throttledRule.periodMs,
  });
  const allowed = throttledRule.limit + throttledRule.burst;
  if (verdict.differing > 0) {
    failures.push(`of ${verdict.differing} passes the oracle says otherwise`, ...differences);
  }
  if (begins.mostLetInInPeriod > allowed)
    failures.push(`${begins.mostLetInInPeriod} were let in for one period`);
  if (begins.mostBegunInPeriod > allowed) {
    failures.push(
      `${begins.mostBegunInPeriod} began within a period, though ${begins.mostLetInInPeriod} at most were let in for one`,
    );
  }
  if (verdict.letIn !== arrivals) failures.push(`${verdict.letIn} of ${arrivals} runs were let in`);
  if (begins.begun !== arrivals) failures.push(`${begins.begun} of ${arrivals} runs began`);
  return { ...circumstances, rule: throttledRule, ...verdict, ...begins, failures };
}

async function underKills(
  scene: FlowScene,
  { name, arrivals, perSecond }: { name: string; arrivals: number; perSecond: number },
): Promise<Circumstances & { failures: string[] }> {
  await noteDecisions(scene.database);
  const schedulers = fleetVictims(scene, 'scheduler');
  const end = new AbortController();
  const startedMs = performance.now();
  const killing = killInTurn(schedulers, killEveryMs, end.signal);
  const events = Array.from({ length: arrivals }, (_, n) => ({ name, data: { n, key: `k${n % keys}` } }));
  let failures: string[];
  try {
    await emitAll(scene.client, events, { perRequest, perSecond });
    failures = await settle(scene.database, { runs: arrivals, withinMs: settledWithinMs });
  } finally {
    end.abort();
  }
  const seconds = Math.round((performance.now() - startedMs) / 1_000);
  return {
    ...{ arrivals, keys, perSecond, perRequest },
    ...{ schedulers: schedulers.length, killEveryMs, kills: (await killing).length },
    ...{ seconds, failures },
  };
}

/** As the functions noted it, of each run the first time. */
function begunAtMs({ ledgerFile }: FlowScene): Map<string, number> {
  const begun = new Map<string, number>();
  for (const { run, atMs } of readLedger(ledgerFile)) if (!begun.has(run)) begun.set(run, atMs);
  return begun;
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
