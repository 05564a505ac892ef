import { describe, expect, test } from '@jest/globals';
import type { JournalEntry, JournalMessage, RunEntry, StepRecord, Writer } from '@ironflow/schema';
import { assessReadiness } from './run-position.js';
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

  test('and counts the calls that failed without progress', () => {
    const retry = { attempt: 2, inMs: 10, error: { name: 'E', message: 'm' } };
    const failed = run({ kind: 'call_failed', served: 1, retry });
    const tail = { messages: [{ sequence: 12, message: message(10, [failed]) }], lastSequence: 12 };
    const readiness = assessReadiness(accepted({ wake: 2, failures: 1 }), tail, self);
    expect(readiness).toMatchObject({ kind: 'ready', position: { failures: 2 } });
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
});

test('a newer delivery in the journal means that nothing may be sent', () => {
  const tail = { messages: [{ sequence: 12, message: message(10, [step('a')], newer) }], lastSequence: 12 };
  expect(assessReadiness(accepted(), tail, self)).toEqual({ kind: 'superseded' });
});
