/**
 * Concurrency under kill -9: a limit per key that workers and an endpoint share, a twentieth of the keys with half of the runs, so that
 * they are at their limit all the time; executors and workers are killed in turn and a hundredth of the runs is cancelled.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Database } from '@ironflow/database';
import { concurrencyLimit, limitedEvent } from './flow-functions.js';
import type { FlowData } from './flow-functions.js';
import { findOverlaps, worksOf } from './flow-overlaps.js';
import type { Overlaps } from './flow-overlaps.js';
import { emitAll, fleetVictims, killInTurn, settle, workerVictims } from './flow-scene.js';
import type { FlowScene } from './flow-scene.js';
import { readLedger } from './ledger.js';
import { say } from './program.js';

export interface ConcurrencyResult extends Overlaps {
  runs: number;
  keys: number;
  statuses: Record<string, number>;
  seconds: number;
  runsPerSecond: number;
  kills: number;
  cancelAsked: number;
  failures: string[];
}

const killEveryMs = 8_000;
const cancelEveryMs = 500;
/** A kill leaves runs that are taken over seconds later. */
const settledWithinMs = 600_000;

export async function showConcurrency(
  scene: FlowScene,
  { runs, keys }: { runs: number; keys: number },
): Promise<ConcurrencyResult> {
  const { client, database, ledgerFile } = scene;
  say(`concurrency: ${runs} runs over ${keys} keys`);
  const [executors, workers] = [fleetVictims(scene, 'executor'), workerVictims(scene)];
  const victims = workers.flatMap((worker, index) => [executors[index % executors.length]!, worker]);
  const end = new AbortController();
  const startedMs = performance.now();
  const killing = killInTurn(victims, killEveryMs, end.signal);
  const cancelling = cancelSome(scene, Math.floor(runs / 100), end.signal);
  cancelling.catch(() => undefined);
  let failures: string[];
  let seconds: number;
  try {
    await emitAll(client, eventsOf(runs, keys), { perRequest: 500, perSecond: 5_000 });
    failures = await settle(database, { runs, withinMs: settledWithinMs });
    seconds = (performance.now() - startedMs) / 1_000;
  } finally {
    end.abort();
  }
  const [kills, cancelAsked] = await Promise.all([killing, cancelling]);
  const found = findOverlaps(worksOf(readLedger(ledgerFile), kills), kills, concurrencyLimit);
  const statuses = await countStatuses(database);
  const { overlaps, neverEnded } = found;
  if (overlaps.length > 0) failures.push(`${overlaps.length} times more than ${concurrencyLimit} of a key`);
  if (neverEnded > 0) failures.push(`${neverEnded} attempts of processes that live have never ended`);
  if ((statuses['completed'] ?? 0) + (statuses['cancelled'] ?? 0) !== runs) {
    failures.push(`of ${runs} runs are ${JSON.stringify(statuses)}`);
  }
  const runsPerSecond = Math.round(runs / seconds);
  return {
    ...{
      runs,
      keys,
      statuses,
      seconds: Math.round(seconds),
      runsPerSecond,
      kills: kills.length,
      cancelAsked,
    },
    ...found,
    failures,
  };
}

function eventsOf(runs: number, keys: number): { name: string; data: FlowData }[] {
  const hotKeys = Math.max(1, Math.floor(keys / 20));
  return Array.from({ length: runs }, (_, n) => {
    const turn = Math.floor(n / 4);
    const isHot = n % 2 === 1;
    const mode = n % 4 < 2 ? 'pull' : 'push';
    return { name: limitedEvent(mode), data: { n, key: `k${turn % (isHot ? hotKeys : keys)}` } };
  });
}

/** Some that are at work, as far as there are any. */
async function cancelSome(
  { client, database }: FlowScene,
  wanted: number,
  signal: AbortSignal,
): Promise<number> {
  const asked = new Set<string>();
  while (!signal.aborted && asked.size < wanted) {
    await pause(cancelEveryMs, undefined, { signal }).catch(() => undefined);
    const ids = await readAtWork(database);
    for (const id of ids.slice(0, wanted - asked.size)) {
      asked.add(id);
      // It may have ended meanwhile.
      await client.runs.cancel(id).catch(() => undefined);
    }
  }
  return asked.size;
}

async function readAtWork(database: Database): Promise<string[]> {
  const rows = await database.query<{ id: string }>(
    {
      name: '',
      text: `select r.id from slots s join runs r on r.id = s.run_id
        where r.ended_at is null and r.stop_requested_at is null order by random() limit 2`,
    },
    [],
  );
  return rows.map(({ id }) => id);
}

async function countStatuses(database: Database): Promise<Record<string, number>> {
  const rows = await database.query<{ status: string; count: number }>(
    { name: '', text: 'select status, count(*)::int as count from runs group by status' },
    [],
  );
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
}
