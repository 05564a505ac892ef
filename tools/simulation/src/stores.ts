/** What services ask of Postgres, each request on its way to the model and back. */
import type {
  CollectorStore,
  Database,
  ExecutorStore,
  RegistryReader,
  SchedulerStore,
} from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import type { Registry } from '@ironflow/schema';
import type { PostgresModel } from './postgres-model.js';
import type { Process } from './process.js';

export interface StoresOptions {
  process: Process;
  postgres: PostgresModel;
  registry: () => Registry;
  now: () => number;
}

const unavailable = (): Error =>
  new IronflowError('unavailable', 'postgres_unavailable', 'the statement was lost');
const nothing = (): Promise<void> => Promise.resolve();
const none = (): Promise<number> => Promise.resolve(0);

export function createStores({ process, postgres, registry, now }: StoresOptions) {
  const query = <Answer>(serve: () => Answer): Promise<Answer> => process.query(serve, unavailable);
  const executor: ExecutorStore = {
    // Nothing that a simulation returns is large.
    storeClaimed: () => Promise.resolve([]),
    readClaimed: () => Promise.resolve([]),
    // Nor is anything logged.
    storeLogLines: () => Promise.resolve(0),
    loadRuns: (runIds) => query(() => postgres.loadRuns(runIds)),
    stopRequested: (runIds) =>
      query(() => runIds.filter((runId) => postgres.runs.get(runId)?.stopRequestedAtMs !== undefined)),
  };
  const collector: CollectorStore = {
    applyMax: 500,
    apply: (batch) => query(() => postgres.apply(batch)),
    positions: (runIds) => query(() => postgres.positions(runIds)),
    highestJournalSequence: () =>
      query(() => Math.max(0, ...[...postgres.runs.values()].map(({ journalSeq }) => journalSeq))),
    storeDeadLetters: nothing,
    scopes: () => Promise.resolve(new Map()),
  };
  return {
    executor,
    collector,
    scheduler: createScheduler(query, { postgres, now }),
    registries: readerOf(query, registry),
  };
}

/** Locks are the model's own: held by one process at a time, and gone with it. */
export function createDatabase({ process, postgres }: Pick<StoresOptions, 'process' | 'postgres'>): Database {
  return {
    withAdvisoryLock: (name: string, work: () => Promise<unknown>) => locked(process, postgres, name, work),
    query: () => Promise.resolve([]),
  } as unknown as Database;
}

async function locked<T>(
  process: Process,
  postgres: PostgresModel,
  name: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  const isFree = await process.query(
    () => !postgres.locks.has(name) && postgres.locks.add(name).has(name),
    unavailable,
  );
  if (!isFree) return undefined;
  process.onDeath(() => postgres.locks.delete(name));
  try {
    return await work();
  } finally {
    postgres.locks.delete(name);
  }
}

type Query = <Answer>(serve: () => Answer) => Promise<Answer>;

/** As production has it: kept until it is said to be another. */
function readerOf(query: Query, registry: () => Registry): RegistryReader {
  let known: Promise<Registry> | undefined;
  const get = (): Promise<Registry> => {
    known ??= query(registry).catch((error: unknown) => {
      known = undefined;
      throw error;
    });
    return known;
  };
  return {
    get,
    atLeast: async (_environmentId, version) => {
      if ((await get()).version < version) known = undefined;
      return get();
    },
    invalidate: () => {
      known = undefined;
    },
  };
}

