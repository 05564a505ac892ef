import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { FlowEntry, FlowLane, FlowState } from '@ironflow/database';
import type { FlowControl, FlowKeys } from '@ironflow/schema';
import { aheadMs, decideAdmissions, onTheWayMs, place } from './flow-admissions.js';
import type { AdmissionsDecision } from './flow-admissions.js';
import { nameOf } from './flow-arrivals.js';
import { identify } from './flow-keys.js';
import type { Conditions } from './condition.js';

const environment = { environmentId: 'e', project: 'p', env: 'prod' };
/** Keys are named in the test itself. */
const conditions: Pick<Conditions, 'valueOf'> = {
  valueOf: (expression, use, { event }) => {
    const value: unknown = (event.data as Record<string, unknown>)[expression];
    return { kind: 'value', value: value as never };
  },
};

function keysOf(functionId: string, config: FlowControl, data: Record<string, unknown>): FlowKeys {
  const event = { source: 'http' } as Parameters<typeof identify>[0];
  const subject = { event: { data }, dataLength: 0, remainingMs: 0 } as never;
  const identity = identify(event, { functionId, config }, conditions, () => subject);
  if (identity.kind !== 'known') throw new Error(identity.kind);
  return identity.keys;
}

function entryOf(number: number, positionMs: number, more: Partial<FlowEntry> = {}): FlowEntry {
  const runId = `run-${String(number).padStart(5, '0')}`;
  const of = { runId, eventId: runId, functionId: 'f', appId: 'app', mode: 'push' as const };
  return {
    ...of,
    state: 'arrived',
    keys: {},
    bytes: 1,
    receivedAtMs: positionMs,
    positionMs,
    resumed: false,
    run: { ...of, functionId: more.functionId ?? 'f', scope: environment },
    ...more,
  };
}

/** The queue, its lanes and its slots, as Postgres keeps them. */
class Queue {
  readonly lanes = new Map<string, FlowLane>();
  readonly waiting = new Map<string, { entry: FlowEntry; lane: string }>();
  readonly slots = new Map<string, Set<string>>();
  readonly throttles = new Map<string, FlowState>();
  readonly admitted: { runId: string; startAtMs: number }[] = [];
  paused = false;

  constructor(
    private readonly configs: ReadonlyMap<string, FlowControl>,
    private readonly room = 1_000,
  ) {}

  pass(nowMs: number, arriving: readonly FlowEntry[] = []): AdmissionsDecision {
    const lanes = [...this.lanes.values()].map((lane) => {
      const entries = [...this.waiting.values()]
        .filter((one) => one.lane === lane.lane)
        .map(({ entry }) => entry);
      entries.sort((a, b) => a.positionMs - b.positionMs || (a.eventId < b.eventId ? -1 : 1));
      return {
        ...lane,
        entries: entries.slice(0, 3),
        readUpToMs: entries.length > 3 ? entries[2]!.positionMs : Infinity,
      };
    });
    const decision = decideAdmissions({
      nowMs,
      configs: this.configs,
      placed: arriving.map((entry) => place(entry, this.configs.get(entry.functionId))),
      lanes,
      usage: new Map([...this.slots].map(([slot, runs]) => [slot, runs.size])),
      throttles: [...this.throttles.values()],
      isPaused: () => this.paused,
      isServed: () => true,
      room: this.room,
    });
    for (const lane of decision.lanes) this.lanes.set(lane.lane, lane);
    for (const lane of decision.emptied) this.lanes.delete(lane);
    for (const { entry, lane } of decision.queued) this.waiting.set(entry.runId, { entry, lane });
    for (const state of decision.throttles) this.throttles.set(nameOf(state), state);
    for (const { entry, slots, startAtMs } of decision.admitted) {
      this.waiting.delete(entry.runId);
      this.admitted.push({ runId: entry.runId, startAtMs });
      for (const { slot } of slots)
        this.slots.set(slot, (this.slots.get(slot) ?? new Set()).add(entry.runId));
    }
    // What waits is found by its lane, and by nothing else.
    expect([...this.waiting.values()].filter(({ lane }) => !this.lanes.has(lane))).toEqual([]);
    return decision;
  }

