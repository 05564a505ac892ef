/**
 * Emits what was committed into an outbox. Any number of relays may run, and each may be killed at any time.
 * 1. A batch is one transaction: its rows are locked, emitted, and removed once the platform has answered. Who dies in between
 *    leaves them to another, which emits them again under the same idempotency keys: they are the same events.
 * 2. Rows of one key are taken by one relay at a time, in their order.
 * 3. What the platform refuses for good is set aside with the reason, alone; while it cannot be reached nothing is, and the
 *    relay tries again, after longer and longer pauses.
 * 4. A commit wakes a relay; a slow sweep finds what nobody told it of.
 */
import { messageOf } from '@ironflow/errors';
import { backoffMs } from '@ironflow/retry-policy';
import type { EmittedEvent } from '@ironflow/schema';
import type { Client } from '../client/client.js';
import { IronflowApiError, isRefusal } from '../client/api-error.js';
import { parseDuration } from '../duration.js';
import type { Duration } from '../duration.js';
import { createLogger, logToStderr } from '../logger.js';
import type { Log, Logger } from '../logger.js';
import { startTimer } from '../timer.js';
import { channelOf, lockKeysText, removeText, setAsideText, takeText } from './outbox-table.js';

/** A connection as `pg` has them. */
export interface OutboxClient {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
  /** With an error it is closed rather than used again. */
  release(error?: Error): void;
  on?: {
    (event: 'error', listener: (error: Error) => void): unknown;
    (event: 'end', listener: () => void): unknown;
    (event: 'notification', listener: () => void): unknown;
  };
  removeListener?(event: 'error', listener: () => void): unknown;
}

/** A `Pool` of `pg`. A relay uses two of its connections, one of them only to be woken. */
export interface OutboxPool {
  connect(): Promise<OutboxClient>;
  readonly options?: { max?: number };
}

export interface RelayOptions {
  pool: OutboxPool;
  /** How often it looks without having been told of anything; 10 s by default. */
  sweepEvery?: Duration;
  /** Where its lines go; to stderr by default. */
  log?: Log;
}

export interface Relay {
  /** Resolves when what it was emitting is emitted and removed, and its connections are given back. */
  stop(): Promise<void>;
}

interface RelayContext {
  pool: OutboxPool;
  client: Pick<Client, 'emit'>;
  table: string;
  logger: Logger;
}

const sweepMsDefault = 10_000;
const pauses = { attempts: Number.MAX_SAFE_INTEGER, initialDelayMs: 500, factor: 2, maxDelayMs: 30_000 };

export function startRelay(options: RelayOptions & { client: Pick<Client, 'emit'>; table: string }): Relay {
  const { pool, client, table, sweepEvery, log = logToStderr } = options;
  const sweepMs = sweepEvery === undefined ? sweepMsDefault : parseDuration(sweepEvery);
  const logger = createLogger({ log, fields: { outbox: table } });
  const context: RelayContext = { pool, client, table, logger };
  const bell = createBell();
  let isStopped = false;
  let ear: Ear | undefined;

  const work = async (): Promise<void> => {
    for (let failures = 0; !isStopped;) {
      try {
        ear ??= await listen(context, { onCommit: bell.ring, onLost: () => (ear = undefined) });
        const isMore = await relayBatch(context);
        failures = 0;
        if (!isMore) await bell.rungWithin(sweepMs);
      } catch (error) {
        failures += 1;
        logger.warn('events cannot be relayed now', { reason: messageOf(error), failures });
        // No commit cuts it short: there would be one after the other.
        await bell.stoppedWithin(backoffMs(pauses, failures) * (0.5 + Math.random() / 2));
      }
    }
  };
  const working = work();
  return {
    stop: async () => {
      isStopped = true;
      bell.stop();
      await working;
      ear?.close();
      ear = undefined;
    },
  };
}

/** Whether there may be more to take at once. */
async function relayBatch({ pool, client, table, logger }: RelayContext): Promise<boolean> {
  const connection = await pool.connect();
  // One that is lost while the platform is asked says so; what is asked of it next is refused, and that is heard.
  connection.on?.('error', ignore);
  let outcome: Outcome;
  try {
    await connection.query('begin');
    const rows = await takeRows(connection, table);
    outcome = rows.length === 0 ? nothing : await emitRows(client, rows);
    if (outcome.emitted.length > 0) await connection.query(removeText(table), [outcome.emitted]);
    for (const { position, reason } of outcome.refused) {
      await connection.query(setAsideText(table), [position, reason]);
    }
    await connection.query('commit');
  } catch (error) {
    // Whatever it was in the middle of ends with the connection.
    connection.release(asError(error));
    throw error;
  } finally {
    connection.removeListener?.('error', ignore);
  }
  connection.release();
  for (const refused of outcome.refused) {
    logger.error('an event was set aside: the platform refuses it', { ...refused });
  }
  if (outcome.failure !== undefined) throw outcome.failure;
  return outcome !== nothing;
}

interface Row {
  position: string;
  event: EmittedEvent;
}

interface Outcome {
  /** Positions. */
  emitted: string[];
  refused: { position: string; reason: string }[];
  /** Why the rest was not emitted: nothing that is the fault of an event. */
  failure?: Error;
}

