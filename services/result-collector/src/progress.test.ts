import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { AcceptedRun, RunProgress } from '@ironflow/database';
import { isTerminal } from '@ironflow/schema';
import type { JournalEntry, Mismatch, RunStatus, StopOutcome } from '@ironflow/schema';
import {
  chainOf,
  completedStep,
  environmentId,
  messageOf,
  retryingStep,
  run,
  runId,
  sleepStep,
} from '../test/journal.js';
import { chainsOf, collapse } from './progress.js';
import type { PlacedMessage } from './progress.js';
import { settle } from './settlement.js';

const error = { name: 'Error', message: 'broken' };
const collapseEntries = (...journal: JournalEntry[][]): RunProgress => collapse(chainOf(journal));

test('a message that only starts shows the run as running', () => {
  expect(collapseEntries([run({ kind: 'started' })])).toMatchObject({ status: 'running', steps: [] });
});

test('a settled step is progress: failures counted before it are forgotten', () => {
  expect(collapseEntries([completedStep('a')])).toMatchObject({ status: 'running', failures: 0 });
  expect(collapseEntries([sleepStep('a')])).toMatchObject({ status: 'running', failures: 0 });
});

test('a failed attempt that will be retried is no progress', () => {
  expect(collapseEntries([retryingStep('a')]).failures).toBeUndefined();
});

test('a yield waits and serves what was read', () => {
  const progress = collapseEntries([sleepStep('a'), run({ kind: 'yielded', served: 3 })]);
  expect(progress).toMatchObject({ status: 'waiting', served: 3, failures: 0 });
  expect(progress.retryInMs).toBeUndefined();
});

test('what does not fit the code is what was said last', () => {
  const of = (...ids: string[]): Mismatch => ({
    count: ids.length,
    steps: ids.map((id) => ({ id, kind: 'not_called', type: 'run', status: 'completed' })),
  });
  const progress = collapseEntries(
    [run({ kind: 'yielded', served: 1, mismatch: of('a') })],
    [run({ kind: 'yielded', served: 2, mismatch: of('a', 'b') })],
    [run({ kind: 'yielded', served: 3 })],
  );
  expect(progress.mismatch).toEqual(of('a', 'b'));
});

test('a function that threw and a call that failed wait for a timer of the run and count', () => {
  const retry = { attempt: 2, inMs: 500, error };
  const waiting = { status: 'waiting', served: 1, failures: 2, retryInMs: 500 };
  expect(collapseEntries([run({ kind: 'yielded', served: 1, retry })])).toMatchObject(waiting);
  expect(collapseEntries([run({ kind: 'call_failed', served: 1, retry })])).toMatchObject(waiting);
});

test('a call that an open breaker put off waits and uses no attempt', () => {
  const progress = collapseEntries([run({ kind: 'deferred', served: 1, inMs: 700, reason: 'open' })]);
  expect(progress).toMatchObject({ status: 'waiting', served: 1, retryInMs: 700 });
  expect(progress.failures).toBeUndefined();
  expect(progress.deferredReason).toBe('open');
});

test('a call that may go on while its run waits is kept a slot for', () => {
  const deferred = {
    kind: 'deferred',
    served: 1,
    inMs: 700,
    reason: 'call_may_run',
    callEndsInMs: 700,
  } as const;
  const stopping = run({ kind: 'stopping', outcome: { kind: 'cancelled' } });
  expect(collapseEntries([stopping, run(deferred)])).toMatchObject({ retryInMs: 700, callEndsInMs: 700 });
});

test('why it was put off holds until something comes after', () => {
  const deferred = run({ kind: 'deferred', served: 1, inMs: 700, reason: 'open' });
  expect(collapseEntries([deferred], [completedStep('a')]).deferredReason).toBeUndefined();
  expect(collapseEntries([completedStep('a')], [deferred]).deferredReason).toBe('open');
});

test('the end of a run carries its result and disarms its timer', () => {
  const retry = { attempt: 1, inMs: 500, error };
  const progress = collapseEntries(
    [run({ kind: 'call_failed', served: 1, retry })],
    [completedStep('a'), run({ kind: 'completed', served: 2, output: '"done"' })],
  );
  expect(progress).toMatchObject({
    prev: 0,
    journalSeq: 11,
    status: 'completed',
    output: '"done"',
  });
  expect(progress.retryInMs).toBeUndefined();
  expect(collapseEntries([run({ kind: 'failed', served: 1, error })])).toMatchObject({
    status: 'failed',
    error,
  });
  expect(collapseEntries([completedStep('a'), run({ kind: 'cancelled', served: 1 })])).toMatchObject({
    status: 'cancelled',
    served: 1,
    steps: [{ id: 'a' }],
  });
});

