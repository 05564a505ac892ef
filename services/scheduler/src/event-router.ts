/**
 * Routing, done: matches a batch of events, stores their runs in one statement together with the mark that they are
 * routed, and then makes it known. Used for events from the stream and for those that the sweep finds.
 *
 * E1 The statement refuses events that were matched with another version of the registry than the one in force; they
 *    are matched again.
 * E2 Everything after the commit may be lost: activations are found by the sweep, notices have their readers' fallback.
 */
import { isRefusedData } from '@ironflow/database';
import type { LaneRef, NewRun, RegistryReader, SchedulerStore } from '@ironflow/database';
import { IronflowError, messageOf } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import { messagingAttributes, parseTraceparent } from '@ironflow/schema';
import type { Registry, StoredEvent } from '@ironflow/schema';
import { createBatcher } from '@ironflow/service';
import type { Clock, Logger, SpanRecorder } from '@ironflow/service';
import { activationOf, activationsOfEvent } from './activation-message.js';
import type { Activator } from './activator.js';
import type { Admission } from './admission.js';
import type { Conditions } from './condition.js';
import type { FloodGate } from './flood-gate.js';
import type { FlowControl } from './flow-control.js';
import type { SchedulerMetrics } from './metrics.js';
import { routeEvent, routeSpanId } from './routing.js';
import { cancellersOf } from './trigger-index.js';
import type { Waits } from './waits.js';
import type { WorkerPresence } from './worker-presence.js';

export type EventOutcome =
  /** `awaited`: runs wait for an event of its name. */
  | { kind: 'routed'; runs: NewRun[]; awaited: boolean }
  /** Routed before, by whomever. */
  | { kind: 'settled' }
  /** Not now; to be brought again after the delay. */
  | { kind: 'postponed'; delayMs: number };

export interface RoutedBatch {
  events: readonly StoredEvent[];
  /** By event id. */
  outcomes: ReadonlyMap<string, EventOutcome>;
  startedAtMs: number;
  endedAtMs: number;
}

export interface EventRouter {
  /** Resolves after the commit; never rejects. */
  route(events: readonly StoredEvent[]): Promise<RoutedBatch>;
  /** An event that Postgres has and no stream; never rejects, and what it misses the sweep finds. */
  routeNow(eventId: string): Promise<void>;
  /** Publishes what the commit made true; never rejects. */
  announce(batch: RoutedBatch): Promise<void>;
}

export interface EventRouterOptions {
  store: Pick<SchedulerStore, 'routeEvents' | 'runsOfEvents' | 'unroutedAmong'>;
  registries: RegistryReader;
  conditions: Conditions;
  presence: Pick<WorkerPresence, 'isPresent'>;
  activator: Activator;
  floodGate: Pick<FloodGate, 'isBulk'>;
  admission: Admission;
  flow: Pick<FlowControl, 'ask' | 'goOn'>;
  waits: Pick<Waits, 'match'>;
  notices: Pick<Notices, 'publishEventRouted'>;
  /** There is a timer that is due in so many milliseconds. */
  arm: (dueInMs: number) => void;
  spans: Pick<SpanRecorder, 'enabled' | 'record'>;
  metrics: SchedulerMetrics;
  logger: Logger;
  clock: Clock;
}

const registryAttemptsMax = 4;
/** Events are up to 512 KiB each. */
const routedNowMax = 50;
const routedNowQueuedMax = 1_000;
const unavailableDelayMs = 500;
const staleDelayMs = 250;
/** Nothing but a repair brings it through; it must neither be lost nor keep anybody busy. */
const refusedDelayMs = 60_000;
/** What one environment's conditions may take of a batch; the rest of its events come again, after its neighbours'. */
const environmentBudgetMs = 200;
const overBudgetDelayMs = 250;
/** A condition could not be judged for want of processor time; there may be more of it in a while. */
const undecidedDelayMs = 1_000;

export function createEventRouter(options: EventRouterOptions): EventRouter {
  const route: EventRouter['route'] = async (events) => {
    const startedAtMs = options.clock.now();
    // The store locks rows in this order, and the same event may have come twice.
    const unique = [...new Map(events.map((event) => [event.id, event])).values()];
    unique.sort((a, b) => (a.id < b.id ? -1 : 1));
    const outcomes = await routeUnique(options, unique);
    const endedAtMs = options.clock.now();
    options.metrics.routingTook((endedAtMs - startedAtMs) / 1_000);
    return { events: unique, outcomes, startedAtMs, endedAtMs };
  };
  // Many runs may fail at once; what is beyond the queue is the sweep's.
  const now = createBatcher<string, void>({
    maxItems: routedNowMax,
    maxConcurrent: 1,
    maxQueued: routedNowQueuedMax,
    run: async (eventIds) => {
      await announce(options, await route(await options.store.unroutedAmong(eventIds)));
      return eventIds.map(() => undefined);
    },
  });
  return {
    route,
    routeNow: (eventId) =>
      now.add(eventId).catch((error: unknown) => {
        options.logger.warn({ reason: messageOf(error) }, 'an event cannot be read now; the sweep finds it');
      }),
    announce: (batch) => announce(options, batch),
  };
}

