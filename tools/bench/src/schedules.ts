/**
 * Schedules under kill -9: hundreds of them with a time a minute each, three replicas of cron, of which one is killed every ten
 * seconds and started again. Every time has to be fired exactly once, counted from Postgres.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Command } from 'commander';
import type { Database } from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Platform } from '@ironflow/platform';
import { createClient, createFunction } from '@ironflow/sdk';
import { eventually } from '@ironflow/testing';
import { wholeNumber } from './option-values.js';
import { createProgram, openDatabase, say, startSilentPlatform } from './program.js';
import { judgeFirings, minuteSchedules } from './schedule-times.js';
import type { FiredTime, FiringsVerdict, MinuteSchedule } from './schedule-times.js';

interface Options {
  minutes: number;
  schedules: number;
  smoke: boolean;
  json: boolean;
}

interface Result extends FiringsVerdict {
  minutes: number;
  kills: number;
  /** From the time to the event's commit. */
  lateMs: { p50: number; p99: number; most: number };
  givenUp: number;
}

const options = readOptions();
const replicas = 3;
const killEveryMs = 10_000;
const restartAfterMs = 2_000;
/** A claim that died with its replica is taken over within two seconds; the machine may be slow. */
const settledWithinMs = 60_000;
const program = createProgram('schedules');

await program.run(main);

function readOptions(): Options {
  const given = new Command('schedules')
    .description(
      'Kills replicas of cron while hundreds of schedules fire, and checks that every time is fired once.',
    )
    .option('--minutes <n>', 'how long', wholeNumber(1, 1_440), 10)
    .option('--schedules <n>', 'each with a time a minute', wholeNumber(1, 5_000), 200)
    .option('--smoke', 'one minute, 60 schedules', false)
    .option('--json', 'print JSON', false)
    .parse()
    .opts<Options>();
  return given.smoke ? { ...given, minutes: 1, schedules: 60 } : given;
}

function main(): Promise<boolean> {
  return program.onStage(async (stage) => {
    stage.isKept = true;
    const processes = { replicas: 1, replicasOf: { cron: replicas } };
    const platform = await startSilentPlatform(stage, { processes });
    const result = await run(platform, openDatabase(stage, platform.servers.ownerUrl));
    if (options.json) console.log(JSON.stringify(result, null, 2));
    else console.table([{ ...result, lateMs: JSON.stringify(result.lateMs) }]);
    stage.isKept = result.missing + result.twice + result.strange > 0;
    return !stage.isKept;
  });
}

async function run(platform: Platform, database: Database): Promise<Result> {
  const schedules = minuteSchedules(options.schedules);
  const fromMs = await register(platform, database, schedules);
  const untilMs = fromMs + options.minutes * 60_000;
  say(`${schedules.length} schedules for ${options.minutes} minutes`);
  let kills = 0;
  while ((await database.now()) < untilMs) {
    await pause(killEveryMs - restartAfterMs);
    const victim = platform.fleet!.of('cron')[kills % replicas]!;
    await victim.kill();
    kills += 1;
    await pause(restartAfterMs);
    await victim.start();
  }
  const judged = async () => {
    const fired = await readFired(database);
    return { fired, verdict: judgeFirings(schedules, { fromMs, toMs: untilMs }, fired.times) };
  };
  // What came up last may wait for its claim to be taken over.
  await eventually(
    async () => {
      const { missing } = (await judged()).verdict;
      if (missing > 0) throw new Error(`${missing} times are missing`);
    },
    { timeoutMs: settledWithinMs },
  ).catch((error: unknown) => say(messageOf(error)));
  const { fired, verdict } = await judged();
  return { minutes: options.minutes, kills, ...verdict, lateMs: fired.lateMs, givenUp: fired.givenUp };
}

/** Answers from when on all of them have their times. */
async function register(
  { url, apiKey }: Platform,
  database: Database,
  schedules: readonly MinuteSchedule[],
): Promise<number> {
  const client = createClient({ ironflowUrl: url, apiKey });
  const functions = schedules.map(
    ({ functionId, cron }) => createFunction({ id: functionId, triggers: [{ cron }] }, () => 'done').config,
  );
  // Nobody serves them: their runs rest, and are counted where they rest.
  await client.apps.register({ id: 'schedules', mode: 'pull', functions });
  const [row] = await database.query<{ from_ms: number }>(
    {
      name: '',
      text: 'select ceil(extract(epoch from max(registered_at)) * 1000)::float8 as from_ms from schedules',
    },
    [],
  );
  return row!.from_ms;
}

interface Fired {
  times: FiredTime[];
  lateMs: Result['lateMs'];
  givenUp: number;
}

async function readFired(database: Database): Promise<Fired> {
  const times = await database.query<FiredTime & { lateMs: number }>(
    {
      name: '',
      text: `select f.function_id as "functionId", f.scheduled_ms as "scheduledAtMs", f.events, f.late_ms as "lateMs",
          (select count(*)::int from runs r where r.event_id = any(f.ids)) as runs
        from (
          select substring(name from 'ironflow\\.cron\\.(.*)') as function_id, array_agg(id) as ids,
            (extract(epoch from (data ->> 'scheduledAt')::timestamptz) * 1000)::float8 as scheduled_ms,
            count(*)::int as events,
            (extract(epoch from min(received_at) - (data ->> 'scheduledAt')::timestamptz) * 1000)::float8 as late_ms
          from events where source = 'cron' group by name, data ->> 'scheduledAt'
        ) f`,
    },
    [],
  );
  const late = times.map(({ lateMs }) => lateMs).sort((a, b) => a - b);
  const at = (share: number): number => Math.round(late[Math.floor((late.length - 1) * share)] ?? 0);
  const [row] = await database.query<{ count: number }>(
    { name: '', text: 'select coalesce(sum(given_up), 0)::int as count from schedules' },
    [],
  );
  return { times, lateMs: { p50: at(0.5), p99: at(0.99), most: at(1) }, givenUp: row!.count };
}
