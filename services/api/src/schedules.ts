/** The routes of schedules: listed with their next times, paused and resumed. They are fired by hand through ingest. */
import type { Authenticator, ScheduleRecord, ScheduleStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { createTimetables, jitterOf, timesIn } from '@ironflow/schedule';
import { catchUpMsDefault, routes, scheduleIdSchema } from '@ironflow/schema';
import type { Schedule, SchedulesPage } from '@ironflow/schema';
import { principalOf } from '@ironflow/service';
import type { HttpApp } from '@ironflow/service';
import type { FastifyRequest } from 'fastify';
import type { RegistryAnnouncer } from './registry-announcer.js';
import { serve } from './serve-route.js';

export interface SchedulesOptions {
  authenticator: Authenticator;
  schedules: ScheduleStore;
  announcer: Pick<RegistryAnnouncer, 'announce'>;
  now: () => Date;
}

const nextTimesShown = 5;

export function addSchedules(app: HttpApp, options: SchedulesOptions): void {
  const { schedules, announcer } = options;
  const show = createPresenter(options.now);
  serve(app, options, routes.listSchedules, async (request): Promise<SchedulesPage> => {
    const { limit, cursor, function: functionId } = request.query;
    if (cursor !== undefined && !scheduleIdSchema.safeParse(cursor).success) {
      const rule = 'the cursor must be the `nextCursor` of a page';
      throw new IronflowError('invalid', 'cursor_invalid', rule, { field: 'cursor' });
    }
    const { environmentId } = principalOf(request).scope;
    const found = await schedules.list(environmentId, { limit, after: cursor, functionId });
    const page = found.slice(0, limit);
    return {
      schedules: page.map((record) => show(environmentId, record, 1)),
      ...(found.length > limit ? { nextCursor: page.at(-1)!.id } : {}),
    };
  });
  serve(app, options, routes.getSchedule, async (request) => {
    const { environmentId } = principalOf(request).scope;
    const record = await schedules.get(environmentId, request.params.id);
    if (record === undefined) throw scheduleNotFound();
    return show(environmentId, record, nextTimesShown);
  });
  const change = async (
    request: FastifyRequest<{ Params: { id: string } }>,
    how: 'pause' | 'resume',
  ): Promise<Schedule> => {
    const { environmentId } = principalOf(request).scope;
    const changed = await schedules[how](environmentId, request.params.id);
    if (changed === undefined) throw scheduleNotFound();
    // Cron looks before it fires; this lets it look ahead as well.
    void announcer.announce(environmentId, changed.registryVersion);
    return show(environmentId, changed.schedule, nextTimesShown);
  };
  serve(app, options, routes.pauseSchedule, (request) => change(request, 'pause'));
  serve(app, options, routes.resumeSchedule, (request) => change(request, 'resume'));
}

type Present = (environmentId: string, record: ScheduleRecord, times: number) => Schedule;

function createPresenter(now: () => Date): Present {
  const timetableOf = createTimetables();
  return (environmentId, record, times) => {
    const { trigger, functionId, pausedAtMs, lastFiring, givenUp } = record;
    const answer = timetableOf(trigger);
    const isActive = answer.kind === 'valid' && pausedAtMs === undefined;
    const span = { fromMs: now().getTime(), toMs: Infinity };
    return {
      id: record.id,
      functionId,
      cron: trigger.cron,
      timezone: trigger.timezone,
      ...(trigger.jitterMs === undefined ? {} : { jitterMs: trigger.jitterMs }),
      overlap: trigger.overlap ?? 'allow',
      catchUpMs: trigger.catchUpMs ?? catchUpMsDefault,
      status: pausedAtMs === undefined ? 'active' : 'paused',
      registeredAt: iso(record.registeredAtMs),
      ...(pausedAtMs === undefined ? {} : { pausedAt: iso(pausedAtMs) }),
      next: isActive ? timesIn(answer.timetable, span, times).times.map(iso) : [],
      ...(lastFiring === undefined
        ? {}
        : { lastFiring: describeFiring({ environmentId, functionId, trigger }, lastFiring) }),
      givenUp: {
        count: givenUp.count,
        ...(givenUp.lastAtMs === undefined ? {} : { lastAt: iso(givenUp.lastAtMs) }),
      },
    };
  };
}

function describeFiring(
  schedule: Parameters<typeof jitterOf>[0],
  { scheduledAtMs, firedAtMs }: { scheduledAtMs: number; firedAtMs: number },
): Schedule['lastFiring'] {
  const dueAtMs = scheduledAtMs + jitterOf(schedule, scheduledAtMs);
  return {
    scheduledAt: iso(scheduledAtMs),
    firedAt: iso(firedAtMs),
    lateMs: Math.max(0, Math.round(firedAtMs - dueAtMs)),
  };
}

function iso(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

function scheduleNotFound(): IronflowError {
  const message = 'there is no schedule of that id in this environment';
  return new IronflowError('not_found', 'schedule_not_found', message);
}