const nothing: Outcome = { emitted: [], refused: [] };
/** Of one request; the platform takes twice as much. What is beyond is taken next. */
const batchBytesMax = 8 * 1024 * 1024;

async function takeRows(connection: OutboxClient, table: string): Promise<Row[]> {
  const { rows: keys } = await connection.query(lockKeysText(table));
  const locked = (keys as { key: string }[]).map(({ key }) => key);
  const taken = await connection.query(takeText(table), [locked]);
  const rows: Row[] = [];
  let bytes = 0;
  for (const { place, id, event } of taken.rows as { place: string; id: string; event: string }[]) {
    bytes += Buffer.byteLength(event);
    if (bytes > batchBytesMax && rows.length > 0) break;
    // A key of its own, if it has one, is its writer's word for what is the same.
    rows.push({ position: place, event: { idempotencyKey: id, ...(JSON.parse(event) as EmittedEvent) } });
  }
  return rows;
}

/** No request takes longer, with all that the client does again: the rows are locked meanwhile. */
const emitWithinMs = 60_000;

async function emitRows(client: Pick<Client, 'emit'>, rows: readonly Row[]): Promise<Outcome> {
  const outcome: Outcome = { emitted: [], refused: [] };
  try {
    await emit(client, rows);
    outcome.emitted.push(...rows.map(({ position }) => position));
    return outcome;
  } catch (error) {
    if (!isOfEvent(error)) return { ...outcome, failure: asError(error) };
    if (rows.length === 1) {
      outcome.refused.push({ position: rows[0]!.position, reason: reasonOf(error) });
      return outcome;
    }
  }
  // All of a request are refused for one of them: alone, each says whether it is the one.
  for (const row of rows) {
    const alone = await emitRows(client, [row]);
    outcome.emitted.push(...alone.emitted);
    outcome.refused.push(...alone.refused);
    if (alone.failure !== undefined) return { ...outcome, failure: alone.failure };
  }
  return outcome;
}

async function emit(client: Pick<Client, 'emit'>, rows: readonly Row[]): Promise<void> {
  const events = rows.map(({ event }) => event);
  // Of a single one a refusal names the field alone.
  await client.emit(events.length === 1 ? events[0]! : events, { signal: AbortSignal.timeout(emitWithinMs) });
}

/** Of a key that the platform does not know, or may not emit, no event is to blame. */
const notOfEvent: ReadonlySet<number> = new Set([401, 403, 404]);

function isOfEvent(error: unknown): boolean {
  return error instanceof IronflowApiError && isRefusal(error.status) && !notOfEvent.has(error.status);
}

function reasonOf(error: unknown): string {
  const field = error instanceof IronflowApiError ? error.field : undefined;
  return field === undefined ? messageOf(error) : `${field}: ${messageOf(error)}`;
}

interface Ear {
  close(): void;
}

const deaf: Ear = { close: () => undefined };

/** Without connections that can be listened on, or one to spare for it, the sweep alone finds what was committed. */
async function listen(
  { pool, table }: RelayContext,
  { onCommit, onLost }: { onCommit: () => void; onLost: () => void },
): Promise<Ear> {
  if (pool.options?.max === 1) return deaf;
  const connection = await pool.connect();
  if (connection.on === undefined) {
    connection.release();
    return deaf;
  }
  let isOpen = true;
  const lose = (error?: Error): void => {
    if (!isOpen) return;
    isOpen = false;
    connection.release(error ?? new Error('the connection has ended'));
    onLost();
    // What was told meanwhile was not heard.
    onCommit();
  };
  connection.on('error', lose);
  connection.on('end', () => lose());
  connection.on('notification', onCommit);
  try {
    await connection.query(`listen ${channelOf(table)}`);
  } catch (error) {
    lose(asError(error));
    throw error;
  }
  return {
    close: () => {
      if (!isOpen) return;
      isOpen = false;
      // It listens: nobody else is to have it.
      connection.release(new Error('the relay has stopped'));
    },
  };
}

/** What a waiting relay is woken by. Once stopped it never lets anybody wait. */
function createBell() {
  let isRung = false;
  let isStopped = false;
  let wake: ((by: 'ring' | 'stop') => void) | undefined;
  const wait = (ms: number, isWokenBy: (by: 'ring' | 'stop') => boolean): Promise<void> => {
    if (isStopped) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        wake = undefined;
        cancel();
        resolve();
      };
      const cancel = startTimer(ms, end);
      wake = (by) => {
        if (isWokenBy(by)) end();
      };
    });
  };
  return {
    ring: (): void => {
      isRung = true;
      wake?.('ring');
    },
    stop: (): void => {
      isStopped = true;
      wake?.('stop');
    },
    /** Also when it was rung since it was asked last. */
    rungWithin: async (ms: number): Promise<void> => {
      if (!isRung) await wait(ms, () => true);
      isRung = false;
    },
    stoppedWithin: (ms: number): Promise<void> => wait(ms, (by) => by === 'stop'),
  };
}

function ignore(): void {}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(messageOf(thrown));
}
