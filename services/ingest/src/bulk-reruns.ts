/**
 * Many runs repeated by a filter, stored events given to one function, and dead letters replayed: page by page, so that no
 * request is unbounded, and no faster than a rate, so that an environment cannot bury what it does now under what it did
 * before.
 *
 * 1. A repeated page starts nothing twice: each event has a key that derives from the request's and from what it repeats,
 *    and a letter is replayed once, whoever asks.
 * 2. Pages go from the newest to the oldest: what they start is never part of a later one.
 */
import { createHash } from 'node:crypto';
import type { EventToReplay, FoundLetter, FoundRun, IngestStore } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import type {
  BulkAnswer,
  EventSource,
  ReplayEventsBody,
  ReplayLettersBody,
  RerunRunsBody,
  Scope,
} from '@ironflow/schema';
import { requireStorableText } from './emitted-event.js';
import type { PreparedEvent } from './emitted-event.js';
import type { Addressed, Emit } from './emission.js';
import type { FunctionDirectory } from './function-directory.js';
import type { Pace } from './pace.js';
import type { Replay } from './replays.js';

export interface BulkRerunsOptions {
  store: Pick<
    IngestStore,
    | 'runsToRepeat'
    | 'countRunsToRepeat'
    | 'eventsToReplay'
    | 'countEventsToReplay'
    | 'lettersToReplay'
    | 'countLettersToReplay'
  >;
  functions: FunctionDirectory;
  emit: Emit;
  replay: Replay;
  pace: Pace;
}

export interface BulkReruns {
  rerunRuns(scope: Scope, body: RerunRunsBody): Promise<BulkAnswer>;
  replayEvents(scope: Scope, functionId: string, body: ReplayEventsBody): Promise<BulkAnswer>;
  replayLetters(scope: Scope, body: ReplayLettersBody): Promise<BulkAnswer>;
}

type AddressedEvent = PreparedEvent & Addressed;

export function createBulkReruns(options: BulkRerunsOptions): BulkReruns {
  const { store, functions, emit, pace } = options;

  async function registeredOf(environmentId: string, runs: readonly FoundRun[]): Promise<Set<string>> {
    const ids = [...new Set(runs.map((run) => run.functionId))];
    const isRegistered = await Promise.all(ids.map((id) => functions.has(environmentId, id)));
    return new Set(ids.filter((_id, index) => isRegistered[index]));
  }

  async function start(scope: Scope, source: EventSource, events: AddressedEvent[]): Promise<void> {
    if (events.length > 0) await emit({ scope, source, events });
  }

  return {
    rerunRuns: async (scope, body) => {
      const { environmentId } = scope;
      const { function: functionId, status, dryRun, idempotencyKey } = body;
      const query = { ...pageOf(body), status, functionId };
      if (dryRun) {
        return pace(environmentId, 0, async () => ({
          count: await store.countRunsToRepeat(environmentId, countOf(query)),
        }));
      }
      requireStorableText(idempotencyKey, 'idempotencyKey');
      return pace(environmentId, query.limit, async () => {
        const { items, nextCursor } = await store.runsToRepeat(environmentId, query);
        const registered = await registeredOf(environmentId, items);
        const events = items.flatMap((run) =>
          run.event === undefined || !registered.has(run.functionId)
            ? []
            : [
                {
                  ...addressed(run.event, run.functionId),
                  rerunOf: run.id,
                  ...keyOf(idempotencyKey, 'rerun', run.id),
                },
              ],
        );
        await start(scope, 'rerun', events);
        return { count: events.length, skipped: items.length - events.length, ...cursorOf(nextCursor) };
      });
    },
    replayEvents: async (scope, functionId, body) => {
      const { environmentId } = scope;
      const { event: name, dryRun, idempotencyKey } = body;
      requireStorableText(idempotencyKey, 'idempotencyKey');
      if (!(await functions.has(environmentId, functionId))) throw functionNotFound();
      const query = { ...pageOf(body), name };
      if (dryRun) {
        return pace(environmentId, 0, async () => ({
          count: await store.countEventsToReplay(environmentId, countOf(query)),
        }));
      }
      return pace(environmentId, query.limit, async () => {
        const { items, nextCursor } = await store.eventsToReplay(environmentId, query);
        const events = items.map((event) => ({
          ...addressed(event, functionId),
          ...keyOf(idempotencyKey, functionId, event.id),
        }));
        await start(scope, 'replay', events);
        return { count: events.length, skipped: 0, ...cursorOf(nextCursor) };
      });
    },
    replayLetters: async (scope, body) => {
      const { environmentId } = scope;
      const query = { ...pageOf(body), reason: body.reason, functionId: body.function };
      if (body.dryRun) {
        return pace(environmentId, 0, async () => ({
          count: await store.countLettersToReplay(environmentId, countOf(query)),
        }));
      }
      return pace(environmentId, query.limit, async () => {
        const { items, nextCursor } = await store.lettersToReplay(environmentId, query);
        const count = await replayEach(options.replay, scope, items);
        return { count, skipped: items.length - count, ...cursorOf(nextCursor) };
      });
    },
  };
}

/** One at a time, as if each had been asked for: the rate is no higher, and no more than one message is held. Answers how many. */
async function replayEach(replay: Replay, scope: Scope, letters: readonly FoundLetter[]): Promise<number> {
  let count = 0;
  for (const { id: letterId } of letters) {
    try {
      await replay({ scope, letterId });
      count += 1;
    } catch (error) {
      // This one cannot be replayed, or is gone; anything else stops the page, and what is left is found again.
      const isOfLetter = error instanceof IronflowError && ['conflict', 'not_found'].includes(error.category);
      if (!isOfLetter) throw error;
    }
  }
  return count;
}

function pageOf({ limit, cursor, from, to }: RerunRunsBody | ReplayEventsBody | ReplayLettersBody) {
  return { limit, cursor, from, to };
}

function countOf<Query>(query: Query): Query & { limit: number } {
  return { ...query, limit: limits.bulkCountMax };
}

function cursorOf(nextCursor: string | undefined): { nextCursor?: string } {
  return nextCursor === undefined ? {} : { nextCursor };
}

function addressed(event: EventToReplay, functionId: string): AddressedEvent {
  const { id: causationId, ...same } = event;
  return { ...same, causationId, functionId };
}

/** As long as any request's key may be, one for each event of it. */
function keyOf(key: string | undefined, of: string, id: string): { idempotencyKey?: string } {
  if (key === undefined) return {};
  return { idempotencyKey: createHash('sha256').update(`${of}\n${id}\n${key}`).digest('base64url') };
}

function functionNotFound(): IronflowError {
  const message = 'this environment has no active function of that id';
  return new IronflowError('not_found', 'function_not_found', message, { field: 'id' });
}
