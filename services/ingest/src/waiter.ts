/**
 * Emit-and-wait: tells a request how the runs that its events started have ended. Answers from the notices of what
 * Postgres has accepted; reads Postgres for what a notice leaves out, for events that were routed before, at the deadline,
 * and once a second when a wait takes long, since a notice may be lost.
 * 1. A wait begins before its events are published, so that no notice can come too early for it.
 * 2. A notice counts only in its own environment.
 * 3. Waits, and the reads for slow ones, are bounded.
 */
import { IronflowError } from '@ironflow/errors';
import type { Notices } from '@ironflow/jetstream';
import { runNoticeKinds, subjectFilters, subjects } from '@ironflow/schema';
import type { EventRoutedNotice, RunNotice, RunNoticeKind, Scope } from '@ironflow/schema';
import type { Clock, Logger, Metrics, Stoppable, TimerHandle } from '@ironflow/service';
import { createOpenWaits } from './open-waits.js';
import type { OpenWait, OpenWaits } from './open-waits.js';
import type { RunReader } from './run-reader.js';
import { createWaitState } from './wait-state.js';
import type { AwaitedRun } from './wait-state.js';

export interface WaiterOptions {
  notices: Pick<Notices, 'onRun' | 'onEventRouted'>;
  reader: Pick<RunReader, 'read'>;
  metrics: Metrics;
  logger: Logger;
  clock: Clock;
  /** Events that are waited for at the same time; default 100,000. */
  awaitedEventsMax?: number;
}

export interface WaitRequest {
  scope: Scope;
  eventIds: readonly string[];
  waitMs: number;
}

export interface WaitAnswer {
  /** False if the deadline came before it was known which runs the events start. */
  isRouted: boolean;
  runs: AwaitedRun[];
}

export interface Wait {
  /** Never rejects. */
  readonly answer: Promise<WaitAnswer>;
  /** Asks Postgres now: for events that may have been routed before. */
  check(): void;
  /** The one who waited is gone. */
  cancel(): void;
}

export interface Waiter extends Stoppable {
  start(): void;
  /** Throws `overloaded` when too much is waited for; asked before anything is stored. */
  requireRoom(): void;
  begin(request: WaitRequest): Wait;
  /** Every wait ends with what is known now, and those to come as well. */
  stop(): Promise<void>;
}

const awaitedEventsMaxDefault = 100_000;
const firstCheckMs = 2_000;
const checkIntervalMs = 1_000;
/** How long the last look at Postgres may hold up an answer whose time has come. */
const lastReadMs = 1_000;
/** Events asked for at one tick; the waits that were asked for longest ago come first. */
const checkedEventsMax = 1_000;

export function createWaiter(options: WaiterOptions): Waiter {
  const { clock, notices } = options;
  const awaitedEventsMax = options.awaitedEventsMax ?? awaitedEventsMaxDefault;
  const open = createOpenWaits();
  const unsubscribe: (() => void)[] = [];
  const counts = createCounts(options.metrics, () => open.size);
  const reading = createReading(options, open);
  let ticker: TimerHandle | undefined;
  let isStopped = false;
  let begun = 0;

  function begin(request: WaitRequest): Wait {
    const startedAtMs = clock.now();
    let resolve: (answer: WaitAnswer) => void;
    const answer = new Promise<WaitAnswer>((settle) => (resolve = settle));
    const state = createWaitState(request.eventIds);
    const end = (outcome: 'settled' | 'deadline' | 'cancelled'): void => {
      if (!open.remove(wait)) return;
      timer.cancel();
      counts.ended(outcome, clock.now() - startedAtMs);
      resolve({ isRouted: state.isRouted(), runs: state.runs() });
    };
    const wait: OpenWait = {
      id: (begun += 1),
      environmentId: request.scope.environmentId,
      eventIds: [...new Set(request.eventIds)],
      state,
      checkAtMs: startedAtMs + firstCheckMs,
      settle: () => {
        if (state.isSettled()) end('settled');
      },
      expire: () => {
        timer.cancel();
        timer = clock.setTimeout(() => end('deadline'), lastReadMs);
        void reading.all(wait).finally(() => end('deadline'));
      },
    };
    let timer = clock.setTimeout(() => wait.expire(), isStopped ? 0 : request.waitMs);
    open.add(wait);
    return { answer, check: () => void reading.all(wait), cancel: () => end('cancelled') };
  }

  function onRouted(notice: EventRoutedNotice): void {
    for (const wait of open.of(notice)) {
      wait.state.routed(notice.eventId, notice.runs);
      wait.settle();
    }
  }

  function onEnded(notice: RunNotice): void {
    for (const wait of open.of(notice)) {
      // Why it was skipped, and in favour of which run, is for the row to say.
      if (notice.outputOmitted === true || notice.status === 'skipped') {
        void reading.one(wait, notice.eventId);
        continue;
      }
      wait.state.ended(notice.eventId, awaitedRunOf(notice));
      wait.settle();
    }
  }

  function checkSlowWaits(): void {
    const nowMs = clock.now();
    const due = { nowMs, nextAtMs: nowMs + checkIntervalMs, eventsMax: checkedEventsMax };
    for (const wait of open.takeDue(due)) void reading.all(wait);
    ticker = clock.setTimeout(checkSlowWaits, checkIntervalMs);
  }

  return {
    begin,
    requireRoom: () => {
      if (open.events >= awaitedEventsMax) throw tooManyWaits();
    },
    start: () => {
      unsubscribe.push(...hear(notices, open, { onRouted, onEnded }));
      ticker = clock.setTimeout(checkSlowWaits, checkIntervalMs);
    },
    stop: async () => {
      isStopped = true;
      ticker?.cancel();
      for (const wait of open.all()) wait.expire();
      for (const stopListening of unsubscribe.splice(0)) stopListening();
    },
  };
}

