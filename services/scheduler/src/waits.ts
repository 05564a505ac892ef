/**
 * Waits, resolved: by what was there before a wait was accepted (look), and by events that come later (match).
 *
 * W1 A look follows every notice that what a run waits for may be there: its wait was accepted, a signal sent, an awaited
 *    run has ended. It goes by what Postgres has, so looks may come late, twice or together.
 * W2 An event is forgotten as awaited only after every wait that was open for it has been asked.
 * W3 Of the waits of a run that one event satisfies, the one that was called first gets it.
 * W4 Whatever goes wrong here, or is too much at once, is found again by the sweep; what fails keeps nothing else from it.
 * W5 Looking back may take long: nobody waits for it, each run does it once at a time, and so do few runs at once.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { messageOf } from '@ironflow/errors';
import type { OpenWait, Resolution, WaitStore } from '@ironflow/database';
import type { StoredEvent } from '@ironflow/schema';
import { createBatcher } from '@ironflow/service';
import type { Logger, Stoppable } from '@ironflow/service';
import type { Admission } from './admission.js';
import type { Cancellations } from './cancellations.js';
import type { Conditions } from './condition.js';
import type { PauseSpans } from './pause-spans.js';
import { applyResolutions, keyOf, resolveFirstOfEachRun } from './resolutions.js';
import type { Apply } from './resolutions.js';
import { awaitedEvent, outputOfEvent, pairSignals, resolutionByRun } from './wait-resolution.js';
import { judgeEvent } from './wait-resolution.js';
import type { AwaitedEvent } from './wait-resolution.js';

export interface WaitsOptions {
  store: WaitStore;
  conditions: Conditions;
  admission: Pick<Admission, 'admit'>;
  /** An event that runs may wait for may cancel others. */
  cancellations: Cancellations;
  recordPauses: PauseSpans;
  logger: Logger;
}

export interface Waits extends Stoppable {
  /** Never rejects. */
  look(runId: string): Promise<void>;
  /** Never rejects. */
  match(events: readonly StoredEvent[]): Promise<void>;
  /** What went by unheard for longer than that; answers how much it found. Never rejects. */
  sweep(olderThanMs: number): Promise<number>;
}

const looksPageMax = 50;
const looksQueuedMax = 100_000;
const waitsPageMax = 500;
/** Events, and the events that started runs, are up to 512 KiB each. */
const eventsPageMax = 50;
const triggersPageMax = 20;
const matchingBytesMax = 32 * 1024 * 1024;
const lookingBackMax = 4;
const sweepPagesMax = 20;
/** What one sweep takes for events; it goes on with the rest the next time. */
const sweepMatchMs = 2_000;
/** How long tenants' conditions may keep everything else waiting. */
const turnMs = 10;

