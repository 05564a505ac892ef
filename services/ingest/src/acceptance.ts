/**
 * Storing events: requests of one environment that come at the same time share a statement and its commit. Owns the room
 * that waiting requests may take, bodies that are still being read included; knows nothing of HTTP or NATS.
 * 1. The events of one request are in one statement: all of them are stored or none.
 * 2. A statement that is refused for its data, or for a key that belongs to another event, is halved until the request
 *    that caused it stands alone.
 * 3. Requests, bytes, environments and statements at once are bounded; above, a request is refused with `overloaded`.
 */
import { isRefusedData } from '@ironflow/database';
import type { IngestStore, NewEvent, StoredEventReceipt } from '@ironflow/database';
import { IronflowError } from '@ironflow/errors';
import { limits } from '@ironflow/schema';
import { createBatcher } from '@ironflow/service';
import type { Batcher, Metrics, Stoppable } from '@ironflow/service';
import { createLimiter } from './limiter.js';

export interface AcceptanceOptions {
  store: Pick<IngestStore, 'storeEvents'>;
  metrics: Metrics;
  limits?: Partial<AcceptanceLimits>;
}

export interface AcceptanceLimits {
  /** Being read, waiting or being stored, of all environments; what a process may hold in memory. */
  pendingBytesMax: number;
  requestsPerEnvironmentMax: number;
  /** Whose batchers are kept; those without work are let go first. */
  environmentsMax: number;
  statementsMax: number;
  statementsPerEnvironmentMax: number;
}

/** Six statements leave connections of the pool to everybody else; two of one environment overlap commit and collection. */
const defaultLimits: AcceptanceLimits = {
  pendingBytesMax: 64 * 1024 * 1024,
  requestsPerEnvironmentMax: 5_000,
  environmentsMax: 1_000,
  statementsMax: 6,
  statementsPerEnvironmentMax: 2,
};

export interface Acceptance extends Stoppable {
  /**
   * Keeps room for a body of that many bytes until it is let go, which may be done twice; throws `overloaded`. Let go
   * right before its events are given to `accept`, they are never counted twice nor not at all.
   */
  reserve(bytes: number): () => void;
  /** Resolves after the commit. Rejects with `overloaded`, `event_refused`, `idempotency_key_reused` or what the database said. */
  accept(environmentId: string, events: NewEvent[]): Promise<StoredEventReceipt[]>;
}

interface Room {
  batcher: Batcher<StoreRequest, StoreOutcome>;
  requests: number;
}

interface StoreRequest {
  events: NewEvent[];
  bytes: number;
}

type StoreOutcome = { kind: 'stored'; receipts: StoredEventReceipt[] } | { kind: 'failed'; error: unknown };

export function createAcceptance(options: AcceptanceOptions): Acceptance {
  const bounds = { ...defaultLimits, ...options.limits };
  const rooms = new Map<string, Room>();
  const storeRequests = createStatements(options, bounds);
  let pendingBytes = 0;
  options.metrics.gauge(
    'ingest_pending_bytes',
    'Bodies being read, and events that wait for their commit',
    () => pendingBytes,
  );

  /** The room, as the one used last; `undefined` when too many others are at work. */
  function enter(environmentId: string): Room | undefined {
    const existing = rooms.get(environmentId);
    if (existing !== undefined) {
      rooms.delete(environmentId);
      rooms.set(environmentId, existing);
      return existing;
    }
    if (rooms.size >= bounds.environmentsMax && !leaveOldestIdle(rooms)) return undefined;
    const room: Room = {
      requests: 0,
      batcher: createBatcher({
        maxItems: requestsPerBatchMax,
        maxConcurrent: bounds.statementsPerEnvironmentMax,
        maxQueued: bounds.requestsPerEnvironmentMax,
        run: (requests) => storeRequests(environmentId, requests),
      }),
    };
    rooms.set(environmentId, room);
    return room;
  }

  function reserve(bytes: number): () => void {
    if (pendingBytes + bytes > bounds.pendingBytesMax) throw overloaded();
    pendingBytes += bytes;
    let isHeld = true;
    return () => {
      if (isHeld) pendingBytes -= bytes;
      isHeld = false;
    };
  }

  async function accept(environmentId: string, events: NewEvent[]): Promise<StoredEventReceipt[]> {
    const bytes = sizeOf(events);
    const release = reserve(bytes);
    try {
      const room = enter(environmentId);
      if (room === undefined) throw overloaded();
      return await storeIn(room, { events, bytes });
    } finally {
      release();
    }
  }

  return {
    reserve,
    accept,
    stop: async () => {
      await Promise.all([...rooms.values()].map(({ batcher }) => batcher.stop()));
    },
  };
}

