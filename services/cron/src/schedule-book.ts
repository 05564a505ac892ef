/**
 * The schedules this replica knows, and how far each has come. No I/O and no clock: every time is handed in.
 *
 * S1 A time comes up once, unless it is not settled: then it comes up again on every pass until it is.
 * S2 No time before the schedule was registered comes up, and none that was more than `lookBackMs` ago when the replica
 *    first looked: another replica, or the same before it was restarted, has had its turn.
 * S3 What waits to be settled is bounded per schedule; the oldest times give way.
 */
import type { Schedule } from '@ironflow/database';
import { firingEventId, scheduleKey, timesIn } from './firings.js';
import type { Timetable, TimetableAnswer } from './firings.js';

export interface Firing {
  readonly schedule: Schedule;
  readonly scheduledAtMs: number;
  readonly eventId: string;
  /** How far this replica has come with it. */
  readonly progress: { isOurs: boolean; claimSeenAtMs: number | undefined };
}

export interface ScheduleBook {
  /** Schedules that are not in it any more are forgotten with all they had open. Tells what it cannot read, once each. */
  replace(schedules: readonly Schedule[]): { schedule: Schedule; reason: string }[];
  /** What has to be fired now, and how many times were given up for it. */
  due(nowMs: number): { firings: Firing[]; givenUp: number };
  settle(firing: Firing): void;
  /** The next time of any schedule that has not come up yet. */
  nextDueMs(): number | undefined;
  /** The recent past comes up again, settled or not. */
  lookBackAgain(): void;
  /** How many there are that can be read. */
  size(): number;
}

export const lookBackMs = 90_000;
/** One a second over all of the past that is looked at fits. */
const openFiringsMax = 100;

interface Entry {
  schedule: Schedule;
  timetable: Timetable;
  /** Every time up to here has come up. */
  cursorMs: number;
  /** The first time after the cursor: minus infinity while unknown, plus infinity when there is none. */
  nextMs: number;
  /** By time, oldest first. */
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
          if (unreadable.get(key) !== schedule.registeredAtMs) news.push({ schedule, reason: answer.reason });
          nextUnreadable.set(key, schedule.registeredAtMs);
          continue;
        }
        const existing = entries.get(key);
        const isSame = existing?.schedule.registeredAtMs === schedule.registeredAtMs;
        nextEntries.set(key, isSame ? existing : createEntry(schedule, answer.timetable));
      }
      entries = nextEntries;
      unreadable = nextUnreadable;
      return news;
    },
    due: (nowMs) => {
      const firings: Firing[] = [];
      let givenUp = 0;
      for (const entry of entries.values()) {
        if (entry.nextMs <= nowMs) givenUp += advance(entry, nowMs);
        if (entry.open.size > 0) firings.push(...entry.open.values());
      }
      return { firings, givenUp };
    },
    settle: ({ schedule, scheduledAtMs }) => {
      entries.get(scheduleKey(schedule))?.open.delete(scheduledAtMs);
    },
    nextDueMs: () => {
      let next = Infinity;
      for (const entry of entries.values()) next = Math.min(next, entry.nextMs);
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

function createEntry(schedule: Schedule, timetable: Timetable): Entry {
  return { schedule, timetable, cursorMs: -Infinity, nextMs: -Infinity, open: new Map() };
}

/** Brings up the times until now; answers how many open ones had to give way. */
function advance(entry: Entry, nowMs: number): number {
  const { schedule, timetable, open } = entry;
  // A time on the very millisecond of the registration is not before it.
  const fromMs = Math.max(entry.cursorMs, nowMs - lookBackMs, schedule.registeredAtMs - 1);
  const { times, nextMs } = timesIn(timetable, { fromMs, toMs: nowMs }, openFiringsMax);
  for (const scheduledAtMs of times) {
    if (!open.has(scheduledAtMs)) open.set(scheduledAtMs, createFiring(schedule, scheduledAtMs));
  }
  entry.cursorMs = times.length === openFiringsMax ? times.at(-1)! : Math.max(fromMs, nowMs);
  entry.nextMs = nextMs ?? Infinity;
  let givenUp = 0;
  for (const scheduledAtMs of open.keys()) {
    if (open.size <= openFiringsMax) break;
    open.delete(scheduledAtMs);
    givenUp += 1;
  }
  return givenUp;
}

function createFiring(schedule: Schedule, scheduledAtMs: number): Firing {
  return {
    schedule,
    scheduledAtMs,
    eventId: firingEventId(schedule, scheduledAtMs),
    progress: { isOurs: false, claimSeenAtMs: undefined },
  };
}
