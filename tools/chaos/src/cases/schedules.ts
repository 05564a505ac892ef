/** Functions of schedules: one that is told by its times alone, and one for each way to deal with a run that is still under way. */
import { systemEventNames } from '@ironflow/schema';
import { createFunction } from '@ironflow/sdk';
import type { IronflowFunction } from '@ironflow/sdk';
import { namesOf } from '../case.js';
import type { ExpectedRun } from '../case.js';
import type { Kit } from '../kit.js';

/** Its runs are checked by their times as well. */
export const clockFunction = 'every-second';

export const overlaps = ['skip', 'queue', 'cancel'] as const;
export type Overlap = (typeof overlaps)[number];
export const overlapEveryMs = 3_000;
/** Every other run is under way when the next time comes; so those that queue come to their turn all the same. */
const workMs = { long: 4_000, short: 300 };

export function overlapFunction(overlap: Overlap): string {
  return namesOf('pull').functionId(`overlap-${overlap}`);
}

interface Firing {
  scheduledAt: string;
}

export function scheduleFunctions(kit: Kit): IronflowFunction[] {
  return [
    createFunction(
      { id: clockFunction, triggers: [{ cron: '* * * * * *', id: 'second' }], retries: 100 },
      async ({ event, step, run }) => {
        const { scheduledAt } = event.data as Firing;
        await step.run('note', ({ attempt }) => kit.noteFiring(run.id, scheduledAt, attempt));
      },
    ),
    ...overlaps.map((overlap) =>
      kit.define(
        `overlap-${overlap}`,
        async ({ event, work }) => {
          const { scheduledAt } = event.data as unknown as Firing;
          const isLong = (Date.parse(scheduledAt) / overlapEveryMs) % 2 === 0;
          await work('shift', { forMs: isLong ? workMs.long : workMs.short, result: () => null });
          return scheduledAt;
        },
        { triggers: [{ cron: `@every ${overlapEveryMs / 1_000}s`, id: 'shift', overlap }] },
      ),
    ),
  ];
}

const skipped = { status: 'skipped', skipReason: 'schedule_overlap' } as const;

/** Of the event of a time; none of another one. */
export function runsOfFiring(eventName: string): ExpectedRun[] | undefined {
  const runs: ExpectedRun[] = [
    { functionId: clockFunction, status: 'completed' },
    { functionId: overlapFunction('skip'), status: 'completed', or: [skipped] },
    { functionId: overlapFunction('queue'), status: 'completed' },
    { functionId: overlapFunction('cancel'), status: 'completed', or: [{ status: 'cancelled' }, skipped] },
  ];
  const run = runs.find(({ functionId }) => systemEventNames.cron(functionId) === eventName);
  return run && [run];
}
