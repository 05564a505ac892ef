/** One delivered activation, from its check to its end: driven from the start again whenever another writer was there. */
import { messageOf } from '@ironflow/errors';
import type { Delivery } from '@ironflow/jetstream';
import { parseSubject } from '@ironflow/schema';
import type { Logger } from '@ironflow/service';
import type { ActiveRun } from './active-run.js';
import type { Driven } from './call-admission.js';
import type { Intake, Taken } from './intake.js';
import { runLogger } from './run-logger.js';
import type { StopRequest, StopRequests } from './stop-requests.js';

export interface ActivationDriverOptions {
  intake: Intake;
  stops: Pick<StopRequests, 'watch'>;
  logger: Logger;
}

/** Never rejects. */
export type ActivationDriver = (
  delivery: Delivery,
  driveRun: (run: ActiveRun) => Promise<Driven>,
) => Promise<void>;

/** Restarts of one activation; each follows another writer's progress, so more than a few mean that something is broken. */
const restartsMax = 20;
const retryDelayMs = 1_000;

export function createActivationDriver(options: ActivationDriverOptions): ActivationDriver {
  return async (delivery, driveRun) => {
    const parsed = parseSubject(delivery.subject);
    const { stop, end } = options.stops.watch(parsed?.kind === 'activation' ? parsed.runId : '');
    try {
      await driveWatched(options, delivery, stop, driveRun);
    } finally {
      end();
    }
  };
}

async function driveWatched(
  { intake, logger }: ActivationDriverOptions,
  delivery: Delivery,
  stop: StopRequest,
  driveRun: (run: ActiveRun) => Promise<Driven>,
): Promise<void> {
  let taken: Taken = await intake.take(delivery, stop);
  for (let restarts = 1; taken.kind === 'active'; restarts += 1) {
    const { lease, traceparent } = taken.run;
    try {
      // What has ended is not held any more. Whatever else is left is nobody's to drive here, and must not be kept from others.
      if ((await driveRun(taken.run)) === 'over') return lease.handBack(retryDelayMs);
    } catch (error) {
      runLogger(logger, delivery, traceparent).warn(
        { reason: messageOf(error) },
        'an activation cannot be driven now; it comes again',
      );
      return lease.handBack(retryDelayMs);
    }
    if (restarts > restartsMax) return lease.handBack(retryDelayMs);
    taken = await intake.retake(delivery, stop, lease, restarts);
  }
}
