/**
 * The circuit-breaker service: takes what executors report of their calls from RESULTS and folds it into the state of
 * each breaker. It decides when one opens and closes; executors obey, and claim the probes.
 *
 * A message leaves by an ack once its outcome is counted, or because it has none; otherwise it is put back. An outcome
 * may be counted twice when an acknowledgement gets lost: that opens a breaker one failure early, at worst.
 */
import type { ForcedBreakerList } from '@ironflow/database';
import type { Delivery, JetStream, PullConsumer } from '@ironflow/jetstream';
import { circuitId, circuitKey, consumers, defaultCircuitPolicy, parseSubject } from '@ironflow/schema';
import type { CircuitNotice, CircuitPolicy } from '@ironflow/schema';
import { systemClock } from '@ironflow/service';
import type { Clock, Logger, Metrics, Stoppable } from '@ironflow/service';
import { readCallReport } from './call-report.js';
import { createCircuitMetrics } from './circuit-metrics.js';
import { createCircuitViews } from './circuit-views.js';
import { createForcedBreakerKeeper } from './forced-breaker-keeper.js';
import { createOutcomeFolder } from './outcome-folder.js';
import type { MovedCircuit } from './outcome-folder.js';

export interface CircuitBreakerOptions {
  jetstream: JetStream;
  logger: Logger;
  metrics: Metrics;
  /** Which breakers operators hold open. */
  store: ForcedBreakerList;
  /** Default `defaultCircuitPolicy`; how long a probe may take is the executors' part of it. */
  policy?: CircuitPolicy;
  clock?: Clock;
}

export interface CircuitBreaker extends Stoppable {
  start(): Promise<void>;
}

/** Outcomes being counted at once; well below `max_ack_pending`, so that other replicas have their share. */
const heldMax = 4_000;
const putBackDelayMs = 500;

export function createCircuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  const { jetstream, logger, policy = defaultCircuitPolicy, clock = systemClock } = options;
  const bucket = jetstream.bucket('SYS_circuit_breakers');
  const views = createCircuitViews({ bucket, connection: jetstream.connection, logger, clock });
  const metrics = createCircuitMetrics(options.metrics, (state) =>
    state === 'forced_open' ? views.forced().size : views.count(state),
  );
  const onMoved = (moved: MovedCircuit): void => {
    const { from, after } = moved;
    if (from !== after.state) {
      metrics.transition(from, after.state);
      const { environmentId, functionId } = after;
      logger.info({ environmentId, functionId, from, to: after.state }, 'a circuit breaker moved');
    }
    const notice = noticeOf(moved);
    if (notice !== undefined) jetstream.notices.publishCircuit(notice);
  };
  const folder = createOutcomeFolder({ bucket, views, policy, metrics, onMoved, logger, clock });
  const { store } = options;
  const { connection } = jetstream;
  const keeper = createForcedBreakerKeeper({ bucket, views, store, connection, logger, clock });
  /** By stream sequence: one that is delivered again while it is being counted must not be counted twice. */
  const held = new Set<number>();
  let consumer: PullConsumer | undefined;
  let onIdle: (() => void) | undefined;

  const settle = (delivery: Delivery, isCounted: boolean): void => {
    held.delete(delivery.sequence);
    if (isCounted) delivery.ack();
    else delivery.nak(putBackDelayMs);
    consumer?.wake();
    if (held.size === 0) onIdle?.();
  };
  const onDelivery = (delivery: Delivery): void => {
    if (held.has(delivery.sequence)) return;
    const report = readCallReport(delivery.data);
    if (report.kind !== 'call') {
      if (report.kind === 'unreadable') metrics.unreadable();
      delivery.ack();
      return;
    }
    const { environmentId, functionId, call } = report;
    const parts = { environmentId, functionId, endpoint: call.endpoint };
    const { policy: overrides } = call;
    const { subject } = delivery;
    held.add(delivery.sequence);
    folder.fold({ key: circuitKey(parts), parts, outcome: call, overrides, subject }, (isCounted) => {
      if (isCounted) metrics.outcome(call.succeeded);
      settle(delivery, isCounted);
    });
  };

  return {
    start: async () => {
      await views.start();
      keeper.start();
      consumer = jetstream.consume(consumers.circuitBreaker, {
        capacity: () => heldMax - held.size,
        onDelivery,
      });
    },
    stop: async () => {
      consumer?.stop();
      if (held.size > 0) await new Promise<void>((resolve) => (onIdle = resolve));
      await keeper.stop();
      views.stop();
    },
  };
}

const changeOf = { open: 'opened', half_open: 'probed', closed: 'closed' } as const;

function noticeOf({ after, subject, atMs }: MovedCircuit): CircuitNotice | undefined {
  const place = parseSubject(subject);
  if (place === undefined) return undefined;
  const { environmentId, functionId } = after;
  return {
    scope: { environmentId, project: place.project, env: place.env },
    functionId,
    circuitId: circuitId(after),
    change: changeOf[after.state],
    atMs,
  };
}