test('a run that was only put off has not begun, one that is skipped never will', () => {
  const deferred = run({ kind: 'deferred', served: 1, inMs: 700, reason: 'open' });
  const skipped = run({ kind: 'skipped', served: 2, reason: 'start_deadline' });
  expect(collapseEntries([deferred]).startedAtMs).toBeUndefined();
  expect(collapseEntries([deferred], [completedStep('a')]).startedAtMs).toBe(1_000);
  const progress = collapseEntries([deferred], [skipped]);
  expect(progress).toMatchObject({ status: 'skipped', skipReason: 'start_deadline', served: 2 });
  expect(progress.startedAtMs).toBeUndefined();
  expect(progress.retryInMs).toBeUndefined();
});

test('what comes after the end of a run in one batch is set aside', () => {
  const messages = chainOf([[run({ kind: 'completed', served: 1 })], [completedStep('late')]]);
  const { chains, aside } = chainsOf(messages);
  expect(chains).toEqual([[messages[0]]]);
  expect(aside).toEqual([messages[1]]);
});

test('of two messages that follow the same one, the first in the stream goes on', () => {
  const [first, second] = chainOf([[completedStep('a')], [completedStep('b')]]);
  const branch = { sequence: 25, message: messageOf([completedStep('x')], { prev: first!.sequence }) };
  expect(chainsOf([branch, second!, first!])).toEqual({ chains: [[first, second]], aside: [branch] });
});

// --- Any order, any batches, any redelivery: the state of playing the journal once, in order -------------------------

interface State {
  journalSeq: number;
  status: RunStatus;
  served: number;
  failures: number;
  steps: Record<string, string>;
  output: string | undefined;
  timerMs: number | undefined;
  hasBegun: boolean;
  stoppingAs: string | undefined;
  activeMs: number;
  error: unknown;
  skipReason: string | undefined;
  /** Not of the journal: somebody asked for it. */
  stopRequested: boolean;
}
const initial: State = {
  journalSeq: 0,
  status: 'queued',
  served: 0,
  failures: 0,
  steps: {},
  output: undefined,
  timerMs: undefined,
  hasBegun: false,
  stoppingAs: undefined,
  activeMs: 0,
  error: undefined,
  skipReason: undefined,
  stopRequested: false,
};
const wake = 2;

/** What Postgres does with a progress (apply_progress in libs/database), on a value. */
function applied(state: State, progress: RunProgress): State {
  if (state.journalSeq !== progress.prev || isTerminal(state.status)) return state;
  const steps = { ...state.steps };
  for (const step of progress.steps) steps[`${step.id}#${step.attempt}`] ??= step.status;
  const stoppingAs = state.stoppingAs ?? progress.stopping;
  const heedsStop = state.stopRequested && stoppingAs === undefined;
  const isRetried = progress.retryInMs !== undefined && !heedsStop;
  const served = Math.max(state.served, progress.served ?? 0, isRetried ? wake : 0);
  const timerMs = progress.stopping === undefined ? state.timerMs : undefined;
  const status =
    progress.status === 'waiting' && wake > served ? 'queued' : (progress.status ?? state.status);
  return {
    journalSeq: progress.journalSeq,
    status,
    served,
    failures: progress.failures ?? state.failures,
    steps,
    output: progress.output ?? state.output,
    timerMs: isTerminal(status) ? undefined : (progress.retryInMs ?? timerMs),
    hasBegun: state.hasBegun || progress.startedAtMs !== undefined,
    stoppingAs,
    activeMs: state.activeMs + (progress.activeMs ?? 0),
    error: progress.error ?? state.error,
    skipReason: state.skipReason ?? progress.skipReason,
    stopRequested: state.stopRequested,
  };
}

function positionOf(state: State): AcceptedRun {
  return {
    runId,
    scope: { project: 'p', env: 'e', environmentId },
    eventId: runId,
    functionId: 'ship',
    appId: 'shop',
    mode: 'push',
    status: state.status,
    journalSeq: state.journalSeq,
    wake,
    served: state.served,
    correlationId: 'c',
    createdAtMs: 0,
    startedAtMs: 0,
  };
}

