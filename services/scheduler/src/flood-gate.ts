/**
 * Which new push runs go by the way that all environments share, and which by the lane of their own. What waits in front of
 * executors on the shared way keeps everybody waiting: each environment has so many places in it, given back whenever a look at the
 * consumer finds that little waits. Who has none left has a flood, and its runs go by its lane, for good.
 *
 * Lanes are used only as long as executors are heard of that know of them: those of an older version do not. Runs of pull apps have
 * lanes of their own anyway.
 */
import { messageOf } from '@ironflow/errors';
import type { Notices, StreamStates } from '@ironflow/jetstream';
import { consumers } from '@ironflow/schema';
import type { Scope } from '@ironflow/schema';
import type { Clock, Logger, TimerHandle } from '@ironflow/service';

export interface FloodGate {
  /** Answers how to stop hearing of executors. */
  start(): () => void;
  /** Asked once for each new run. */
  isBulk(scope: Scope): boolean;
  /** Something is published on the lane of this environment: executors are to look at it. */
  tell(scope: Scope): void;
}

export interface FloodGateOptions {
  states: Pick<StreamStates, 'consumer'>;
  notices: Pick<Notices, 'publishBulk' | 'onExecutor'>;
  logger: Logger;
  clock: Clock;
}

/** An environment alone gets some 800 runs a second through. */
const placesMax = 16;
const lookDelayMs = 20;
/** Whoever comes next waits for as many. */
const littleMax = 4;
/** Executors look at a lane for much longer after they were told. */
const tellEveryMs = 500;
const toldMax = 10_000;
/** They say that they are there every five seconds. */
const executorSeenForMs = 15_000;

export function createFloodGate({ states, notices, logger, clock }: FloodGateOptions): FloodGate {
  /** Since the last look that found little. */
  const taken = new Map<string, number>();
  const toldAtMs = new Map<string, number>();
  let executorSeenAtMs = -Infinity;
  let timer: TimerHandle | undefined;
  let isStopped = false;

  const look = async (): Promise<void> => {
    try {
      const { pending } = await states.consumer(consumers.pushExecutor);
      if (pending <= littleMax) taken.clear();
    } catch (error) {
      logger.debug({ reason: messageOf(error) }, 'the consumer of activations cannot be looked at now');
    }
    timer = undefined;
    if (taken.size > 0) lookSoon();
  };
  const lookSoon = (): void => {
    if (!isStopped) timer ??= clock.setTimeout(() => void look(), lookDelayMs);
  };
  const tell = (scope: Scope): void => {
    const nowMs = clock.now();
    if (nowMs - (toldAtMs.get(scope.environmentId) ?? -Infinity) < tellEveryMs) return;
    if (toldAtMs.size >= toldMax) toldAtMs.clear();
    toldAtMs.set(scope.environmentId, nowMs);
    notices.publishBulk({ scope });
  };

  return {
    start: () => {
      const stopHearing = notices.onExecutor(() => (executorSeenAtMs = clock.now()));
      return () => {
        isStopped = true;
        timer?.cancel();
        stopHearing();
      };
    },
    isBulk: ({ environmentId }) => {
      const count = (taken.get(environmentId) ?? 0) + 1;
      taken.set(environmentId, count);
      lookSoon();
      return count > placesMax && clock.now() - executorSeenAtMs < executorSeenForMs;
    },
    tell,
  };
}