/** Every replica hears every notice: those that nobody waits for here are not even parsed. */
function hear(
  notices: WaiterOptions['notices'],
  open: OpenWaits,
  listeners: { onRouted: (notice: EventRoutedNotice) => void; onEnded: (notice: RunNotice) => void },
): (() => void)[] {
  const { onRouted, onEnded } = listeners;
  const wantsEvent = (eventId: string): boolean => open.hasEvent(eventId);
  const wantsRun = (runId: string): boolean => open.mayHaveRun(runId);
  return [
    notices.onEventRouted(subjectFilters.everyEventRoutedNotice, onRouted, wantsEvent),
    ...everyEndNotice.map((filter) => notices.onRun(filter, onEnded, undefined, wantsRun)),
  ];
}

/** What Postgres knows, told to a wait. Never rejects. */
function createReading({ reader, logger }: WaiterOptions, open: OpenWaits) {
  async function one(wait: OpenWait, eventId: string): Promise<void> {
    try {
      const found = await reader.read(wait.environmentId, eventId);
      if (found?.routed !== true || !open.has(wait)) return;
      wait.state.routed(eventId, found.runs);
      for (const run of found.runs) wait.state.ended(eventId, run);
      wait.settle();
    } catch (error) {
      // Postgres is away: the next tick, a notice or the deadline goes on from here.
      logger.debug({ err: error }, 'the state of awaited runs could not be read');
    }
  }

  async function all(wait: OpenWait): Promise<void> {
    const unsettled = wait.eventIds.filter((eventId) => !wait.state.isEventSettled(eventId));
    await Promise.all(unsettled.map((eventId) => one(wait, eventId)));
  }

  return { one, all };
}

const endKinds: readonly RunNoticeKind[] = runNoticeKinds.filter(
  (kind) => kind !== 'progressed' && kind !== 'armed' && kind !== 'yielded',
);
const anyPlace = { project: '*', env: '*' };
/** Only these: notices of runs that go on cost nothing here. */
const everyEndNotice = endKinds.map((kind) => subjects.runNotice(anyPlace, '*', kind));

function awaitedRunOf(notice: RunNotice): AwaitedRun {
  return {
    id: notice.runId,
    functionId: notice.functionId,
    status: notice.status,
    ...(notice.output === undefined ? {} : { output: notice.output }),
    ...(notice.error === undefined ? {} : { error: notice.error }),
  };
}

function createCounts(metrics: Metrics, openWaits: () => number) {
  const ended = metrics.counter(
    'ingest_waits_total',
    'Requests that waited for their runs, by how that ended',
    ['outcome'],
  );
  const outcomes = {
    settled: ended.bind({ outcome: 'settled' }),
    deadline: ended.bind({ outcome: 'deadline' }),
    cancelled: ended.bind({ outcome: 'cancelled' }),
  };
  const duration = metrics.histogram(
    'ingest_wait_duration_seconds',
    'Time from publishing events to the end of a wait',
  );
  metrics.gauge('ingest_waits_open', 'Requests that wait now', openWaits);
  return {
    ended: (outcome: keyof typeof outcomes, waitedMs: number) => {
      outcomes[outcome].add();
      duration.record(waitedMs / 1_000);
    },
  };
}

function tooManyWaits(): IronflowError {
  return new IronflowError('unavailable', 'overloaded', 'too many requests wait for their runs', {
    retryAfterSeconds: 1,
  });
}
