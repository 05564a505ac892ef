import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { judgeThrottle } from './flow-throttles.js';
import type { QueuedRun, ThrottlePass, ThrottleRule } from './flow-throttles.js';

/** One each 20 ms, three at once, and what may begin within 50 ms. */
const rule: ThrottleRule = { limit: 50, periodMs: 950, burst: 3, onTheWayMs: 50, aheadMs: 50 };

interface Step {
  afterUs: number;
  arrivals: { key: string; behindUs: number }[];
  hasWorker: boolean;
}

/** What a platform does that goes by `by`: a virtual scheduler for each key, asked when its time has come. */
function play(steps: readonly Step[], by: ThrottleRule) {
  const spacingUs = ((by.periodMs + by.onTheWayMs) * 1_000) / by.limit;
  const aheadUs = by.aheadMs * 1_000;
  const lanes = new Map<string, { waiting: QueuedRun[]; nextUs: number; readyAtUs: number }>();
  const beginsAtUs = new Map<string, number>();
  const passes: ThrottlePass[] = [];
  let nowUs = 1_000_000_000;
  let runs = 0;
  for (const { afterUs, arrivals, hasWorker } of steps) {
    nowUs += afterUs;
    const arrived = arrivals.map(({ key, behindUs }) => {
      const id = String((runs += 1)).padStart(6, '0');
      return { runId: `r${id}`, eventId: `e${id}`, key, positionUs: nowUs - behindUs };
    });
    const pass = {
      ...{ fromUs: nowUs - 700, toUs: nowUs + 900, arrived },
      admitted: new Set<string>(),
      lanes: [] as ThrottlePass['lanes'][number][],
      nextUs: new Map<string, number>(),
    };
    for (const key of ['a', 'b']) {
      const lane = lanes.get(key) ?? { waiting: [], nextUs: -Infinity, readyAtUs: -Infinity };
      lanes.set(key, lane);
      if (lane.waiting.length === 0) lane.readyAtUs = -Infinity;
      lane.waiting.push(...arrived.filter((run) => run.key === key));
      lane.waiting.sort((x, y) => x.positionUs - y.positionUs || (x.eventId < y.eventId ? -1 : 1));
      if (lane.waiting.length === 0 || lane.readyAtUs > nowUs) continue;
      if (!hasWorker) {
        lane.readyAtUs = nowUs;
        pass.lanes.push({ key, isBlocked: true, readyAtUs: nowUs });
        continue;
      }
      for (let run = lane.waiting[0]; run !== undefined; run = lane.waiting[0]) {
        const dueUs = Math.max(lane.nextUs, nowUs);
        const startAtUs = Math.max(nowUs, dueUs - (by.burst - 1) * spacingUs);
        if (startAtUs > nowUs + aheadUs) {
          lane.readyAtUs = startAtUs - aheadUs / 2;
          pass.lanes.push({ key, isBlocked: false, readyAtUs: lane.readyAtUs });
          break;
        }
        lane.nextUs = dueUs + spacingUs;
        pass.nextUs.set(key, lane.nextUs);
        pass.admitted.add(run.runId);
        beginsAtUs.set(run.runId, startAtUs);
        lane.waiting.shift();
      }
    }
    passes.push(pass);
  }
  return { passes, beginsAtUs, waiting: [...lanes.values()].flatMap(({ waiting }) => waiting).length };
}

const steps = fc.array(
  fc.record({
    afterUs: fc.integer({ min: 2_000, max: 120_000 }),
    arrivals: fc.array(
      fc.record({ key: fc.constantFrom('a', 'b'), behindUs: fc.integer({ min: 0, max: 300_000 }) }),
      { maxLength: 8 },
    ),
    hasWorker: fc.constant(true),
  }),
  { maxLength: 60 },
);

