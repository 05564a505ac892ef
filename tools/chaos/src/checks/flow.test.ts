/** Each rule of flow control against facts in which its one violation is planted. */
import { expect, test } from '@jest/globals';
import type { LedgerLine } from '@ironflow/bench';
import type { Facts, RunFact } from '../facts.js';
import { checkFlowControl, checkScheduled } from './flow.js';

interface Planted extends Partial<RunFact> {
  name: string;
  group?: number;
  receivedAtMs?: number;
}

/** One run for each event, with steps at work as `[from, to]`. */
function rulesOf(planted: readonly Planted[], work: Record<string, [number, number][]> = {}): string[] {
  const events = planted.map(({ name, group = 0, receivedAtMs = 0 }, index) => ({
    id: `e${index}`,
    name: `chaos.push.${name}`,
    data: { key: `event ${index}`, input: { group, workMs: 10 } },
    ...{ source: 'http', functionId: null, rerunOf: null, receivedAtMs },
  }));
  const runs = planted.map(({ name, group: _group, receivedAtMs: _at, ...over }, index) => ({
    id: `r${index}`,
    eventId: `e${index}`,
    functionId: `${name}-push`,
    status: 'completed',
    ...{ skipReason: null, joinedRunId: null, output: null, error: null, buildId: null },
    ...{ notCompensated: [], failures: 0, createdAtMs: 0, endedAtMs: 1_000 },
    ...over,
  }));
  const ledger = Object.entries(work).flatMap(([run, spans]) =>
    spans.flatMap(([from, to], index): LedgerLine[] => {
      const line = { run, step: `step ${index}`, attempt: 1 };
      return [
        { ...line, what: 'begun', atMs: from },
        { ...line, what: 'ended', atMs: to },
      ];
    }),
  );
  return checkFlowControl({ events, runs, ledger } as unknown as Facts).map(({ rule }) => rule);
}

const skipped = (name: string, joinedRunId: string | null): Planted => ({
  name,
  status: 'skipped',
  skipReason: name,
  joinedRunId,
});

test('more runs of a group, or of the environment, at work than the limit', () => {
  const rule = 'more runs were at work than the limit';
  const three = (groups: number[]): Planted[] => groups.map((group) => ({ name: 'concurrent', group }));
  const at = (from: number): [number, number][] => [[from, from + 100]];
  expect(rulesOf(three([0, 0, 0]), { r0: at(0), r1: at(50), r2: at(100) })).toEqual([]);
  expect(rulesOf(three([0, 0, 0]), { r0: at(0), r1: at(50), r2: at(90) })).toEqual([rule]);
  expect(rulesOf(three([0, 0, 1, 1]), { r0: at(0), r1: at(10), r2: at(20), r3: at(30) })).toEqual([rule]);
});

test('two runs of a singleton that live at once', () => {
  const two = [{ name: 'single', endedAtMs: 500 }, { name: 'single' }];
  expect(rulesOf(two, { r0: [[0, 10]], r1: [[600, 610]] })).toEqual([]);
  expect(rulesOf(two, { r0: [[0, 10]], r1: [[300, 310]] })).toEqual([
    'more runs were at work than the limit',
  ]);
});

test('two runs that were to come in turn, and two of one schedule, that live at once', () => {
  const rule = ['more runs were at work than the limit'];
  const inTurn = [{ name: 'in-turn', endedAtMs: 500 }, { name: 'in-turn' }];
  expect(rulesOf(inTurn, { r0: [[0, 10]], r1: [[600, 610]] })).toEqual([]);
  expect(rulesOf(inTurn, { r0: [[0, 10]], r1: [[300, 310]] })).toEqual(rule);
  const fired = (functionId: string) => [
    { name: 'every-time', functionId, endedAtMs: 500 },
    { name: 'every-time', functionId },
  ];
  const work: Record<string, [number, number][]> = { r0: [[0, 10]], r1: [[300, 310]] };
  expect(rulesOf(fired('overlap-queue-pull'), work)).toEqual(rule);
  expect(rulesOf(fired('every-second'), work)).toEqual([]);
});

