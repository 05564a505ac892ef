import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { FlowEntry, FlowHolder, FlowState } from '@ironflow/database';
import type { FlowControl, FlowKeys } from '@ironflow/schema';
import { decideArrivals, nameOf } from './flow-arrivals.js';
import type { ArrivalsDecision } from './flow-arrivals.js';

const place = { environmentId: 'e', project: 'p', env: 'prod' };

function entryOf(
  number: number,
  receivedAtMs: number,
  keys: FlowKeys,
  more: Partial<FlowEntry> = {},
): FlowEntry {
  const runId = `run-${String(number).padStart(5, '0')}`;
  const eventId = `event-${String(number).padStart(5, '0')}`;
  const of = { runId, eventId, functionId: 'f', appId: 'app', mode: 'push' as const };
  return {
    ...of,
    state: 'arrived',
    keys,
    bytes: 10,
    receivedAtMs,
    positionMs: receivedAtMs,
    resumed: false,
    run: { ...of, scope: place },
    ...more,
  };
}

/** The queue as Postgres keeps it between passes. */
class Queue {
  readonly states = new Map<string, FlowState>();
  readonly entries = new Map<string, FlowEntry>();
  readonly queued: string[] = [];
  readonly skipped = new Map<string, ArrivalsDecision['skipped'][number]>();
  readonly events = new Map<string, string[]>();
  readonly stops: string[] = [];

  constructor(private readonly config: FlowControl) {}

  pass(nowMs: number, arrived: readonly FlowEntry[] = []): ArrivalsDecision {
    for (const entry of arrived) this.entries.set(entry.runId, entry);
    const due = [...this.entries.values()].filter(
      ({ state, dueAtMs = 0 }) => state === 'held' && dueAtMs <= nowMs,
    );
    const holders = new Map<string, FlowHolder>();
    for (const { runId } of this.states.values()) {
      const entry = runId === undefined ? undefined : this.entries.get(runId);
      if (entry === undefined) continue;
      holders.set(runId!, {
        entry,
        state: entry.state,
        hasBegun: entry.state === 'admitted' || entry.resumed,
      });
    }
    const decision = decideArrivals({
      nowMs,
      entries: [...arrived, ...due],
      configs: new Map([['f', this.config]]),
      states: [...this.states.values()],
      holders,
    });
    this.write(decision);
    return decision;
  }

  private write(decision: ArrivalsDecision): void {
    for (const key of decision.removed) this.states.delete(nameOf(key));
    for (const state of decision.states) this.states.set(nameOf(state), state);
    for (const skip of decision.skipped) {
      expect(this.entries.delete(skip.runId)).toBe(true);
      this.skipped.set(skip.runId, skip);
    }
    for (const { runId, dueAtMs } of decision.held) {
      this.entries.set(runId, { ...this.entries.get(runId)!, state: 'held', dueAtMs });
    }
    for (const { runId } of decision.queued) {
      this.entries.set(runId, { ...this.entries.get(runId)!, state: 'queued' });
      this.queued.push(runId);
    }
    for (const { runId, place: at, eventId } of decision.events) {
      const events = this.events.get(runId) ?? [];
      events[at] = eventId;
      this.events.set(runId, events);
    }
    this.stops.push(...decision.stops);
  }
}

const times = fc.array(fc.integer({ min: 0, max: 5_000 }), { minLength: 1, maxLength: 60 });

