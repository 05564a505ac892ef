/**
 * Waits, resolved: by what was there before a wait was accepted (look), and by events that come later (match).
 *
 * W1 A look follows every notice that what a run waits for may be there: its wait was accepted, a signal sent, an awaited
 *    run has ended. It goes by what Postgres has, so looks may come late, twice or together.
 * W2 An event is forgotten as awaited only after every wait that was open for it has been asked.
 * W3 Of the waits of a run that one event satisfies, the one that was called first gets it.
 * W4 Whatever goes wrong here is found again by the sweep.
 */
import { messageOf } from '@ironflow/errors';
import type { OpenWait, Resolution, SchedulerStore, WaitStore } from '@ironflow/database';
import type { StoredEvent } from '@ironflow/schema';
import { createBatcher } from '@ironflow/service';
import type { Logger, Stoppable } from '@ironflow/service';
import type { Admission } from './admission.js';
import type { Conditions } from './condition.js';
import { awaitedEvent, judgeEvent, outputOfEvent, pairSignals, resolutionByRun } from './wait-resolution.js';
import type { AwaitedEvent } from './wait-resolution.js';

export interface WaitsOptions {
  store: WaitStore & Pick<SchedulerStore, 'runsOfEvents'>;
  conditions: Conditions;
  admission: Pick<Admission, 'admit'>;
  logger: Logger;
}

export interface Waits extends Stoppable {
  /** Never rejects. */
  look(runId: string): Promise<void>;
  /** Never rejects. */
  match(events: readonly StoredEvent[]): Promise<void>;
  /** What went by unheard for longer than that; rejects when Postgres cannot be read. */
  sweep(olderThanMs: number): Promise<number>;
}

const looksPageMax = 200;
const looksQueuedMax = 100_000;
const waitsPageMax = 500;
/** Events are up to 512 KiB each. */
const eventsPageMax = 50;
const sweepMax = 500;
/** Of what is written in one transaction. */
const chunkBytesMax = 4 * 1024 * 1024;

export function createWaits(options: WaitsOptions): Waits {
  const { store, admission, logger } = options;

  const apply: Apply = async (resolutions) => {
    const keys = new Set<string>();
    for (const chunk of chunksOf(resolutions)) {
      const { resolved, woken } = await store.resolveWaits(chunk);
      if (woken.length > 0) void admission.admit(woken, { replacing: true });
      for (const one of resolved) keys.add(keyOf(one));
    }
    return keys;
  };
  const lookAll = async (runIds: readonly string[]): Promise<void> => {
    const waits = await store.waitsOf([...new Set(runIds)]);
    const signalled = waits.filter(({ kind }) => kind === 'signal').map(({ runId }) => runId);
    const signals = signalled.length === 0 ? [] : await store.keptSignals(signalled);
    await apply([...pairSignals(waits, signals), ...waits.flatMap((wait) => resolutionByRun(wait) ?? [])]);
    await Promise.all(
      byRun(waits).map(async (ofRun) => {
        for (const wait of ofRun) {
          if (wait.kind === 'event' && !wait.lookedBack) await lookBack(options, wait, apply);
        }
      }),
    );
    await store.lookedBack(waits.filter(({ kind, lookedBack }) => kind !== 'event' && !lookedBack));
  };
  const looks = createBatcher<string, void>({
    maxItems: looksPageMax,
    maxConcurrent: 2,
    maxQueued: looksQueuedMax,
    run: async (runIds) => {
      await lookAll(runIds);
      return runIds.map(() => undefined);
    },
  });
  const missed = (error: unknown): void =>
    logger.warn({ reason: messageOf(error) }, 'waits cannot be resolved now; the sweep tries again');

  return {
    look: (runId) => looks.add(runId).catch(missed),
    match: async (events) => {
      try {
        for (const event of events) await matchEvent(options, event, apply);
      } catch (error) {
        missed(error);
      }
    },
    sweep: async (olderThanMs) => {
      const runIds = await store.runsToLookAt(olderThanMs, sweepMax);
      await lookAll(runIds);
      const events = await store.eventsToMatch(olderThanMs, eventsPageMax);
      for (const event of events) await matchEvent(options, event, apply);
      return runIds.length + events.length;
    },
    stop: () => looks.stop(),
  };
}