/** A collector with one batch, without its database: the rounds of acceptance.ts. */
function collect(state: State, batch: PlacedMessage[], journal: PlacedMessage[]): State {
  const settled = new Set<number>();
  let next = chainsOf(batch).chains;
  for (let round = 0; round < 10; round += 1) {
    for (const chain of next) {
      const after = applied(state, collapse(chain));
      if (after !== state) for (const { sequence } of chain) settled.add(sequence);
      state = after;
    }
    const open = batch.filter(({ sequence }) => !settled.has(sequence));
    if (open.length === 0) return state;
    let settlement = settle(positionOf(state), open);
    if (settlement.needsJournal) {
      const tail = journal.filter(({ sequence }) => sequence > state.journalSeq);
      settlement = settle(positionOf(state), open, { tail });
    }
    for (const { placed } of settlement.settled) settled.add(placed.sequence);
    next = settlement.chain.length === 0 ? [] : [settlement.chain];
  }
  throw new Error('a batch was not settled');
}

const retry = fc.record({
  attempt: fc.integer({ min: 1, max: 5 }),
  inMs: fc.nat(1_000),
  error: fc.constant(error),
});
const served = fc.nat(3);
const activeMs = fc.nat(5_000);
const stepEntry = fc
  .tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom(completedStep, retryingStep, sleepStep))
  .map(([id, make]) => make(id));
const runEntry: fc.Arbitrary<JournalEntry> = fc.oneof(
  fc.constant(run({ kind: 'started' })),
  fc.record({ kind: fc.constant('yielded' as const), served, activeMs }).map(run),
  fc.record({ kind: fc.constant('yielded' as const), served, activeMs, retry }).map(run),
  fc.record({ kind: fc.constant('call_failed' as const), served, activeMs, retry }).map(run),
  fc
    .record({ kind: fc.constant('deferred' as const), served, inMs: fc.nat(900), reason: fc.constant('x') })
    .map(run),
);
const entries = fc
  .tuple(fc.array(stepEntry, { maxLength: 3 }), fc.option(runEntry))
  .map(([steps, last]) => (last === null ? steps : [...steps, last]))
  .filter((list) => list.length > 0);
const ending = fc.constantFrom<JournalEntry[][][]>(
  [],
  [[run({ kind: 'completed', served: 2, output: '1' })]],
  [[run({ kind: 'failed', served: 2, error })], [completedStep('late')]],
  [[run({ kind: 'cancelled', served: 2 })]],
  [[run({ kind: 'skipped', served: 2, reason: 'start_deadline' })]],
);
/** A run begins to stop once, if at all. */
const stopping = fc.option(
  fc.record({
    at: fc.nat(8),
    outcome: fc.constantFrom<StopOutcome>({ kind: 'cancelled' }, { kind: 'failed', error }),
  }),
);
const bodyOf = fc
  .tuple(fc.array(entries, { minLength: 1, maxLength: 8 }), stopping)
  .map(([body, stop]): JournalEntry[][] =>
    stop === null ? body : body.toSpliced(stop.at, 0, [run({ kind: 'stopping', outcome: stop.outcome })]),
  );
const isStopping = (entry: JournalEntry): boolean => entry.type === 'run' && entry.run.kind === 'stopping';

test('however messages are ordered, repeated and batched, the run ends as if they had come in order', () => {
  const journalOf = fc.tuple(bodyOf, ending);
  const picks = fc.infiniteStream(fc.nat());
  fc.assert(
    fc.property(journalOf, picks, fc.boolean(), ([body, end], random, withBranch) => {
      const draw = (below: number): number => (random.next().value as number) % below;
      const journal = chainOf([...body, ...end]);
      // Nothing else has an executor go on before its retry is due.
      const begin = { ...initial, stopRequested: body.flat().some(isStopping) };
      const inOrder = journal.reduce((state, placed) => applied(state, collapse([placed])), begin);
      const stray = { sequence: journal.at(-1)!.sequence + 5, message: messageOf([completedStep('stray')]) };
      const stored = withBranch ? [...journal, stray] : journal;
      // Every message at least once, some twice, in any order, in batches of any size.
      const deliveries = [...stored, ...stored.filter(() => draw(3) === 0)];
      for (let index = deliveries.length - 1; index > 0; index -= 1) {
        const other = draw(index + 1);
        [deliveries[index], deliveries[other]] = [deliveries[other]!, deliveries[index]!];
      }
      // A branch can only be stored once the position it starts from was passed, and trimmed.
      let state = withBranch ? applied(begin, collapse([journal[0]!])) : begin;
      while (deliveries.length > 0) {
        state = collect(state, deliveries.splice(0, 1 + draw(4)), stored);
      }
      expect(state).toEqual(inOrder);
    }),
    { numRuns: 2_000 },
  );
});