describe('a debounce', () => {
  const config: FlowControl = { debounce: { periodMs: 500, timeoutMs: 2_000 } };

  test('of any arrivals, in any passes, runs the last of each burst, in time, and skips the others for it', () => {
    fc.assert(
      fc.property(times, fc.integer({ min: 1, max: 7 }), (atMs, perPass) => {
        const arrivals = [...atMs]
          .sort((a, b) => a - b)
          .map((at, index) => entryOf(index, at, { debounce: '' }));
        const queue = new Queue(config);
        for (let from = 0; from < arrivals.length; from += perPass) {
          const page = arrivals.slice(from, from + perPass);
          queue.pass(page.at(-1)!.receivedAtMs, page);
        }
        queue.pass(100_000);
        // What an exact clock would do.
        const expected: string[] = [];
        let sinceMs = 0;
        let last: FlowEntry | undefined;
        const dueAtMs = (): number => Math.min(last!.receivedAtMs + 500, sinceMs + 2_000);
        for (const entry of arrivals) {
          if (last !== undefined && dueAtMs() <= entry.receivedAtMs) expected.push(last.runId);
          if (last === undefined || dueAtMs() <= entry.receivedAtMs) sinceMs = entry.receivedAtMs;
          last = entry;
        }
        expected.push(last!.runId);
        expect(queue.queued).toEqual(expected);
        expect(queue.queued.length + queue.skipped.size).toBe(arrivals.length);
        for (const { runId, reason, joinedRunId } of queue.skipped.values()) {
          expect(reason).toBe('debounce');
          expect(joinedRunId! > runId).toBe(true);
        }
        expect(queue.states.size).toBe(0);
      }),
    );
  });

  test('decides by when events came, also where one is routed after those that followed it', () => {
    const queue = new Queue(config);
    queue.pass(1_000, [entryOf(2, 1_000, { debounce: '' })]);
    // Of its burst it was not the last; the one before was over when that began.
    queue.pass(1_010, [entryOf(1, 990, { debounce: '' }), entryOf(0, 400, { debounce: '' })]);
    expect(queue.skipped.get('run-00001')).toMatchObject({ reason: 'debounce', joinedRunId: 'run-00002' });
    expect(queue.queued).toEqual(['run-00000']);
    queue.pass(1_500);
    expect(queue.queued).toEqual(['run-00000', 'run-00002']);
    expect(queue.states.size).toBe(0);
  });

  test('runs at its timeout after the first of a burst that does not end', () => {
    const queue = new Queue({ debounce: { periodMs: 100, timeoutMs: 250 } });
    for (let number = 0; number < 6; number += 1) {
      queue.pass(number * 60, [entryOf(number, number * 60, { debounce: '' })]);
    }
    // The fifth came at 240 ms, and was due at 250; the one after it began anew.
    expect(queue.queued).toEqual(['run-00004']);
    queue.pass(400);
    expect(queue.queued).toEqual(['run-00004', 'run-00005']);
  });

  test('whose run was cancelled meanwhile begins anew', () => {
    const queue = new Queue(config);
    queue.pass(0, [entryOf(1, 0, { debounce: '' })]);
    queue.entries.delete('run-00001');
    queue.pass(100, [entryOf(2, 100, { debounce: '' })]);
    expect(queue.skipped.size).toBe(0);
    queue.pass(600);
    expect(queue.queued).toEqual(['run-00002']);
  });
});

describe('a batch', () => {
  const config: FlowControl = { batch: { maxSize: 4, timeoutMs: 1_000 } };

  test('of any arrivals: every event is in one batch, in order, none too large, none held longer than its time', () => {
    fc.assert(
      fc.property(times, fc.integer({ min: 1, max: 9 }), (atMs, perPass) => {
        const arrivals = [...atMs]
          .sort((a, b) => a - b)
          .map((at, index) => entryOf(index, at, { batch: '' }));
        const queue = new Queue(config);
        for (let from = 0; from < arrivals.length; from += perPass) {
          const page = arrivals.slice(from, from + perPass);
          queue.pass(page.at(-1)!.receivedAtMs, page);
        }
        queue.pass(100_000);
        const batches = queue.queued.map((runId) => queue.events.get(runId)!);
        expect(batches.flat()).toEqual(arrivals.map(({ eventId }) => eventId));
        const receivedAtMs = new Map(arrivals.map((entry) => [entry.eventId, entry.receivedAtMs]));
        for (const events of batches) {
          expect(events.length).toBeLessThanOrEqual(4);
          expect(receivedAtMs.get(events.at(-1)!)! - receivedAtMs.get(events[0]!)!).toBeLessThan(1_000);
        }
        for (const { runId, joinedRunId } of queue.skipped.values()) {
          expect(queue.events.get(joinedRunId!)).toContain(runId.replace('run', 'event'));
        }
        expect(queue.states.size).toBe(0);
      }),
    );
  });

  test('goes before it would carry too much', () => {
    const queue = new Queue({ batch: { maxSize: 10, timeoutMs: 1_000 } });
    const large = { bytes: 3 * 1024 * 1024 };
    queue.pass(1, [entryOf(1, 0, { batch: '' }, large), entryOf(2, 1, { batch: '' }, large)]);
    expect(queue.queued).toEqual(['run-00001']);
    queue.pass(2_000);
    expect(queue.events.get('run-00002')).toEqual(['event-00002']);
  });
});

