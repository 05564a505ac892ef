import { describe, expect, test } from '@jest/globals';
import type { JournalEntry, JournalMessage, Mismatch, RunEntry, StepRecord, Writer } from '@ironflow/schema';
import {
  assessReadiness,
  laneBuildOf,
  mayHaveBeenDriven,
  memoGrowth,
  unrecordedCalls,
} from './run-position.js';
import type { AcceptedPosition } from './run-position.js';

const self: Writer = { activation: 100, delivery: 1, executor: 'self' };
const older: Writer = { activation: 90, delivery: 3, executor: 'other' };
const newer: Writer = { activation: 100, delivery: 2, executor: 'other' };

const accepted = (over: Partial<AcceptedPosition> = {}): AcceptedPosition => ({
  status: 'running',
  wake: 1,
  served: 0,
  failures: 0,
  journalSeq: 10,
  steps: [],
  ...over,
});
const step = (id: string, status: 'completed' | 'waiting' = 'completed'): JournalEntry => ({
  type: 'step',
  step: (status === 'completed'
    ? { id, name: id, attempt: 1, type: 'run', startedAtMs: 1, endedAtMs: 2, status, output: '1' }
    : { id, name: id, attempt: 1, type: 'sleep', startedAtMs: 1, status, due: { inMs: 5 } }) as StepRecord,
});
const run = (entry: RunEntry): JournalEntry => ({ type: 'run', run: entry });
const message = (prev: number, entries: JournalEntry[], writer = older): JournalMessage => ({
  environmentId: '00000000-0000-7000-8000-000000000001',
  runId: '00000000-0000-7000-8000-000000000002',
  functionId: 'f',
  prev,
  writer,
  activatedAtMs: 1,
  entries,
});

describe('a run has begun', () => {
  const begunAfter = (entries: JournalEntry[], over: Partial<AcceptedPosition> = {}): boolean => {
    const tail = { messages: [{ sequence: 20, message: message(10, entries) }], lastSequence: 20 };
    const readiness = assessReadiness(accepted({ status: 'waiting', wake: 9, ...over }), tail, self);
    if (readiness.kind !== 'ready') throw new Error(readiness.kind);
    return readiness.position.begun;
  };
  const deferred = run({ kind: 'deferred', served: 0, inMs: 5, reason: 'circuit_open' });

  test('once there is a sign of its function, not while it is only put off', () => {
    const woken = { stopRequested: true };
    expect(begunAfter([deferred], woken)).toBe(false);
    expect(begunAfter([step('a'), deferred], woken)).toBe(true);
    expect(begunAfter([run({ kind: 'started' })])).toBe(true);
    expect(begunAfter([deferred], { begun: true, ...woken })).toBe(true);
  });
});