  end(runId: string): void {
    for (const [slot, runs] of this.slots) {
      if (!runs.delete(runId)) continue;
      for (const [name, lane] of this.lanes) {
        if (lane.blockedBy === slot) this.lanes.set(name, { ...lane, blockedBy: undefined, readyAtMs: 0 });
      }
    }
  }

  unblock(): void {
    for (const [name, lane] of this.lanes)
      this.lanes.set(name, { ...lane, blockedBy: undefined, readyAtMs: 0 });
  }
}

describe('concurrency', () => {
  const configs = new Map<string, FlowControl>([
    [
      'f',
      {
        concurrency: [
          { limit: 2, scope: 'function', key: 'customer' },
          { limit: 3, scope: 'env' },
        ],
      },
    ],
    ['g', { concurrency: [{ limit: 3, scope: 'env' }] }],
  ]);
  const arrivals = fc.array(
    fc.record({ functionId: fc.constantFrom('f', 'g'), customer: fc.constantFrom('a', 'b', 'c') }),
    { minLength: 1, maxLength: 25 },
  );

  test('of any load: no slot is used beyond its limit, nobody waits without reason, and all end', () => {
    fc.assert(
      fc.property(arrivals, fc.infiniteStream(fc.nat()), (load, choices) => {
        const queue = new Queue(configs);
        const entries = load.map(({ functionId, customer }, index) =>
          entryOf(index, index, {
            functionId,
            keys: keysOf(functionId, configs.get(functionId)!, { customer }),
          }),
        );
        let next = 0;
        const running = new Set<string>();
        for (let step = 0; queue.admitted.length < entries.length || running.size > 0; step += 1) {
          const choice = choices.next().value as number;
          const before = queue.admitted.length;
          if (next < entries.length && choice % 2 === 0)
            queue.pass(step, entries.slice(next, (next += 1 + (choice % 5))));
          else if (running.size > 0) {
            const ending = [...running][choice % running.size]!;
            running.delete(ending);
            queue.end(ending);
            queue.pass(step);
          } else queue.pass(step, entries.slice(next, (next += 1)));
          for (const { runId } of queue.admitted.slice(before)) running.add(runId);
          for (const [slot, runs] of queue.slots) {
            expect(runs.size).toBeLessThanOrEqual(slot.startsWith('concurrency:f:') ? 2 : 3);
          }
          // The environment's slots are either all in use, or everybody who waits waits for a slot of his own.
          const inUse = running.size;
          if (inUse < 3)
            for (const { blockedBy } of queue.lanes.values()) expect(blockedBy).toMatch(/^concurrency:f:/);
        }
        expect(queue.waiting.size).toBe(0);
        expect(queue.lanes.size).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  test('those that have begun go first, then those of the earliest place', () => {
    const one = new Map<string, FlowControl>([['f', { concurrency: [{ limit: 1, scope: 'function' }] }]]);
    const keys = keysOf('f', one.get('f')!, {});
    const queue = new Queue(one);
    queue.pass(0, [entryOf(1, 0, { keys })]);
    queue.pass(10, [
      entryOf(2, 5, { keys }),
      entryOf(3, 2, { keys }),
      entryOf(4, 9, { keys, resumed: true }),
    ]);
    for (const runId of ['run-00001', 'run-00004', 'run-00003']) {
      queue.end(runId);
      queue.pass(20);
    }
    expect(queue.admitted.map(({ runId }) => runId)).toEqual([
      'run-00001',
      'run-00004',
      'run-00003',
      'run-00002',
    ]);
  });

  test('a limit that is raised, or a rule that is gone, holds for what is queued already', () => {
    const changing = new Map<string, FlowControl>([
      ['f', { concurrency: [{ limit: 1, scope: 'function' }] }],
    ]);
    const keys = keysOf('f', changing.get('f')!, {});
    const queue = new Queue(changing);
    queue.pass(
      0,
      [1, 2, 3, 4].map((number) => entryOf(number, number, { keys })),
    );
    expect(queue.admitted).toHaveLength(1);
    changing.set('f', { concurrency: [{ limit: 2, scope: 'function' }] });
    queue.unblock();
    queue.pass(1);
    expect(queue.admitted).toHaveLength(2);
    changing.set('f', {});
    queue.unblock();
    queue.pass(2);
    expect(queue.admitted).toHaveLength(4);
  });
});

describe('a throttle', () => {
  const spacingMs = (1_000 + onTheWayMs) / 100;
  const configs = new Map<string, FlowControl>([
    ['f', { throttle: { limit: 100, periodMs: 1_000, burst: 3 } }],
  ]);
  const keys = keysOf('f', configs.get('f')!, {});

  test('lets begin as many as the rate says, each at its time, however seldom a pass comes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: aheadMs / 2 }), { minLength: 60, maxLength: 60 }),
        (pauses) => {
          const queue = new Queue(configs);
          queue.pass(
            0,
            Array.from({ length: 50 }, (_, index) => entryOf(index, 0, { keys })),
          );
          let nowMs = 0;
          for (const pauseMs of pauses) queue.pass((nowMs += pauseMs));
          const starts = queue.admitted.map(({ startAtMs }) => startAtMs).sort((a, b) => a - b);
          const expectedCount = Math.min(50, Math.floor(nowMs / spacingMs) + 3);
          expect(starts.length).toBeGreaterThanOrEqual(expectedCount);
          // Three at once, then one each time, to the microsecond.
          const expected = starts.map((_, index) => Math.max(0, (index - 2) * spacingMs));
          expect(starts.filter((atMs, index) => Math.abs(atMs - expected[index]!) >= 0.0005)).toEqual([]);
        },
      ),
    );
  });

  test('does not concern a run that has begun, and is used up by none that waits for a slot', () => {
    const both = new Map<string, FlowControl>([
      [
        'f',
        {
          throttle: { limit: 1, periodMs: 60_000, burst: 1 },
          concurrency: [{ limit: 1, scope: 'function' }],
        },
      ],
    ]);
    const queue = new Queue(both);
    const bothKeys = keysOf('f', both.get('f')!, {});
    queue.pass(0, [entryOf(1, 0, { keys: bothKeys, resumed: true }), entryOf(2, 0, { keys: bothKeys })]);
    expect(queue.throttles.size).toBe(0);
    queue.end('run-00001');
    queue.pass(10);
    expect(queue.admitted.map(({ runId }) => runId)).toEqual(['run-00001', 'run-00002']);
  });
});

test('a lane that waits is left alone, though nobody has read what is in it', () => {
  const lane = { lane: 'l', functionId: 'f', resumed: false, slots: [], throttle: '', positionMs: 0 };
  const decision = decideAdmissions({
    nowMs: 10,
    configs: new Map(),
    placed: [],
    lanes: [
      { ...lane, readyAtMs: 11, entries: [], readUpToMs: Infinity },
      { ...lane, lane: 'm', blockedBy: 'paused:f', readyAtMs: 0, entries: [], readUpToMs: Infinity },
    ],
    usage: new Map(),
    throttles: [],
    isPaused: () => false,
    isServed: () => true,
    room: 1,
  });
  expect(decision).toMatchObject({ lanes: [], emptied: [] });
});

test('a lane of which all that was read is about to end is looked at again after a while', () => {
  const lane = { lane: 'l', functionId: 'f', resumed: false, slots: [], throttle: '', positionMs: 0 };
  const decision = decideAdmissions({
    nowMs: 10,
    configs: new Map(),
    placed: [],
    lanes: [{ ...lane, readyAtMs: 10, entries: [], readUpToMs: 5 }],
    usage: new Map(),
    throttles: [],
    isPaused: () => false,
    isServed: () => true,
    room: 1,
  });
  expect(decision.lanes).toMatchObject([{ lane: 'l', positionMs: 5 }]);
  expect(decision.lanes[0]!.readyAtMs).toBeGreaterThan(10);
});

test('while paused only runs that have begun go on; what is cut for want of room is asked again', () => {
  const queue = new Queue(new Map(), 2);
  queue.paused = true;
  queue.pass(0, [entryOf(1, 0), entryOf(2, 0), entryOf(3, 0), entryOf(4, 0, { resumed: true })]);
  expect(queue.admitted.map(({ runId }) => runId)).toEqual(['run-00004']);
  expect([...queue.lanes.values()]).toMatchObject([{ blockedBy: 'paused:f' }]);
  queue.paused = false;
  queue.unblock();
  expect(queue.pass(1).isCut).toBe(true);
  expect(queue.pass(2).isCut).toBe(false);
  expect(queue.admitted).toHaveLength(4);
});
