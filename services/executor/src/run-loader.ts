/**
 * Reads where runs are, many at a time: what Postgres has accepted, and the journal's tail from the stream's leader. One
 * run that cannot be read spoils its own activation only.
 */
import { IronflowError, messageOf } from '@ironflow/errors';
import type { ExecutorStore, RunState } from '@ironflow/database';
import { JournalUnreadableError } from '@ironflow/jetstream';
import type { Journal, StoredJournalMessage } from '@ironflow/jetstream';
import type { Activation, JournalMessage } from '@ironflow/schema';
import { withClaimedOutputs } from './output-claims.js';
import type { JournalTail } from './run-position.js';

export type LoadedRun =
  | {
      kind: 'loaded';
      state: RunState;
      tail: JournalTail;
      /** The last message of the run, also when Postgres has accepted it. */
      last: JournalMessage | undefined;
    }
  /** There is no such run. */
  | { kind: 'unknown' }
  /** It cannot be read now, or not by this version: come again after a while. */
  | { kind: 'unreadable'; reason: string; retryDelayMs: number };

export interface RunLoaderOptions {
  store: Pick<ExecutorStore, 'loadRuns' | 'readClaimed'>;
  journal: Pick<Journal, 'last' | 'after'>;
}

/** Postgres or the stream are away. */
const unavailableDelayMs = 500;
/** What this version cannot read, another executor may; nothing changes within a moment. */
const unreadableDelayMs = 5_000;

/** In the order of the activations. */
export async function loadRuns(options: RunLoaderOptions, activations: Activation[]): Promise<LoadedRun[]> {
  const lasts = activations.map(({ scope, runId }) => settled(options.journal.last(scope, runId)));
  const runIds = activations.map(({ runId }) => runId);
  const states = loadStates(options.store, runIds);
  return Promise.all(
    activations.map(async (activation, index): Promise<LoadedRun> => {
      try {
        const state = valueOf((await states).get(activation.runId)!);
        if (state === undefined) return { kind: 'unknown' };
        const seen = valueOf(await lasts[index]!);
        return { kind: 'loaded', ...(await readWhole(options, activation, state, seen)) };
      } catch (error) {
        const retryDelayMs = isUnavailable(error) ? unavailableDelayMs : unreadableDelayMs;
        return { kind: 'unreadable', reason: messageOf(error), retryDelayMs };
      }
    }),
  );
}

function isUnavailable(error: unknown): boolean {
  if (error instanceof IronflowError) return error.category === 'unavailable';
  return error instanceof JournalUnreadableError;
}

type Attempt<Value> = { value: Value } | { error: unknown };

/**
 * A statement that fails while the database is there fails because of some of its runs, such as more than one answer can
 * hold: halved, down to the run itself, the others are read.
 */
async function loadStates(
  store: RunLoaderOptions['store'],
  runIds: string[],
): Promise<Map<string, Attempt<RunState | undefined>>> {
  try {
    const states = await store.loadRuns(runIds);
    return new Map(runIds.map((id) => [id, { value: states.get(id) }]));
  } catch (error) {
    if (isUnavailable(error) || runIds.length === 1) return new Map(runIds.map((id) => [id, { error }]));
    const half = Math.ceil(runIds.length / 2);
    const first = await loadStates(store, runIds.slice(0, half));
    return new Map([...first, ...(await loadStates(store, runIds.slice(half)))]);
  }
}

/**
 * A tail that does not go on from the position may have lost its beginning, one that does not come to its last message its end, and one that
 * is empty all of it: what Postgres took meanwhile can be trimmed before it is read here. Then Postgres has moved on, and is read
 * again; a branch leaves it where it was.
 */
async function readWhole(
  options: RunLoaderOptions,
  activation: Activation,
  state: RunState,
  seen: StoredJournalMessage | undefined,
) {
  const { isCut, ...read } = await readTail(options, activation, state, seen);
  const goesOn = read.tail.messages.some(({ message }) => message.prev === state.journalSeq);
  const isGone = read.last === undefined && state.journalSeq > 0;
  const isWhole = goesOn || (read.tail.lastSequence <= state.journalSeq && !isGone);
  if (isWhole && !isCut) return { state, ...read };
  const now = (await options.store.loadRuns([activation.runId])).get(activation.runId);
  if (now === undefined || now.journalSeq === state.journalSeq) {
    if (isCut) throw movedOn();
    return { state, ...read };
  }
  const { isCut: isCutAgain, ...readAgain } = await readTail(options, activation, now, undefined);
  if (isCutAgain) throw movedOn();
  return { state: now, ...readAgain };
}

function movedOn(): JournalUnreadableError {
  return new JournalUnreadableError('RESULTS was trimmed while it was read');
}

/** Both were read at once, so Postgres may be ahead of the tail that was seen: then the tail is read again. */
async function readTail(
  { store, journal }: RunLoaderOptions,
  { scope, runId }: Activation,
  state: RunState,
  seen: StoredJournalMessage | undefined,
): Promise<{ tail: JournalTail; last: JournalMessage | undefined; isCut: boolean }> {
  const accepted = state.journalSeq;
  let last = seen;
  if ((last?.sequence ?? 0) < accepted) last = await journal.last(scope, runId);
  if (last === undefined || last.sequence <= accepted) {
    return { tail: { messages: [], lastSequence: last?.sequence ?? 0 }, last: last?.message, isCut: false };
  }
  const { sequence, message } = last;
  const found = message.prev === accepted ? [last] : await journal.after(scope, runId, accepted, sequence);
  const messages = await withClaimedOutputs(store, runId, found);
  const newest = messages.at(-1) ?? last;
  // What was there a moment ago and is not any more was trimmed in the middle of the reading, with others before it that were read.
  const isCut = newest.sequence < sequence;
  return { tail: { messages, lastSequence: newest.sequence }, last: newest.message, isCut };
}

/** Never rejects: it may be looked at late, or never. */
function settled<Value>(promise: Promise<Value>): Promise<Attempt<Value>> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

function valueOf<Value>(attempt: Attempt<Value>): Value {
  if ('error' in attempt) throw attempt.error;
  return attempt.value;
}