test('a run that was skipped for nobody, or for one of another group', () => {
  const rule = 'a run was skipped for none of its group';
  expect(rulesOf([{ name: 'once' }, skipped('once', 'r0')])).toEqual([]);
  expect(rulesOf([{ name: 'once' }, skipped('once', null)])).toEqual([rule]);
  expect(rulesOf([{ name: 'once' }, { name: 'single', group: 1 }, skipped('once', 'r1')])).toEqual([rule]);
});

test('a rate limit skips for nobody, and not the first', () => {
  const limited = { name: 'limited', status: 'skipped', skipReason: 'rate_limit', joinedRunId: null };
  const before = [{ name: 'limited' }, { name: 'limited' }];
  expect(rulesOf([...before, limited])).toEqual([]);
  expect(rulesOf([limited])).toEqual(['a rate limit skipped what it had room for']);
});

test('a debounce whose last event did not run, or another beside it', () => {
  const rule = 'a debounce did not run its last event';
  const first = { ...skipped('debounced', 'r1'), receivedAtMs: 0 };
  const last = { name: 'debounced', receivedAtMs: 100 };
  expect(rulesOf([first, last])).toEqual([]);
  expect(rulesOf([{ ...last, receivedAtMs: 0 }, last])).toEqual([rule]);
  const wrong = { ...first, joinedRunId: 'r0', receivedAtMs: 100 };
  expect(rulesOf([{ ...last, receivedAtMs: 0 }, wrong])).toEqual([rule, rule]);
  // What was routed late runs by itself; a moment before it may not have been seen yet.
  const both = (createdAtMs: number) => [
    { ...last, receivedAtMs: 0 },
    { ...last, createdAtMs },
  ];
  expect(rulesOf(both(200))).toEqual([rule]);
  expect(rulesOf(both(300))).toEqual([]);
  expect(
    rulesOf([
      { ...last, receivedAtMs: 0 },
      { ...last, createdAtMs: 550 },
    ]),
  ).toEqual([]);
  const late = { ...last, receivedAtMs: 40, createdAtMs: 900 };
  expect(rulesOf([first, last, late])).toEqual([]);
  // It is followed within the period all the same, by one that was routed late.
  const next = { ...last, receivedAtMs: 2_000 };
  expect(rulesOf([first, { ...last, receivedAtMs: 40, createdAtMs: 900 }, next])).toEqual([]);
  expect(
    rulesOf(
      [skipped('debounced', 'r1'), next].map((one, index) => ({ ...one, receivedAtMs: index * 2_000 })),
    ),
  ).toEqual([rule]);
});

test('an event that is in no batch, or in two', () => {
  const joined = skipped('batched', 'r0');
  const rule = 'an event is not in one batch';
  expect(rulesOf([{ name: 'batched', output: ['event 0', 'event 1'] }, joined])).toEqual([]);
  expect(rulesOf([{ name: 'batched', output: ['event 0'] }, joined])).toEqual([rule]);
  expect(rulesOf([{ name: 'batched', output: ['event 0', 'event 0', 'event 1'] }, joined])).toEqual([rule]);
});

test('a key of which none ran, or two', () => {
  const rule = 'an idempotency key did not have one run';
  expect(rulesOf([{ name: 'once' }, { name: 'once' }])).toEqual([rule]);
  expect(rulesOf([{ name: 'once', status: 'failed' }])).toEqual([rule]);
});

test('an event with a time that came before it', () => {
  const taken = { id: 'e1', key: 'event 1', dueAtMs: 1_000 };
  const rulesAt = (receivedAtMs: number) =>
    checkScheduled({
      accepted: { events: [taken] },
      events: [{ id: 'e1', receivedAtMs }],
    } as unknown as Facts).map(({ rule }) => rule);
  expect(rulesAt(1_000)).toEqual([]);
  expect(rulesAt(900)).toEqual(['an event with a time came early']);
});