describe('a singleton', () => {
  const single = (number: number): FlowEntry => entryOf(number, number, { singleton: '' });

  test('skips what comes while a run lives, in the queue or under way', () => {
    const queue = new Queue({ singleton: { mode: 'skip' } });
    queue.pass(10, [single(1), single(2)]);
    queue.pass(20, [single(3)]);
    expect(queue.queued).toEqual(['run-00001']);
    expect([...queue.skipped.values()]).toEqual([
      { runId: 'run-00002', reason: 'singleton', joinedRunId: 'run-00001' },
      { runId: 'run-00003', reason: 'singleton', joinedRunId: 'run-00001' },
    ]);
    queue.entries.delete('run-00001');
    queue.pass(30, [single(4)]);
    expect(queue.queued).toEqual(['run-00001', 'run-00004']);
  });

  test('stops what is under way for the next one, and skips what has not begun', () => {
    const queue = new Queue({ singleton: { mode: 'cancel' } });
    queue.pass(10, [single(1)]);
    queue.entries.set('run-00001', { ...queue.entries.get('run-00001')!, state: 'admitted' });
    queue.pass(20, [single(2)]);
    queue.pass(30, [single(3)]);
    expect(queue.stops).toEqual(['run-00001']);
    expect(queue.queued).toEqual(['run-00001', 'run-00002', 'run-00003']);
    expect([...queue.skipped.values()]).toEqual([
      { runId: 'run-00002', reason: 'singleton', joinedRunId: 'run-00003' },
    ]);
  });
});

test.each(['skip', 'cancel'] as const)(
  'times of a schedule that are queued are all run, and of those with %s that come meanwhile one',
  (mode) => {
    const queue = new Queue({});
    const of = (number: number, overlap: FlowKeys['overlap']) =>
      entryOf(number, number, { singleton: 'schedule:f.nightly', overlap });
    queue.pass(10, [of(1, 'queue'), of(2, 'queue'), of(3, 'queue')]);
    queue.pass(20, [of(4, mode), of(5, mode)]);
    const [kept, skipped] = mode === 'skip' ? ['run-00004', 'run-00005'] : ['run-00005', 'run-00004'];
    expect([...queue.skipped.keys()]).toEqual([skipped]);
    expect(queue.queued).toEqual(['run-00001', 'run-00002', 'run-00003', kept]);
    expect(queue.stops).toEqual([]);
  },
);

test('the rules apply in their order: what one skips is counted by none after it', () => {
  const queue = new Queue({
    idempotency: 'event.data.id',
    rateLimit: { limit: 2, periodMs: 10_000, burst: 2 },
    singleton: { mode: 'skip', key: 'event.data.k' },
  });
  const arrival = (number: number, idempotency: string): FlowEntry =>
    entryOf(number, number, { idempotency, rateLimit: '', singleton: `${number}` });
  queue.pass(10, [arrival(1, 'a'), arrival(2, 'a'), arrival(3, 'b'), arrival(4, 'c')]);
  expect(queue.queued).toEqual(['run-00001', 'run-00003']);
  expect([...queue.skipped.values()]).toEqual([
    { runId: 'run-00002', reason: 'idempotency', joinedRunId: 'run-00001' },
    { runId: 'run-00004', reason: 'rate_limit', joinedRunId: undefined },
  ]);
  // A day later the key is free.
  queue.pass(90_000_000, [entryOf(5, 90_000_000, { idempotency: 'a', rateLimit: '', singleton: '5' })]);
  expect(queue.queued).toContain('run-00005');
});

test('a run that has begun before, and one whose function has no rules any more, go straight to the queue', () => {
  const queue = new Queue({});
  const keys = { debounce: '', rateLimit: '', singleton: '' };
  queue.pass(10, [entryOf(1, 0, keys), entryOf(2, 0, keys, { resumed: true })]);
  expect(queue.queued.sort()).toEqual(['run-00001', 'run-00002']);
});

test('what decides of a rate is the time of the event, however late it is routed', () => {
  const entries = [1_000, 2_000, 2_500].map((receivedAtMs, index) => {
    const of = {
      runId: `r${index}`,
      eventId: `e${index}`,
      functionId: 'f',
      appId: 'app',
      mode: 'push' as const,
    };
    const run = { ...of, scope: { environmentId: 'e', project: 'p', env: 'prod' } };
    const arrival = { state: 'arrived' as const, keys: { rateLimit: '' }, bytes: 1, resumed: false };
    return { ...of, ...arrival, receivedAtMs, positionMs: receivedAtMs, run };
  });
  const configs = new Map([['f', { rateLimit: { limit: 1, periodMs: 1_000, burst: 1 } }]]);
  const decision = decideArrivals({ nowMs: 90_000, entries, configs, states: [], holders: new Map() });
  expect(decision.queued.map(({ runId }) => runId)).toEqual(['r0', 'r1']);
  expect(decision.skipped).toEqual([{ runId: 'r2', reason: 'rate_limit', joinedRunId: undefined }]);
});
