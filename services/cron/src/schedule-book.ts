/**
 * The schedules this replica knows, and how far each has come. No I/O and no clock: every time is handed in.
 *
 * S1 A time comes up once, when it is due, unless it is not settled: then it comes up again on every pass until it is.
 * S2 No time before the schedule begins comes up, none after it was paused, and none that is settled, but for those that were due in the
 *    `lookBackMs` before the last: whoever settled them may have lost them with NATS since. How long ago that is matters only for S3:
 *    nothing is settled while NATS is away.
 * S3 What is not settled within the schedule's catch-up window is given up. So are, of one that waits for more than
 *    `limits.catchUpTimesMax` times, the oldest.
 */
import type { Schedule } from '@ironflow/database';
import { firingEventId, jitterOf, timesIn } from '@ironflow/schedule';
import type { Span, TimesIn, Timetable, TimetableAnswer } from '@ironflow/schedule';
import { catchUpMsDefault, limits } from '@ironflow/schema';

export interface Firing {
  readonly schedule: Schedule;
  readonly scheduledAtMs: number;
  /** With its jitter. */
  readonly dueAtMs: number;
  readonly eventId: string;
  /** Somebody has settled it before. */
  readonly isLookedBackAt: boolean;
  /** How far this replica has come with it. */
  readonly progress: { isOurs: boolean; claimSeenAtMs: number | undefined };
}

export interface GivenUpTime {
  schedule: Schedule;
  scheduledAtMs: number;
}

export interface ScheduleBook {
  /** Schedules that are not in it any more are forgotten with all they had open. Tells what it cannot read, once each. */
  replace(schedules: readonly Schedule[]): { schedule: Schedule; reason: string }[];
  /** What has to be fired now, and what was given up. */
  due(nowMs: number): { firings: Firing[]; givenUp: GivenUpTime[] };
  settle(firing: Firing): void;
  /** Up to when every time of the schedule is settled, as far as this replica knows. */
  settledUntilMs(schedule: Schedule): number | undefined;
  /** When a time of any schedule is due that has not come up yet. */
  nextDueMs(nowMs: number): number | undefined;
  /** The recent past comes up again, settled or not. */
  lookBackAgain(): void;
  /** How many there are that can be read. */
  size(): number;
}

export const lookBackMs = 90_000;

interface Entry {
  schedule: Schedule;
  timetable: Timetable;
  /** Every time up to here has come up or waits for its jitter; minus infinity before the first look. */
  cursorMs: number;
  /** The first time after the cursor: minus infinity while unknown, plus infinity when there is none. */
  nextMs: number;
  /** By time, oldest first; those that are not due yet included. */
  open: Map<number, Firing>;
}

export function createScheduleBook(
  timetableOf: (trigger: Schedule['trigger']) => TimetableAnswer,
): ScheduleBook {
  let entries = new Map<string, Entry>();
  /** By key, the registration whose trouble was told. */
  let unreadable = new Map<string, number>();

  return {
    replace: (schedules) => {
      const nextEntries = new Map<string, Entry>();
      const nextUnreadable = new Map<string, number>();
      const news: { schedule: Schedule; reason: string }[] = [];
      for (const schedule of schedules) {
        const key = scheduleKey(schedule);
        const answer = timetableOf(schedule.trigger);
        if (answer.kind === 'invalid') {
          if (unreadable.get(key) !== schedule.beginsAtMs) news.push({ schedule, reason: answer.reason });
          nextUnreadable.set(key, schedule.beginsAtMs);
          continue;
        }
        const existing = entries.get(key);
        const isSame = existing?.schedule.beginsAtMs === schedule.beginsAtMs;
        nextEntries.set(key, isSame ? { ...existing, schedule } : createEntry(schedule, answer.timetable));
      }
      entries = nextEntries;
      unreadable = nextUnreadable;
      return news;
    },
    due: (nowMs) => {
      const firings: Firing[] = [];
      const givenUp: GivenUpTime[] = [];
      for (const entry of entries.values()) {
        if (entry.nextMs <= nowMs) givenUp.push(...advance(entry, nowMs));
        if (entry.open.size === 0) continue;
        givenUp.push(...giveUp(entry, nowMs));
        for (const firing of entry.open.values()) if (firing.dueAtMs <= nowMs) firings.push(firing);
      }
      return { firings, givenUp };
    },
    settle: ({ schedule, scheduledAtMs }) => {
      entries.get(scheduleKey(schedule))?.open.delete(scheduledAtMs);
    },
    settledUntilMs: (schedule) => {
      const entry = entries.get(scheduleKey(schedule));
      if (entry === undefined || entry.cursorMs === -Infinity) return undefined;
      const [oldest] = entry.open.keys();
      return oldest === undefined ? entry.cursorMs : oldest - 1;
    },
    nextDueMs: (nowMs) => {
      let next = Infinity;
      for (const entry of entries.values()) {
        next = Math.min(next, entry.nextMs);
        for (const { dueAtMs } of entry.open.values()) if (dueAtMs > nowMs) next = Math.min(next, dueAtMs);
      }
      return next === Infinity ? undefined : next;
    },
    lookBackAgain: () => {
      for (const entry of entries.values()) {
        entry.cursorMs = -Infinity;
        entry.nextMs = -Infinity;
      }
    },
    size: () => entries.size,
  };
}

