/** Many schedules, and whether each of their times was fired once: worked out without the parser that the platform uses. Pure. */

export interface MinuteSchedule {
  functionId: string;
  cron: string;
  /** Into each minute of UTC. */
  offsetMs: number;
}

const minuteMs = 60_000;

/** Each fires once a minute, spread over its seconds: expressions with seconds, and every fourth an interval. */
export function minuteSchedules(count: number): MinuteSchedule[] {
  return Array.from({ length: count }, (_, index) => {
    const second = index % 60;
    const functionId = `minutely-${index}`;
    return index % 4 === 0
      ? { functionId, cron: '@every 1m', offsetMs: 0 }
      : { functionId, cron: `${second} * * * * *`, offsetMs: second * 1_000 };
  });
}

/** Of one schedule between the two, both included. */
export function timesOf({ offsetMs }: MinuteSchedule, fromMs: number, toMs: number): number[] {
  const times: number[] = [];
  const first = Math.ceil((fromMs - offsetMs) / minuteMs) * minuteMs + offsetMs;
  for (let time = first; time <= toMs; time += minuteMs) times.push(time);
  return times;
}

/** A time that was fired, as Postgres has it. */
export interface FiredTime {
  functionId: string;
  scheduledAtMs: number;
  /** Events of it, and runs that they started. */
  events: number;
  runs: number;
}

export interface FiringsVerdict {
  expected: number;
  fired: number;
  missing: number;
  twice: number;
  /** Times that nobody expects. */
  strange: number;
}

export function judgeFirings(
  schedules: readonly MinuteSchedule[],
  { fromMs, toMs }: { fromMs: number; toMs: number },
  fired: readonly FiredTime[],
): FiringsVerdict {
  const wanted = new Set<string>();
  for (const schedule of schedules) {
    for (const time of timesOf(schedule, fromMs, toMs)) wanted.add(`${schedule.functionId} ${time}`);
  }
  const verdict = { expected: wanted.size, fired: 0, missing: 0, twice: 0, strange: 0 };
  const found = new Set<string>();
  for (const { functionId, scheduledAtMs, events, runs } of fired) {
    if (scheduledAtMs > toMs) continue;
    const key = `${functionId} ${scheduledAtMs}`;
    verdict.fired += 1;
    if (!wanted.has(key)) verdict.strange += 1;
    if (events !== 1 || runs !== 1) verdict.twice += 1;
    found.add(key);
  }
  verdict.missing = [...wanted].filter((key) => !found.has(key)).length;
  return verdict;
}
