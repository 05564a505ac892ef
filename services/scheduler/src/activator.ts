/**
 * Publishes activations: many at a time, each acknowledged, and tried again for a while where that can help. It never
 * holds anybody up and may forget: a run that has none while `wake > served` is found by the sweep.
 *
 * A1 `subject_taken` says that an activation of the run is there. It may be one that has ended and whose ack is still on
 *    its way; whoever knows of a reason newer than it asks for `replacing`, and is tried again until the ack must have come.
 * A2 Executors do not know of environments with a flood: they are told while activations are published there.
 * A3 What the stream could not take (full, missing, unanswered) is tried again with growing delays, a bounded number of times.
 */
import type { RunToActivate } from '@ironflow/database';
import type { PublishResult, Publisher } from '@ironflow/jetstream';
import { ackWaitMs, headerNames } from '@ironflow/schema';
import { childLogger, runContext } from '@ironflow/service';
import type { Clock, LogContext, Logger, TimerHandle } from '@ironflow/service';
import type { RunActivation } from './activation-message.js';
import type { FloodGate } from './flood-gate.js';
import type { SchedulerMetrics } from './metrics.js';

export interface Activator {
  /** Resolves when every publish was answered once; retries go on behind it. */
  publish: (activations: readonly RunActivation[], options?: PublishOptions) => Promise<PublishTally>;
  /** Runs that wait for another try. */
  pendingRetries: () => number;
  stop(): void;
}

export interface PublishOptions {
  /** The reason is newer than any activation that may be there. */
  replacing?: boolean;
}

export interface PublishTally {
  /** The others were there already, or turned away. */
  stored: number;
  /** The stream is full, missing or silent: more of them would not fare better now. */
  turnedAway: number;
}

export interface ActivatorOptions {
  publisher: Publisher;
  floodGate: Pick<FloodGate, 'tell'>;
  metrics: SchedulerMetrics;
  logger: Logger;
  clock: Clock;
  pendingRetriesMax?: number;
}

interface Retry {
  attempt: number;
  timer: TimerHandle;
}

/** The ack of the activation before usually follows its notice within milliseconds. */
const replaceDelayMs = 20;
const turnedAwayDelayMs = 100;
/** After the sum of these delays (about 10 s) the sweep has long taken over. */
const turnedAwayAttemptsMax = 7;
const defaultPendingRetriesMax = 10_000;

export function createActivator(options: ActivatorOptions): Activator {
  const { publisher, metrics, logger, clock } = options;
  const pendingRetriesMax = options.pendingRetriesMax ?? defaultPendingRetriesMax;
  const retries = new Map<RunToActivate['runId'], Retry>();
  let stopped = false;

  const forget = (runId: string): void => {
    retries.get(runId)?.timer.cancel();
    retries.delete(runId);
  };
  const retryLater = (
    activation: RunActivation,
    attempt: number,
    replacing: boolean,
    delayMs: number,
  ): void => {
    const { runId } = activation.run;
    forget(runId);
    if (stopped || retries.size >= pendingRetriesMax) return;
    const fire = (): void => {
      retries.delete(runId);
      void publishOne(activation, attempt + 1, replacing);
    };
    retries.set(runId, { attempt, timer: clock.setTimeout(fire, delayMs) });
  };
  const settle = (
    activation: RunActivation,
    attempt: number,
    replacing: boolean,
    result: PublishResult,
  ): void => {
    switch (result.kind) {
      case 'stored':
        return forget(activation.run.runId);
      case 'subject_taken': {
        const delayMs = replaceDelayMs * 2 ** attempt;
        if (replacing && delayMs <= ackWaitMs) retryLater(activation, attempt, replacing, delayMs);
        return;
      }
      case 'stream_full':
      case 'no_stream':
      case 'unanswered':
        if (attempt < turnedAwayAttemptsMax) {
          retryLater(activation, attempt, replacing, turnedAwayDelayMs * 2 ** attempt);
        }
        return;
      case 'conflict':
      case 'refused':
        childLogger(logger, contextOf(activation)).error({ result }, 'an activation was refused');
    }
  };
  const publishOne = async (
    activation: RunActivation,
    attempt: number,
    replacing: boolean,
  ): Promise<PublishResult> => {
    if (activation.run.bulk === true) options.floodGate.tell(activation.run.scope);
    const result = await publisher.publish(activation.publication);
    metrics.activationPublished(result.kind);
    settle(activation, attempt, replacing, result);
    return result;
  };

  return {
    publish: async (activations, { replacing = false } = {}) => {
      const results = await Promise.all(
        activations.map((activation) => publishOne(activation, 0, replacing)),
      );
      const countOf = (wanted: PublishResult['kind']): number =>
        results.filter(({ kind }) => kind === wanted).length;
      const stored = countOf('stored');
      return { stored, turnedAway: results.length - stored - countOf('subject_taken') };
    },
    pendingRetries: () => retries.size,
    stop: () => {
      stopped = true;
      for (const { timer } of retries.values()) timer.cancel();
      retries.clear();
    },
  };
}

function contextOf({ run, publication }: RunActivation): LogContext {
  return runContext({ ...run, traceparent: publication.headers?.[headerNames.traceparent] });
}