function createScheduler(
  query: Query,
  { postgres, now }: { postgres: PostgresModel; now: () => number },
): SchedulerStore {
  const eventsOf = (ids: Iterable<string>) => [...ids].map((id) => postgres.events.get(id)!);
  return {
    routeEvents: (events, runs) => query(() => postgres.routeEvents(events, runs)),
    unroutedEvents: ({ olderThanMs, limit }) =>
      query(() =>
        eventsOf(postgres.unrouted)
          .filter(({ receivedAtMs }) => receivedAtMs < now() - olderThanMs)
          .slice(0, limit),
      ),
    unroutedAgeMs: () => Promise.resolve(0),
    unroutedAmong: (ids) => query(() => eventsOf(ids.filter((id) => postgres.unrouted.has(id)))),
    runsOfEvents: (ids) => query(() => postgres.runsToActivate(({ event }) => ids.includes(event.id))),
    overdueRuns: ({ olderThanMs, isBulk }) =>
      query(() =>
        postgres
          .runsToActivate(({ wokenAtMs }) => !isBulk && wokenAtMs < now() - olderThanMs)
          .map((run) => ({ ...run, wokenAtMs: postgres.runs.get(run.runId)!.wokenAtMs })),
      ),
    restForWorker: (runIds) => query(() => postgres.restForWorker(runIds)),
    runsToCancel: () => Promise.resolve([]),
    requestStopOf: (runIds) => query(() => runIds.flatMap((runId) => postgres.requestStop(runId))),
    stoppingRuns: (runIds) => query(() => postgres.stoppingRuns(runIds)),
    endStopped: (runs) => query(() => postgres.endStopped(runs)),
    releaseForWorker: ({ appId }) => query(() => postgres.releaseForWorker(appId)),
    waitingForWorker: () =>
      query(() => {
        const resting = [...postgres.runs.values()].filter(({ status }) => status === 'waiting_for_worker');
        return resting.map(({ appId, event }) => ({ appId, environmentId: event.scope.environmentId }));
      }),
    fireTimers: (limit) =>
      query(() => ({ ...postgres.fireTimers(limit), nextDueInMs: undefined, ended: [] })),
    nextDueInMs: () => query(() => postgres.nextDueInMs()),
    endCircuitWaits: () => Promise.resolve([]),
    moveDueEvents: () => Promise.resolve([]),
    nextEventDueInMs: () => Promise.resolve(undefined),
    removeExpiredKeys: none,
    removeExpiredLetters: none,
    removeOldDeliveries: none,
    removeLeftBehind: none,
    removeExpiredFlow: none,
    storeDeadLetters: nothing,
    scopes: () => Promise.resolve(new Map()),
    // Sweeps of two at once do no harm, and are looked for.
    withAdvisoryLock: (_name, work) => work(),
    waitsOf: (runIds) => query(() => postgres.waitsOf(({ runId }) => runIds.includes(runId))),
    triggersOf: (runIds) =>
      query(() => new Map(runIds.map((runId) => [runId, postgres.runs.get(runId)!.event]))),
    keptSignals: (runIds) =>
      query(() => postgres.signals.filter(({ runId, taken }) => runIds.includes(runId) && !taken)),
    eventsFor: ({ wait, after, limit }) => query(() => postgres.eventsFor(wait, after, limit)),
    matchPaths: (_environmentId, name) =>
      query(() => [...new Set(postgres.waitsOf(isFor(name)).flatMap(({ match }) => match?.path ?? []))]),
    waitsForEvent: ({ name, values, afterRunId }) =>
      query(() =>
        postgres
          .waitsOf(isFor(name))
          .filter(
            ({ runId, match }) =>
              (afterRunId === undefined || runId > afterRunId) &&
              (match === undefined ||
                values.some(({ path, value }) => path === match.path && value === String(match.value))),
          ),
      ),
    resolveWaits: (resolutions) => query(() => postgres.resolveWaits(resolutions)),
    lookedBack: (waits) =>
      query(() => {
        for (const { runId, stepId } of waits) {
          const wait = postgres.waits.get(`${runId} ${stepId}`);
          if (wait !== undefined) wait.lookedBack = true;
        }
      }),
    runsToLookAt: (olderThanMs, limit) => query(() => postgres.runsToLookAt(olderThanMs).slice(0, limit)),
    eventsToMatch: ({ olderThanMs }) =>
      query(() => {
        const old = [...postgres.awaitedEvents].filter(([, routedAtMs]) => routedAtMs < now() - olderThanMs);
        return eventsOf(old.map(([id]) => id)).sort((a, b) => (a.id < b.id ? -1 : 1));
      }),
    isUnroutedBefore: (event) => query(() => postgres.isUnroutedBefore(event)),
    eventsMatched: (ids) =>
      query(() => {
        for (const id of ids) postgres.awaitedEvents.delete(id);
      }),
  };
}

type Wait = Parameters<Parameters<PostgresModel['waitsOf']>[0]>[0];

const isFor =
  (name: string) =>
  ({ awaited }: Wait): boolean =>
    awaited.kind === 'event' && awaited.event === name;