describe('a platform that goes by the rule', () => {
  test('differs in nothing, however late it decides, and begins when it is said to', () => {
    fc.assert(
      fc.property(steps, (played) => {
        const { passes, beginsAtUs, waiting } = play(played, rule);
        const verdict = judgeThrottle(passes, rule);
        expect(verdict).toMatchObject({ differing: 0, differences: [], letIn: beginsAtUs.size, waiting });
        for (const [runId, atUs] of verdict.beginsAtUs) {
          expect(atUs).toBeLessThanOrEqual(beginsAtUs.get(runId)!);
          expect(atUs).toBeGreaterThanOrEqual(beginsAtUs.get(runId)! - 700);
        }
      }),
    );
  });

  test('may keep runs back while there is no worker', () => {
    const arrivals = [{ key: 'a', behindUs: 0 }];
    const { passes } = play(
      [
        { afterUs: 0, arrivals, hasWorker: false },
        { afterUs: 5_000_000, arrivals: [], hasWorker: true },
      ],
      rule,
    );
    expect(judgeThrottle(passes, rule)).toMatchObject({ differing: 0, letIn: 1, waiting: 0 });
  });
});

describe('a platform that goes by another rule', () => {
  const crowd = Array.from({ length: 20 }, () => ({ key: 'a', behindUs: 0 }));
  const busy: Step[] = Array.from({ length: 20 }, () => ({
    afterUs: 30_000,
    arrivals: crowd,
    hasWorker: true,
  }));
  test.each([
    ['a higher limit', { limit: 51 }],
    ['a lower limit', { limit: 49 }],
    ['a larger burst', { burst: 4 }],
    ['a smaller burst', { burst: 2 }],
    ['more ahead of its time', { aheadMs: 80 }],
    ['less ahead of its time', { aheadMs: 20 }],
    ['less time kept for the way', { onTheWayMs: 49 }],
  ])('%s is found', (_, other) => {
    const { passes } = play(busy, { ...rule, ...other });
    expect(judgeThrottle(passes, rule).differing).toBeGreaterThan(0);
  });
});

describe('what is wrong with a single pass is found:', () => {
  const first = { key: 'a', behindUs: 10 };
  const { passes } = play(
    [
      { afterUs: 0, arrivals: Array.from({ length: 12 }, () => first), hasWorker: true },
      { afterUs: 40_000, arrivals: [], hasWorker: true },
    ],
    rule,
  );
  const [before, after] = passes as [ThrottlePass, ThrottlePass];
  const judged = (changed: Partial<ThrottlePass>) => judgeThrottle([before, { ...after, ...changed }], rule);

  test('as it was, it is right', () => {
    expect(judged({})).toMatchObject({ differing: 0, letIn: 7, waiting: 5 });
  });

  test('one more that was let in', () => {
    const nextUs = new Map([['a', after.nextUs.get('a')! + 20_000]]);
    const admitted = new Set([...after.admitted, 'r000008']);
    expect(judged({ admitted, nextUs }).differing).toBe(1);
  });

  test('nobody let in when the time has come', () => {
    expect(judged({ admitted: new Set(), nextUs: new Map(), lanes: [] }).differing).toBe(1);
  });

  test('one let in before another that came first', () => {
    expect(judged({ admitted: new Set(['r000006', 'r000008']) }).differing).toBe(1);
  });

  test('one let in that was not in the queue', () => {
    expect(judged({ admitted: new Set([...after.admitted, 'unknown']) }).differing).toBe(1);
  });

  test('a run that the memory does not know of', () => {
    expect(judged({ nextUs: before.nextUs }).differing).toBe(1);
  });

  test('a queue that is asked too late', () => {
    const lanes = after.lanes.map((lane) => ({ ...lane, readyAtUs: lane.readyAtUs + 1_000 }));
    expect(judged({ lanes }).differing).toBe(1);
  });

  test('a pass that was let in before its time', () => {
    expect(judged({ fromUs: before.toUs, toUs: before.toUs + 100 }).differing).toBe(1);
  });
});