async function storeIn(room: Room, request: StoreRequest): Promise<StoredEventReceipt[]> {
  room.requests += 1;
  try {
    const outcome = await room.batcher.add(request);
    if (outcome.kind === 'failed') throw outcome.error;
    return outcome.receipts;
  } finally {
    room.requests -= 1;
  }
}

const requestsPerBatchMax = 1_000;
const statementBytesMax = 8 * 1024 * 1024;
/** A statement grows no faster with more rows than this, and everyone in it waits for all of it. */
const statementEventsMax = limits.eventsPerRequestMax;
const batchSizeBuckets = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];

function createStatements({ store, metrics }: AcceptanceOptions, bounds: AcceptanceLimits) {
  const limiter = createLimiter(bounds.statementsMax);
  const size = metrics.histogram('ingest_commit_events', 'Events stored by one statement', batchSizeBuckets);
  const duration = metrics.histogram(
    'ingest_commit_duration_seconds',
    'Time of one statement with its commit',
  );

  async function storeTogether(environmentId: string, requests: StoreRequest[]): Promise<StoreOutcome[]> {
    const events =
      requests.length === 1 ? requests[0]!.events : requests.flatMap((request) => request.events);
    try {
      const receipts = await limiter(() => storeMeasured(environmentId, events));
      let offset = 0;
      return requests.map((request) => ({
        kind: 'stored',
        receipts: receipts.slice(offset, (offset += request.events.length)),
      }));
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) return requests.map(() => ({ kind: 'failed', error }));
      if (requests.length === 1) return [{ kind: 'failed', error: refusal }];
      const middle = requests.length >> 1;
      const first = await storeTogether(environmentId, requests.slice(0, middle));
      return [...first, ...(await storeTogether(environmentId, requests.slice(middle)))];
    }
  }

  async function storeMeasured(environmentId: string, events: NewEvent[]): Promise<StoredEventReceipt[]> {
    const startedAtMs = performance.now();
    const receipts = await store.storeEvents(environmentId, events);
    duration.record((performance.now() - startedAtMs) / 1_000);
    size.record(events.length);
    return receipts;
  }

  return async (environmentId: string, requests: StoreRequest[]): Promise<StoreOutcome[]> => {
    const outcomes: StoreOutcome[] = [];
    for (const together of splitIntoStatements(requests)) {
      outcomes.push(...(await storeTogether(environmentId, together)));
    }
    return outcomes;
  };
}

function splitIntoStatements(requests: StoreRequest[]): StoreRequest[][] {
  const statements: StoreRequest[][] = [];
  let events = 0;
  let bytes = 0;
  for (const request of requests) {
    events += request.events.length;
    bytes += request.bytes;
    const current = statements.at(-1);
    if (current !== undefined && events <= statementEventsMax && bytes <= statementBytesMax) {
      current.push(request);
      continue;
    }
    statements.push([request]);
    events = request.events.length;
    bytes = request.bytes;
  }
  return statements;
}

function leaveOldestIdle(rooms: Map<string, Room>): boolean {
  for (const [environmentId, { requests }] of rooms) {
    if (requests > 0) continue;
    rooms.delete(environmentId);
    return true;
  }
  return false;
}

/** What an event takes beside its data, roughly. */
const eventOverheadBytes = 500;

function sizeOf(events: NewEvent[]): number {
  let bytes = 0;
  for (const { data } of events) bytes += data.length + eventOverheadBytes;
  return bytes;
}

function overloaded(): IronflowError {
  return new IronflowError('unavailable', 'overloaded', 'too many events are waiting to be stored', {
    retryAfterSeconds: 1,
  });
}

/** What one of the requests is told, if it was one of them and not the database. */
function refusalOf(cause: unknown): IronflowError | undefined {
  if (cause instanceof IronflowError && cause.category === 'conflict') return cause;
  if (!isRefusedData(cause)) return undefined;
  return new IronflowError('invalid', 'event_refused', 'the database cannot store this event', { cause });
}