/** Two triggers of a function that say the same are one schedule. */
export function scheduleKey({ scope, functionId, trigger }: Schedule): string {
  return [scope.environmentId, functionId, trigger.cron, trigger.timezone].join('\n');
}

function createEntry(schedule: Schedule, timetable: Timetable): Entry {
  return { schedule, timetable, cursorMs: -Infinity, nextMs: -Infinity, open: new Map() };
}

/** Brings up the times until now; answers those that were missed for too long before this replica looked. */
function advance(entry: Entry, nowMs: number): GivenUpTime[] {
  const { schedule, timetable, open } = entry;
  const toMs = Math.min(nowMs, schedule.pausedAtMs ?? Infinity);
  const fromMs = Math.max(
    entry.cursorMs,
    // A time on the very millisecond at which it begins is not before.
    schedule.beginsAtMs - 1,
    windowStartMs(schedule, nowMs),
    Math.min(schedule.settledUntilMs, nowMs) - lookBackMs - (schedule.trigger.jitterMs ?? 0),
  );
  const missed = entry.cursorMs === -Infinity ? missedBefore(entry, Math.min(fromMs, toMs)) : [];
  const { times, nextMs, omitted } = latestIn(timetable, { fromMs, toMs });
  for (const scheduledAtMs of times) {
    if (!open.has(scheduledAtMs)) open.set(scheduledAtMs, createFiring(schedule, scheduledAtMs));
  }
  entry.cursorMs = Math.max(fromMs, toMs);
  const following = nextMs ?? Infinity;
  entry.nextMs = following <= (schedule.pausedAtMs ?? Infinity) ? following : Infinity;
  return [...missed, ...omitted].map((scheduledAtMs) => ({ schedule, scheduledAtMs }));
}

/** Far more than are made up for, and few enough that one schedule holds nobody up. */
const pageMax = 1_000;

/** Of very many times the latest; of those before, the ones that were met on the way. */
function latestIn(timetable: Timetable, span: Span): TimesIn & { omitted: number[] } {
  const omitted: number[] = [];
  let { fromMs } = span;
  for (;;) {
    const found = timesIn(timetable, { fromMs, toMs: span.toMs }, pageMax);
    if (found.nextMs === undefined || found.nextMs > span.toMs) return { ...found, omitted };
    omitted.push(...found.times);
    fromMs = Math.max(found.times.at(-1)!, Math.floor((fromMs + span.toMs) / 2));
  }
}

function missedBefore({ schedule, timetable }: Entry, beforeMs: number): number[] {
  const fromMs = Math.max(schedule.settledUntilMs, schedule.beginsAtMs - 1);
  return timesIn(timetable, { fromMs, toMs: beforeMs }, pageMax).times;
}

/** Open times that are too late, or too many: those that wait for their jitter are neither. */
function giveUp({ schedule, open }: Entry, nowMs: number): GivenUpTime[] {
  const due = [...open.values()].filter(({ dueAtMs }) => dueAtMs <= nowMs);
  const startMs = windowStartMs(schedule, nowMs);
  const tooMany = due.length - limits.catchUpTimesMax;
  const givenUp = due.filter(({ scheduledAtMs }, index) => scheduledAtMs <= startMs || index < tooMany);
  for (const { scheduledAtMs } of givenUp) open.delete(scheduledAtMs);
  return givenUp
    .filter(({ isLookedBackAt }) => !isLookedBackAt)
    .map(({ scheduledAtMs }) => ({ schedule, scheduledAtMs }));
}

/** Exclusive: times before are not made up for any more. */
function windowStartMs({ trigger }: Schedule, nowMs: number): number {
  return nowMs - (trigger.catchUpMs ?? catchUpMsDefault) - (trigger.jitterMs ?? 0);
}

function createFiring(schedule: Schedule, scheduledAtMs: number): Firing {
  const identity = {
    environmentId: schedule.scope.environmentId,
    functionId: schedule.functionId,
    trigger: schedule.trigger,
  };
  return {
    schedule,
    scheduledAtMs,
    dueAtMs: scheduledAtMs + jitterOf(identity, scheduledAtMs),
    eventId: firingEventId(identity, scheduledAtMs),
    isLookedBackAt: scheduledAtMs <= schedule.settledUntilMs,
    progress: { isOurs: false, claimSeenAtMs: undefined },
  };
}