type Outcomes = Map<string, EventOutcome>;

async function routeUnique(options: EventRouterOptions, events: readonly StoredEvent[]): Promise<Outcomes> {
  const outcomes: Outcomes = new Map();
  let pending = events;
  for (let attempt = 1; pending.length > 0 && attempt <= registryAttemptsMax; attempt += 1) {
    const registries = await loadRegistries(options, pending, outcomes);
    const known = pending.filter(({ scope }) => registries.has(scope.environmentId));
    const matched = matchAll(options, known, registries, outcomes);
    if (matched.length === 0) return outcomes;
    const stale = await storeMatched(options, matched, registries, outcomes);
    pending = known.filter(({ id }) => stale.has(id));
    for (const environmentId of new Set(pending.map(({ scope }) => scope.environmentId))) {
      options.registries.invalidate(environmentId);
      options.metrics.staleRegistry();
    }
  }
  for (const { id } of pending) outcomes.set(id, { kind: 'postponed', delayMs: staleDelayMs });
  return outcomes;
}

async function loadRegistries(
  options: EventRouterOptions,
  events: readonly StoredEvent[],
  outcomes: Outcomes,
): Promise<Map<string, Registry>> {
  const registries = new Map<string, Registry>();
  const failures = new Map<string, EventOutcome>();
  const environmentIds = new Set(events.map(({ scope }) => scope.environmentId));
  const load = async (environmentId: string): Promise<void> => {
    try {
      registries.set(environmentId, await options.registries.get(environmentId));
    } catch (error) {
      const isGone = error instanceof IronflowError && error.category === 'not_found';
      if (!isGone) options.logger.warn({ reason: messageOf(error) }, 'a registry cannot be read now');
      failures.set(
        environmentId,
        isGone ? { kind: 'settled' } : { kind: 'postponed', delayMs: unavailableDelayMs },
      );
    }
  };
  await Promise.all([...environmentIds].map(load));
  for (const { id, scope } of events) {
    const failure = failures.get(scope.environmentId);
    if (failure !== undefined) outcomes.set(id, failure);
  }
  return registries;
}

interface MatchedEvent {
  event: StoredEvent;
  runs: NewRun[];
}

function matchAll(
  { conditions, presence }: EventRouterOptions,
  events: readonly StoredEvent[],
  registries: ReadonlyMap<string, Registry>,
  outcomes: Outcomes,
): MatchedEvent[] {
  const spentMs = new Map<string, number>();
  const matched: MatchedEvent[] = [];
  for (const event of events) {
    const { environmentId } = event.scope;
    const spent = spentMs.get(environmentId) ?? 0;
    if (spent > environmentBudgetMs) {
      outcomes.set(event.id, { kind: 'postponed', delayMs: overBudgetDelayMs });
      continue;
    }
    const startedAtMs = performance.now();
    const workerPresent = (appId: string): boolean => presence.isPresent({ environmentId, appId });
    const registry = registries.get(environmentId)!;
    const isPaused = (functionId: string): boolean =>
      registry.paused || registry.pausedFunctions.has(functionId);
    const routing = routeEvent(event, registry, { conditions, workerPresent, isPaused });
    spentMs.set(environmentId, spent + performance.now() - startedAtMs);
    if (routing.kind === 'matched') matched.push({ event, runs: routing.runs });
    else outcomes.set(event.id, { kind: 'postponed', delayMs: undecidedDelayMs });
  }
  return matched;
}

