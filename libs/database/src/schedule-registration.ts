/**
 * What registering functions does to their schedules. Pure.
 *
 * 1. A schedule is its times (expression and timezone), or its id where it is given one: other options, or another id, make it
 *    none that is new.
 * 2. One that keeps its id but not its times begins anew with them, and is paused still if it was.
 */
import { isCronTrigger } from '@ironflow/schema';
import type { CronTrigger, FunctionConfig } from '@ironflow/schema';

export interface WantedSchedule {
  functionId: string;
  trigger: CronTrigger;
}

/** As Postgres has it; times are its text, which loses nothing. */
export interface ScheduleState extends WantedSchedule {
  /** What becomes of it, whatever its times are. */
  carried: CarriedState;
}

export interface CarriedState {
  pausedAt: string | null;
  resumedAt: string | null;
  lastScheduledAt: string | null;
  lastFiredAt: string | null;
  givenUp: number;
  lastGivenUpAt: string | null;
}

export interface SchedulePlan {
  removed: ScheduleState[];
  /** Of the same times. */
  updated: WantedSchedule[];
  added: (WantedSchedule & { carried?: CarriedState })[];
}

/** `existing` are those of the functions that are registered anew or archived. */
export function planSchedules(
  existing: readonly ScheduleState[],
  wanted: readonly WantedSchedule[],
): SchedulePlan {
  const left = new Set(existing);
  const take = (isSame: (state: ScheduleState) => boolean): ScheduleState | undefined => {
    const found = [...left].find(isSame);
    if (found !== undefined) left.delete(found);
    return found;
  };
  const plan: SchedulePlan = { removed: [], updated: [], added: [] };
  const byName = wanted.map((schedule) => ({
    schedule,
    state: take((state) => hasSameName(state, schedule)),
  }));
  for (const { schedule, state: named } of byName) {
    const state = named ?? take((other) => hasSameTimes(other, schedule));
    if (state === undefined) plan.added.push(schedule);
    else if (!hasSameTimes(state, schedule)) {
      plan.removed.push(state);
      plan.added.push({ ...schedule, carried: state.carried });
    } else if (!hasSameOptions(state.trigger, schedule.trigger)) plan.updated.push(schedule);
  }
  plan.removed.push(...left);
  return plan;
}

/** The cron triggers of a function, each once. */
export function schedulesOf(config: FunctionConfig): WantedSchedule[] {
  const triggers = config.triggers.filter(isCronTrigger);
  const byTimes = new Map(triggers.map((trigger) => [`${trigger.cron}\n${trigger.timezone}`, trigger]));
  return [...byTimes.values()].map((trigger) => ({ functionId: config.id, trigger }));
}

function hasSameName(one: WantedSchedule, other: WantedSchedule): boolean {
  const { id } = one.trigger;
  return one.functionId === other.functionId && id !== undefined && id === other.trigger.id;
}

function hasSameTimes(one: WantedSchedule, other: WantedSchedule): boolean {
  return (
    one.functionId === other.functionId &&
    one.trigger.cron === other.trigger.cron &&
    one.trigger.timezone === other.trigger.timezone
  );
}

function hasSameOptions(one: CronTrigger, other: CronTrigger): boolean {
  return (['id', 'jitterMs', 'overlap', 'catchUpMs'] as const).every((field) => one[field] === other[field]);
}