describe('a run is ready', () => {
  test('when it was woken more often than it was served', () => {
    const readiness = assessReadiness(accepted(), { messages: [], lastSequence: 10 }, self);
    expect(readiness).toMatchObject({ kind: 'ready', position: { prev: 10, lastSequence: 10 } });
  });

  test('with the steps that Postgres has not accepted yet', () => {
    const tail = { messages: [{ sequence: 12, message: message(10, [step('a')]) }], lastSequence: 12 };
    const readiness = assessReadiness(accepted({ failures: 2 }), tail, self);
    expect(readiness).toMatchObject({ kind: 'ready', position: { prev: 12, lastSequence: 12, failures: 0 } });
    expect(readiness.kind === 'ready' && readiness.position.memo.get('a')?.output).toBe('1');
  });

  test('as one that is stopping, as the first entry says, with calls that failed before not counted', () => {
    const error = { name: 'Error', message: 'm' };
    const entries = [
      run({ kind: 'yielded', served: 0, activeMs: 5, retry: { attempt: 2, inMs: 1, error } }),
      run({ kind: 'stopping', outcome: { kind: 'failed', error } }),
      run({ kind: 'stopping', outcome: { kind: 'cancelled' } }),
    ];
    const tail = { messages: [{ sequence: 12, message: message(10, entries) }], lastSequence: 12 };
    const state = accepted({ stopRequested: true, activeMs: 7 });
    expect(assessReadiness(state, tail, self)).toMatchObject({
      kind: 'ready',
      position: { stopping: { kind: 'failed', error }, failures: 0, activeMs: 12 },
    });
  });

  test('but one that is stopping waits for the time of its retry, also if it was asked to stop', () => {
    const deferral = run({ kind: 'deferred', served: 0, inMs: 5, reason: 'call_may_run' });
    const readinessOf = (entries: JournalEntry[]) => {
      const tail = { messages: [{ sequence: 12, message: message(10, entries) }], lastSequence: 12 };
      return assessReadiness(accepted({ stopRequested: true }), tail, self).kind;
    };
    expect(readinessOf([deferral])).toBe('ready');
    const stopping = run({ kind: 'stopping', outcome: { kind: 'cancelled' } });
    expect(readinessOf([stopping, deferral])).toBe('nothing_due');
  });

  test('with what is known not to fit its code, the journal’s word before that of Postgres', () => {
    const of = (id: string): Mismatch => ({
      count: 1,
      steps: [{ id, kind: 'not_called', type: 'run', status: 'completed' }],
    });
    const entries = [
      run({ kind: 'yielded', served: 0, mismatch: of('b') }),
      run({ kind: 'yielded', served: 0 }),
    ];
    const tail = { messages: [{ sequence: 12, message: message(10, entries) }], lastSequence: 12 };
    expect(assessReadiness(accepted({ mismatch: of('a') }), tail, self)).toMatchObject({
      position: { mismatch: of('b') },
    });
    expect(
      assessReadiness(accepted({ mismatch: of('a') }), { messages: [], lastSequence: 10 }, self),
    ).toMatchObject({ position: { mismatch: of('a') } });
  });

  test('on the lane of the build that it is pinned to, once the activation that pinned it is over', () => {
    const pin = { buildId: 'old', servedBefore: 3 };
    const positionAfter = (entries: JournalEntry[], over: Partial<AcceptedPosition> = {}) => {
      const pinning = { ...message(10, [step('a')]), pin };
      const messages = [
        { sequence: 12, message: pinning },
        { sequence: 13, message: message(12, entries) },
      ];
      const found = { ...accepted({ wake: 9, served: 3, ...over }) };
      const readiness = assessReadiness(found, { messages, lastSequence: 13 }, self);
      if (readiness.kind !== 'ready') throw new Error(readiness.kind);
      return readiness.position;
    };
    const before = positionAfter([step('b')]);
    expect([before.pin, laneBuildOf(before)]).toEqual([pin, undefined]);
    const after = positionAfter([run({ kind: 'yielded', served: 4 })]);
    expect([after.pin, laneBuildOf(after)]).toEqual([pin, 'old']);
    const earlier = { buildId: 'older', servedBefore: 1 };
    expect(laneBuildOf(positionAfter([step('b')], { pin: earlier }))).toBe('older');
  });

  test('without the steps of a branch, which Postgres will drop, but expecting its sequence', () => {
    const tail = {
      messages: [
        { sequence: 12, message: message(10, [step('a')]) },
        { sequence: 13, message: message(9, [step('stray')]) },
      ],
      lastSequence: 13,
    };
    const readiness = assessReadiness(accepted(), tail, self);
    expect(readiness).toMatchObject({ kind: 'ready', position: { prev: 12, lastSequence: 13 } });
    expect(readiness.kind === 'ready' && readiness.position.memo.has('stray')).toBe(false);
  });

  test('again when it was woken after the activation that has ended', () => {
    const ended = run({ kind: 'yielded', served: 1 });
    const tail = { messages: [{ sequence: 12, message: message(10, [ended]) }], lastSequence: 12 };
    expect(assessReadiness(accepted({ wake: 2 }), tail, self).kind).toBe('ready');
    expect(assessReadiness(accepted({ wake: 1 }), tail, self).kind).toBe('nothing_due');
  });
});

describe('nothing is due', () => {
  test('when the run is terminal in Postgres or in its journal', () => {
    const none = { messages: [], lastSequence: 0 };
    expect(assessReadiness(accepted({ status: 'completed' }), none, self).kind).toBe('nothing_due');
    const done = run({ kind: 'completed', served: 1 });
    const tail = { messages: [{ sequence: 12, message: message(10, [done]) }], lastSequence: 12 };
    expect(assessReadiness(accepted({ wake: 5 }), tail, self).kind).toBe('nothing_due');
  });

  const retry = { attempt: 2, inMs: 10, error: { name: 'E', message: 'm' } };
  test.each<RunEntry>([
    { kind: 'call_failed', served: 1, retry },
    { kind: 'yielded', served: 1, retry },
    { kind: 'deferred', served: 1, inMs: 10, reason: 'circuit_open' },
  ])('before the time of a retry, whatever else woke the run: $kind', (entry) => {
    const tail = { messages: [{ sequence: 12, message: message(10, [run(entry)]) }], lastSequence: 12 };
    expect(assessReadiness(accepted({ wake: 5 }), tail, self).kind).toBe('nothing_due');
    // One that is to stop does not wait for it.
    expect(assessReadiness(accepted({ wake: 5, stopRequested: true }), tail, self).kind).toBe('ready');
  });
});