export function createWaits(options: WaitsOptions): Waits {
  const { store, logger } = options;
  const apply: Apply = (resolutions) => applyResolutions(options, resolutions);
  const missed = (error: unknown): void =>
    logger.warn({ reason: messageOf(error) }, 'waits cannot be resolved now; the sweep tries again');
  const lookBacks = createLookBacks(options, apply, missed);
  let matching = Promise.resolve();
  let matchingBytes = 0;
  /** Where the sweep goes on: those that have to be asked again and again keep it from no other. */
  let matchedUpTo: string | undefined;

  const lookAll = async (runIds: readonly string[]): Promise<void> => {
    const waits = await store.waitsOf([...new Set(runIds)]);
    const signalled = waits.filter(({ kind }) => kind === 'signal').map(({ runId }) => runId);
    const signals = signalled.length === 0 ? [] : await store.keptSignals(signalled);
    await apply([...pairSignals(waits, signals), ...waits.flatMap((wait) => resolutionByRun(wait) ?? [])]);
    await store.lookedBack(waits.filter(({ kind, lookedBack }) => kind !== 'event' && !lookedBack));
    lookBacks.begin(waits.filter(({ kind, lookedBack }) => kind === 'event' && !lookedBack));
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
  const matchOne = (event: StoredEvent): Promise<void> => matchEvent(options, event, apply).catch(missed);

  return {
    look: (runId) => looks.add(runId).catch(missed),
    match: (events) => {
      for (const event of events) {
        if (matchingBytes + event.data.length > matchingBytesMax) continue;
        matchingBytes += event.data.length;
        matching = matching
          .then(() => matchOne(event))
          .finally(() => {
            matchingBytes -= event.data.length;
          });
      }
      return matching;
    },
    sweep: async (olderThanMs) => {
      let found = 0;
      try {
        const runIds = await store.runsToLookAt(olderThanMs, looksPageMax * sweepPagesMax);
        found += runIds.length;
        for (let from = 0; from < runIds.length; from += looksPageMax) {
          await lookAll(runIds.slice(from, from + looksPageMax)).catch(missed);
        }
        const endsAtMs = performance.now() + sweepMatchMs;
        while (performance.now() < endsAtMs) {
          const events = await store.eventsToMatch({ olderThanMs, after: matchedUpTo, limit: eventsPageMax });
          found += events.length;
          for (const event of events) await matchOne(event);
          matchedUpTo = events.length < eventsPageMax ? undefined : events.at(-1)!.id;
          if (matchedUpTo === undefined) break;
        }
      } catch (error) {
        missed(error);
      }
      return found;
    },
    stop: async () => {
      await looks.stop();
      await matching;
      await lookBacks.stop();
    },
  };
}

function createLookBacks(options: WaitsOptions, apply: Apply, missed: (error: unknown) => void) {
  const queued = new Map<string, OpenWait[]>();
  const underWay = new Map<string, { work: Promise<void>; steps: ReadonlySet<string> }>();
  let isStopped = false;

  const beginNext = (): void => {
    for (const [runId, waits] of queued) {
      if (isStopped || underWay.size >= lookingBackMax) return;
      if (underWay.has(runId)) continue;
      queued.delete(runId);
      const work = lookBackAll(options, waits, { apply, isStopped: () => isStopped })
        .catch(missed)
        .finally(() => {
          underWay.delete(runId);
          beginNext();
        });
      underWay.set(runId, { work, steps: new Set(waits.map(({ stepId }) => stepId)) });
    }
  };
  return {
    /** New ones of a run that is looking back already follow; the newest list of a run holds. */
    begin: (waits: readonly OpenWait[]): void => {
      for (const runId of new Set(waits.map((wait) => wait.runId))) {
        const looking = underWay.get(runId)?.steps;
        const rest = waits.filter((wait) => wait.runId === runId && looking?.has(wait.stepId) !== true);
        if (rest.length > 0) queued.set(runId, rest);
      }
      beginNext();
    },
    stop: async (): Promise<void> => {
      isStopped = true;
      await Promise.all([...underWay.values()].map(({ work }) => work));
    },
  };
}

/** Of one run, those called first first. */
async function lookBackAll(
  options: WaitsOptions,
  waits: readonly OpenWait[],
  by: { apply: Apply; isStopped: () => boolean },
): Promise<void> {
  const [first] = waits;
  const needsTrigger = waits.some(({ condition }) => condition !== undefined);
  const triggers = needsTrigger
    ? await options.store.triggersOf([first!.runId])
    : new Map<string, StoredEvent>();
  for (const wait of waits) {
    const trigger = triggers.get(wait.runId) ?? wait.trigger;
    if (!by.isStopped()) await lookBack(options, { ...wait, trigger }, by);
  }
}

async function lookBack(
  { store, conditions }: WaitsOptions,
  wait: OpenWait,
  { apply, isStopped }: { apply: Apply; isStopped: () => boolean },
): Promise<void> {
  const breathe = createBreather();
  let after: string | undefined;
  let isDecided = true;
  for (;;) {
    const events = await store.eventsFor({ wait, after, limit: eventsPageMax });
    for (const event of events) {
      await breathe();
      const resolution = resolutionBy(wait, awaitedEvent(event), conditions);
      if (resolution === 'undecided') isDecided = false;
      else if (resolution !== undefined && (await apply([resolution])).has(keyOf(wait))) return;
    }
    if (events.length < eventsPageMax || isStopped()) break;
    after = events.at(-1)!.id;
  }
  if (isDecided && !isStopped()) await store.lookedBack([wait]);
}

async function matchEvent(options: WaitsOptions, event: StoredEvent, apply: Apply): Promise<void> {
  const { store, cancellations } = options;
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
    const judged = await judgeAll(options, waits, awaited);
    isDecided &&= judged.isDecided;
    await resolveFirstOfEachRun(judged.resolutions, apply);
    if (waits.length < waitsPageMax) break;
    afterRunId = waits.at(-1)!.runId;
  }
  if (!(await cancellations.cancelBy(event))) isDecided = false;
  if (isDecided) await store.eventsMatched([event.id]);
}

/** In pages, since each may need the event that started its run. */
async function judgeAll(
  { store, conditions }: WaitsOptions,
  waits: readonly OpenWait[],
  awaited: AwaitedEvent,
) {
  const breathe = createBreather();
  const resolutions: Resolution[] = [];
  let isDecided = true;
  for (let from = 0; from < waits.length; from += triggersPageMax) {
    const page = waits.slice(from, from + triggersPageMax);
    const conditional = page.filter(({ condition }) => condition !== undefined).map(({ runId }) => runId);
    const triggers =
      conditional.length === 0 ? new Map<string, StoredEvent>() : await store.triggersOf(conditional);
    for (const wait of page) {
      await breathe();
      const trigger = triggers.get(wait.runId) ?? wait.trigger;
      const resolution = resolutionBy({ ...wait, trigger }, awaited, conditions);
      if (resolution === 'undecided') isDecided = false;
      else if (resolution !== undefined) resolutions.push(resolution);
    }
  }
  return { resolutions, isDecided };
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

/** Lets everything else have its turn once so much time has gone by. */
function createBreather(): () => Promise<void> {
  let turnEndsAtMs = performance.now() + turnMs;
  return async () => {
    if (performance.now() < turnEndsAtMs) return;
    await nextTurn();
    turnEndsAtMs = performance.now() + turnMs;
  };
}