/** Answers the keys of the waits that it resolved. */
type Apply = (resolutions: readonly Resolution[]) => Promise<ReadonlySet<string>>;

async function lookBack({ store, conditions }: WaitsOptions, wait: OpenWait, apply: Apply): Promise<void> {
  let after: string | undefined;
  let isDecided = true;
  for (;;) {
    const events = await store.eventsFor({ wait, after, limit: eventsPageMax });
    for (const event of events) {
      const resolution = resolutionBy(wait, awaitedEvent(event), conditions);
      if (resolution === 'undecided') isDecided = false;
      else if (resolution !== undefined && (await apply([resolution])).has(keyOf(wait))) return;
    }
    if (events.length < eventsPageMax) break;
    after = events.at(-1)!.id;
  }
  if (isDecided) await store.lookedBack([wait]);
}

async function matchEvent(
  { store, conditions }: WaitsOptions,
  event: StoredEvent,
  apply: Apply,
): Promise<void> {
  const awaited = awaitedEvent(event);
  const { environmentId } = event.scope;
  const values = (await store.matchPaths(environmentId, event.name)).flatMap((path) => {
    const value = awaited.valueAt(path);
    // Postgres' text cannot hold NUL, so that no wait can have it.
    return value === undefined || String(value).includes('\0') ? [] : [{ path, value: String(value) }];
  });
  let afterRunId: string | undefined;
  let isDecided = true;
  for (;;) {
    const query = { environmentId, name: event.name, values, afterRunId, limit: waitsPageMax };
    const waits = await store.waitsForEvent(query);
    const resolutions = waits.flatMap((wait) => {
      const resolution = resolutionBy(wait, awaited, conditions);
      if (resolution === 'undecided') isDecided = false;
      return resolution === undefined || resolution === 'undecided' ? [] : [resolution];
    });
    // A wait that somebody else has just resolved leaves the event to the next one of its run.
    for (let left = resolutions; left.length > 0;) {
      const firsts = new Set(firstOfEachRun(left));
      const resolved = await apply([...firsts]);
      const served = new Set([...firsts].filter((one) => resolved.has(keyOf(one))).map(({ runId }) => runId));
      left = left.filter((one) => !firsts.has(one) && !served.has(one.runId));
    }
    if (waits.length < waitsPageMax) break;
    afterRunId = waits.at(-1)!.runId;
  }
  if (isDecided) await store.eventsMatched([event.id]);
}

function resolutionBy(
  wait: OpenWait,
  awaited: AwaitedEvent,
  conditions: Conditions,
): Resolution | 'undecided' | undefined {
  const { runId, stepId } = wait;
  const verdict = judgeEvent(wait, awaited, conditions);
  if (verdict === 'resolves') {
    return { runId, stepId, output: outputOfEvent(awaited.event), eventId: awaited.event.id };
  }
  if (verdict === 'undecided') return 'undecided';
  return verdict === 'not_meant' ? undefined : { runId, stepId, error: verdict.refused };
}

function byRun(waits: readonly OpenWait[]): OpenWait[][] {
  const runs = new Map<string, OpenWait[]>();
  for (const wait of waits) runs.set(wait.runId, [...(runs.get(wait.runId) ?? []), wait]);
  return [...runs.values()];
}

/** One large event may resolve many waits, and each is given all of it. */
function chunksOf(resolutions: readonly Resolution[]): Resolution[][] {
  const chunks: Resolution[][] = [];
  let bytes = Infinity;
  for (const resolution of resolutions) {
    bytes += resolution.output?.length ?? 0;
    if (bytes > chunkBytesMax) {
      chunks.push([]);
      bytes = resolution.output?.length ?? 0;
    }
    chunks.at(-1)!.push(resolution);
  }
  return chunks;
}

function firstOfEachRun(resolutions: readonly Resolution[]): Resolution[] {
  const runs = new Map<string, Resolution>();
  for (const resolution of resolutions) {
    if (!runs.has(resolution.runId)) runs.set(resolution.runId, resolution);
  }
  return [...runs.values()];
}

function keyOf({ runId, stepId }: Pick<OpenWait, 'runId' | 'stepId'>): string {
  return `${runId} ${stepId}`;
}
