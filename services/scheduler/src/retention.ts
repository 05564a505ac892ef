/**
 * What is beyond its age goes: months as partitions, rows of environments by themselves (retention-plan.ts says which). A part of the
 * upkeep, so one scheduler at a time does it; a pass that ends early is gone on with by the next one.
 */
import type {
  EnvironmentRetention,
  KeptMonth,
  RemovedRows,
  RetentionMonths,
  RetentionRows,
  RowsQuery,
  StoredMonth,
} from '@ironflow/database';
import { messageOf } from '@ironflow/errors';
import type { Logger } from '@ironflow/service';
import type { SchedulerMetrics } from './metrics.js';
import { planRetention } from './retention-plan.js';
import type { RetentionPlan } from './retention-plan.js';

export interface RetentionOptions {
  /** Of the installation; undefined: for ever. */
  days: number | undefined;
  /** By the clock that ids and times are compared with: a scheduler whose own is wrong would remove what is young. */
  now: () => Promise<number>;
  environments: () => Promise<EnvironmentRetention[]>;
  months: RetentionMonths;
  rows: RetentionRows;
  metrics: Pick<SchedulerMetrics, 'monthDropped' | 'monthsKept' | 'rowsRemoved'>;
  logger: Logger;
}

export interface Retention {
  runOnce(isStopped: () => boolean): Promise<void>;
}

/** A run has up to thousands of rows. */
const runsPageMax = 200;
const eventsPageMax = 2_000;
/** Of one environment in one pass, so that no other waits for long: the next one is within the hour. */
const pagesMax = 2_000;
/** Of a table that is busy: each is over within a moment, and the next pass comes within the hour. */
const dropAttemptsMax = 5;

const lowestId = '00000000-0000-0000-0000-000000000000';

export function createRetention(options: RetentionOptions): Retention {
  const { months, rows, metrics, logger } = options;

  /** Undefined once it is gone. */
  const retire = async (month: StoredMonth, plan: RetentionPlan): Promise<KeptMonth | undefined> => {
    const keepers = plan.keepersOf(month);
    const kept = await months.reasonToKeep({ month, endedBeforeMs: plan.monthsBeforeMs!, keepers });
    if (kept !== undefined) return kept;
    for (let attempt = 1; ; attempt += 1) {
      const left = await months.drop(month);
      if (left?.reason !== 'busy' || attempt === dropAttemptsMax) return left;
    }
  };
  const retireMonths = async (plan: RetentionPlan, isStopped: () => boolean): Promise<void> => {
    const beforeMs = plan.monthsBeforeMs ?? -Infinity;
    const kept: KeptMonth[] = [];
    for (const month of (await months.list()).filter(({ endMs }) => endMs <= beforeMs)) {
      if (isStopped()) return;
      const left = await retire(month, plan);
      if (left === undefined) {
        metrics.monthDropped();
        logger.info({ month: month.name }, 'a month beyond its retention was dropped');
        continue;
      }
      kept.push(left);
      const { reason, runId } = left;
      const facts = { month: month.name, reason, ...(runId === undefined ? {} : { run_id: runId }) };
      logger.warn(
        facts,
        'a month beyond its retention is kept, as something in it is needed; it is tried again',
      );
    }
    metrics.monthsKept(kept.map(({ reason }) => reason));
  };
  const removeRows = async (
    environmentId: string,
    beforeMs: number,
    isStopped: () => boolean,
  ): Promise<void> => {
    const kinds = [
      ['runs', (query: RowsQuery) => rows.removeRuns(query), runsPageMax],
      ['events', (query: RowsQuery) => rows.removeEvents(query), eventsPageMax],
    ] as const;
    for (const [kind, remove, limit] of kinds) {
      let after: string | undefined = lowestId;
      for (let page = 0; page < pagesMax && after !== undefined && !isStopped(); page += 1) {
        const of: RemovedRows = await remove({ environmentId, beforeMs, after, limit });
        metrics.rowsRemoved(kind, of.removed);
        after = of.next;
      }
    }
  };

  return {
    runOnce: async (isStopped) => {
      const [nowMs, environments] = await Promise.all([options.now(), options.environments()]);
      const plan = planRetention({ nowMs, days: options.days, environments });
      await retireMonths(plan, isStopped).catch((error: unknown) =>
        logger.warn({ reason: messageOf(error) }, 'months beyond their retention cannot be dropped now'),
      );
      for (const [environmentId, beforeMs] of plan.rowsBeforeMs) {
        if (isStopped()) return;
        await removeRows(environmentId, beforeMs, isStopped).catch((error: unknown) =>
          logger.warn(
            { environment_id: environmentId, reason: messageOf(error) },
            'rows beyond the retention of an environment cannot be removed now',
          ),
        );
      }
    },
  };
}