describe('a run with flow control', () => {
  const yielded = run({ kind: 'yielded', served: 1 });
  const read = (over: Partial<AcceptedPosition>, entries: JournalEntry[] = []) => {
    const messages = entries.length === 0 ? [] : [{ sequence: 20, message: message(10, entries) }];
    return assessReadiness(accepted({ wake: 2, ...over }), { messages, lastSequence: 20 }, self).kind;
  };

  test('goes on while it is let go, and not with an activation that was published beside that', () => {
    expect(read({ admitted: true })).toBe('ready');
    expect(read({ admitted: true }, [step('a')])).toBe('ready');
    expect(read({ admitted: false })).toBe('nothing_due');
    // A timer came before its activation was over: the slots of that one go with it.
    expect(read({ admitted: true }, [yielded])).toBe('nothing_due');
    expect(read({}, [yielded])).toBe('ready');
  });

  test('is ended, and undoes what it did, without anybody’s leave', () => {
    expect(read({ admitted: false, stopRequested: true })).toBe('ready');
    expect(read({ admitted: false, startExpired: true })).toBe('ready');
    expect(read({ admitted: false, stopping: { kind: 'cancelled' } })).toBe('ready');
  });
});

test('a newer delivery in the journal means that nothing may be sent', () => {
  const tail = { messages: [{ sequence: 12, message: message(10, [step('a')], newer) }], lastSequence: 12 };
  expect(assessReadiness(accepted(), tail, self)).toEqual({ kind: 'superseded' });
});

const retrying = (attempt: number, message: string): StepRecord => ({
  ...{ id: 'a', name: 'a', attempt, type: 'run', startedAtMs: 1, endedAtMs: 2 },
  ...{ status: 'retrying', retryInMs: 1, error: { name: 'E', message } },
});

test('a failed attempt of a step is no progress: calls that failed before it still count', () => {
  const entries: JournalEntry[] = [{ type: 'step', step: retrying(1, 'm') }];
  const tail = { messages: [{ sequence: 12, message: message(10, entries) }], lastSequence: 12 };
  expect(assessReadiness(accepted({ failures: 2 }), tail, self)).toMatchObject({ position: { failures: 2 } });
});

test.each([
  ['queued', false],
  ['waiting_for_worker', false],
  ['running', true],
  ['waiting', true],
] as const)('a run that is %s has started: %s', (status, started) => {
  const none = { messages: [], lastSequence: 10 };
  expect(assessReadiness(accepted({ status }), none, self)).toMatchObject({ position: { started } });
});

test('a memo has the bytes of the last attempts, also of those that Postgres has not accepted yet', () => {
  const long = step('long');
  if (long.type === 'step' && 'output' in long.step) long.step.output = '"€"';
  const entries = [{ type: 'step' as const, step: retrying(2, 'longer') }, long];
  const tail = { messages: [{ sequence: 12, message: message(10, entries) }], lastSequence: 12 };
  const error = { name: 'E', message: 'm' };
  const before = { id: 'a', type: 'run', attempt: 1, status: 'errored', error } as const;
  const readiness = assessReadiness(accepted({ steps: [before], memoBytes: 1_000 }), tail, self);
  expect(readiness).toMatchObject({ position: { memoBytes: 1_000 + 5 + 5 } });
  expect(memoGrowth(new Map(), [retrying(1, 'ä')])).toBe(3);
});

test('calls without a record are those that the last entry of the same activation has counted', () => {
  const counted = message(10, [run({ kind: 'started', calls: 7 })], { ...self, executor: 'killed' });
  expect(unrecordedCalls(counted, { ...self, delivery: 9 })).toBe(7);
  expect(unrecordedCalls(counted, { ...self, activation: 101 })).toBe(0);
  expect(unrecordedCalls(message(10, [run({ kind: 'started' })], self), self)).toBe(0);
  expect(unrecordedCalls(message(10, [step('a')], self), self)).toBe(0);
  expect(unrecordedCalls(undefined, self)).toBe(0);
});

test('an activation may be another one’s by now if it was delivered before, or has lain about for as long as that takes', () => {
  const stored = { deliveryCount: 1, storedAtMs: 10_000, connectedSinceMs: 5_000 };
  expect(mayHaveBeenDriven(stored, 10_050)).toBe(false);
  expect(mayHaveBeenDriven(stored, 15_000)).toBe(true);
  expect(mayHaveBeenDriven({ ...stored, deliveryCount: 2 }, 10_050)).toBe(true);
});

test('it may be as well if it was stored before this connection was made: the server may have been started anew since', () => {
  const stored = { deliveryCount: 1, storedAtMs: 10_000 };
  expect(mayHaveBeenDriven({ ...stored, connectedSinceMs: 10_100 }, 10_200)).toBe(true);
  expect(mayHaveBeenDriven({ ...stored, connectedSinceMs: 9_900 }, 10_200)).toBe(false);
});