/** Answers the ids of the events that were matched with a registry no longer in force. */
async function storeMatched(
  options: EventRouterOptions,
  matched: readonly MatchedEvent[],
  registries: ReadonlyMap<string, Registry>,
  outcomes: Outcomes,
): Promise<Set<string>> {
  const events = matched.map(({ event: { id, scope, name, functionId } }) => {
    const registry = registries.get(scope.environmentId)!;
    const registryVersion = registry.version;
    const awaitedAs = functionId === undefined ? name : undefined;
    const cancels = awaitedAs !== undefined && cancellersOf(registry, name).length > 0;
    return { id, environmentId: scope.environmentId, awaitedAs, cancels, registryVersion };
  });
  const runs = matched.flatMap((one) => one.runs);
  for (const { event, runs: ofEvent } of matched) {
    for (const run of ofEvent) {
      const isToGoOn = run.mode === 'push' && run.status === 'queued' && run.bulk === undefined;
      if (isToGoOn && options.floodGate.isBulk(event.scope)) run.bulk = true;
    }
  }
  try {
    const result = await options.store.routeEvents(events, runs);
    const runsOf = new Map(matched.map((one) => [one.event.id, one.runs]));
    const awaited = new Set(result.awaited);
    for (const id of result.routed) {
      outcomes.set(id, { kind: 'routed', runs: runsOf.get(id) ?? [], awaited: awaited.has(id) });
    }
    for (const id of result.settled) outcomes.set(id, { kind: 'settled' });
    return new Set(result.stale);
  } catch (error) {
    if (isRefusedData(error) && matched.length > 1) {
      const middle = Math.ceil(matched.length / 2);
      const first = await storeMatched(options, matched.slice(0, middle), registries, outcomes);
      const second = await storeMatched(options, matched.slice(middle), registries, outcomes);
      return new Set([...first, ...second]);
    }
    const isRefused = isRefusedData(error);
    const log = { reason: messageOf(error), events: matched.length };
    if (isRefused) options.logger.error({ ...log, event_id: matched[0]?.event.id }, 'an event was refused');
    else options.logger.warn(log, 'events cannot be routed now; they come again');
    const delayMs = isRefused ? refusedDelayMs : unavailableDelayMs;
    for (const { event } of matched) outcomes.set(event.id, { kind: 'postponed', delayMs });
    return new Set();
  }
}

async function announce(options: EventRouterOptions, batch: RoutedBatch): Promise<void> {
  const settled: string[] = [];
  const activations: Promise<unknown>[] = [];
  const restingApps = new Map<string, LaneRef>();
  for (const event of batch.events) {
    const outcome = batch.outcomes.get(event.id);
    if (outcome?.kind === 'settled') settled.push(event.id);
    if (outcome?.kind !== 'routed') continue;
    const queued = outcome.runs.filter(({ status, flow }) => status === 'queued' && flow === undefined);
    if (queued.length > 0) activations.push(options.activator.publish(activationsOfEvent(event, queued)));
    for (const { status, environmentId, appId, startDeadlineMs, flow } of outcome.runs) {
      options.metrics.runCreated(status);
      if (flow !== undefined) options.flow.ask(environmentId, {});
      if (startDeadlineMs !== undefined) options.arm(startDeadlineMs);
      // Its first worker may have come between the match and the commit, and have released nothing of it.
      if (status === 'waiting_for_worker')
        restingApps.set(`${environmentId}.${appId}`, { environmentId, appId });
    }
    recordSpan(options, event, outcome.runs.length, batch);
  }
  if (settled.length > 0) activations.push(reactivate(options, settled));
  const isAwaited = ({ id }: StoredEvent): boolean => {
    const outcome = batch.outcomes.get(id);
    return outcome?.kind === 'routed' && outcome.awaited;
  };
  // Not waited for: nothing of this batch depends on it, and whatever is missed is found again.
  void options.waits.match(batch.events.filter(isAwaited));
  for (const app of restingApps.values()) void options.admission.release(app);
  await Promise.all(activations);
  announceAwaited(options, batch);
}

/** Whoever routed them may have died before it published. */
async function reactivate(
  { store, activator, flow, logger }: EventRouterOptions,
  eventIds: string[],
): Promise<void> {
  try {
    const runs = await store.runsOfEvents(eventIds);
    await activator.publish((await flow.goOn(runs)).map(activationOf));
  } catch (error) {
    logger.warn(
      { reason: messageOf(error) },
      'runs of settled events cannot be read now; the sweep finds them',
    );
  }
}

function announceAwaited({ notices }: EventRouterOptions, batch: RoutedBatch): void {
  for (const event of batch.events) {
    const outcome = batch.outcomes.get(event.id);
    if (event.awaited !== true || outcome?.kind !== 'routed') continue;
    const runs = outcome.runs.map(({ id, functionId, status }) => ({ id, functionId, status }));
    notices.publishEventRouted({ scope: event.scope, eventId: event.id, runs });
  }
}

function recordSpan(
  { spans }: EventRouterOptions,
  event: StoredEvent,
  runs: number,
  batch: RoutedBatch,
): void {
  if (!spans.enabled) return;
  const parent = parseTraceparent(event.traceparent);
  if (parent?.sampled !== true) return;
  spans.record({
    name: 'workflow.route',
    traceId: parent.traceId,
    spanId: routeSpanId(event.id),
    parentSpanId: parent.spanId,
    kind: 'consumer',
    startTimeMs: batch.startedAtMs,
    endTimeMs: batch.endedAtMs,
    attributes: {
      ...messagingAttributes('process', 'events'),
      'ironflow.project': event.scope.project,
      'ironflow.env': event.scope.env,
      'ironflow.event.id': event.id,
      'ironflow.queue_ms': Math.max(0, batch.startedAtMs - event.receivedAtMs),
      'ironflow.runs': runs,
    },
  });
}
