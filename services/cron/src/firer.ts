/**
 * Fires one time of one schedule, so that usually one replica does it and always at least one.
 *
 * F1 The bucket saves work, no more: who creates the key publishes, and marks it as fired once the stream has the event.
 *    Without the bucket everybody publishes.
 * F2 A claim that is not marked within `claimTimeoutMs` may be a dead replica's: then others publish too.
 * F3 However many publish, Postgres keeps one: the event's id follows from the schedule and its time.
 */
import { messageOf } from '@ironflow/errors';
import type { Bucket, Publisher } from '@ironflow/jetstream';
import { formatTraceparent, messagingAttributes } from '@ironflow/schema';
import type { Clock, Logger, SpanRecorder } from '@ironflow/service';
import type { CronMetrics } from './cron-metrics.js';
import type { DatabaseClock } from './database-clock.js';
import { toPublication } from './firing-message.js';
import type { Firing } from './schedule-book.js';

export type FiringOutcome =
  /** `published`: by this replica. */
  | { kind: 'settled'; published: boolean }
  /** Another has claimed it, or the stream takes nothing at the moment. */
  | { kind: 'again'; inMs: number };

export interface FirerOptions {
  bucket: Bucket;
  publisher: Publisher;
  databaseClock: DatabaseClock;
  metrics: CronMetrics;
  spans: SpanRecorder;
  logger: Logger;
  clock: Clock;
}

export const claimTimeoutMs = 2_000;
const publishAgainMs = 500;
const claimedMark = 'claimed';
const firedMark = 'fired';

type Claim = 'ours' | 'abandoned' | 'fired' | 'unknown' | { waitMs: number };

export function createFirer(options: FirerOptions): (firing: Firing) => Promise<FiringOutcome> {
  const { bucket, logger, metrics, clock } = options;

  const claim = async ({ eventId, progress }: Firing): Promise<Claim> => {
    if (progress.isOurs) return 'ours';
    try {
      progress.isOurs = await bucket.create(eventId, claimedMark);
      if (progress.isOurs) return 'ours';
      const mark = await bucket.get(eventId);
      if (mark?.value === firedMark) return 'fired';
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'a firing cannot be claimed: it is published all the same');
      return 'unknown';
    }
    progress.claimSeenAtMs ??= clock.now();
    const waitMs = progress.claimSeenAtMs + claimTimeoutMs - clock.now();
    return waitMs > 0 ? { waitMs: Math.min(waitMs, claimTimeoutMs) } : 'abandoned';
  };
  const markFired = async (eventId: string): Promise<void> => {
    try {
      await bucket.put(eventId, firedMark);
    } catch {
      // The others publish it once more, and Postgres drops that.
    }
  };

  return async (firing) => {
    const claimed = await claim(firing);
    if (claimed === 'fired') {
      metrics.settled('by_another');
      return { kind: 'settled', published: false };
    }
    if (typeof claimed === 'object') return { kind: 'again', inMs: claimed.waitMs };
    if (!(await publish(options, firing))) return { kind: 'again', inMs: publishAgainMs };
    metrics.settled(claimed === 'abandoned' ? 'taken_over' : 'fired');
    if (claimed !== 'unknown') await markFired(firing.eventId);
    return { kind: 'settled', published: true };
  };
}

/** Whether the stream has it. */
async function publish(options: FirerOptions, firing: Firing): Promise<boolean> {
  const { publisher, spans, clock, logger, metrics } = options;
  const traceId = spans.enabled ? spans.newTraceId() : undefined;
  const trace =
    traceId !== undefined && spans.shouldSample(traceId)
      ? { traceId, spanId: spans.newSpanId(), sampled: true }
      : undefined;
  const startTimeMs = clock.now();
  const result = await publisher.publish(toPublication(firing, trace && formatTraceparent(trace)));
  if (result.kind !== 'stored') {
    logger.warn({ outcome: result.kind }, 'a firing could not be published; it is tried again');
    return false;
  }
  const nowMs = options.databaseClock.now();
  if (nowMs !== undefined) metrics.late(nowMs - firing.dueAtMs);
  if (trace !== undefined) {
    spans.record({
      name: 'cron.fire',
      traceId: trace.traceId,
      spanId: trace.spanId,
      kind: 'producer',
      startTimeMs,
      endTimeMs: clock.now(),
      attributes: {
        ...messagingAttributes('send', 'ingest'),
        'ironflow.project': firing.schedule.scope.project,
        'ironflow.env': firing.schedule.scope.env,
        'ironflow.function.id': firing.schedule.functionId,
      },
    });
  }
  return true;
}
