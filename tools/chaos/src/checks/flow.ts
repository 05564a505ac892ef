/** What flow control promises of runs together: limits, groups of which one runs, and times that are kept. Pure. */
import { modes, namesOf } from '../case.js';
import type { EventData } from '../case.js';
import { atWorkMax, debounceMs } from '../cases/flow.js';
import type { Grouped } from '../cases/flow.js';
import { overlapFunction, overlaps } from '../cases/schedules.js';
import type { EventFact, Facts, RunFact, Violation } from '../facts.js';
import { firstBegun } from './begun.js';
import { groupBy } from './group-by.js';
import { checkRate } from './rates.js';
import { roundingMs } from './rounding.js';

export function checkFlowControl(facts: Facts): Violation[] {
  const grouped = groupedRuns(facts);
  const of = (name: string) => grouped.filter((one) => one.name === name);
  return [
    ...checkAtWork(of('concurrent'), facts),
    ...checkSingletons([...of('single'), ...of('latest'), ...of('in-turn'), ...of('overlap')], facts),
    ...checkRate(of('limited')),
    ...checkJoined(grouped.filter(({ name }) => name !== 'limited')),
    ...checkDebounced(of('debounced')),
    ...checkBatched(of('batched')),
    ...checkOnce(of('once')),
  ];
}

/** An event with a time comes once (checkEvents), and not before. */
export function checkScheduled({ accepted, events }: Facts): Violation[] {
  const receivedAtMs = new Map(events.map((event) => [event.id, event.receivedAtMs]));
  return accepted.events.flatMap(({ id, key, dueAtMs }) => {
    const earlyMs = (dueAtMs ?? 0) - (receivedAtMs.get(id) ?? Infinity);
    if (earlyMs <= roundingMs) return [];
    return [{ rule: 'an event with a time came early', evidence: `${id} ${key}: ${Math.round(earlyMs)} ms` }];
  });
}

export interface GroupedRun {
  name: string;
  /** Of its function and group. */
  group: string;
  run: RunFact;
  event: EventFact;
}

function groupedRuns({ events, runs }: Facts): GroupedRun[] {
  const byId = new Map(events.map((event) => [event.id, event]));
  const names = new Map([
    ...['concurrent', 'debounced', 'batched', 'single', 'latest', 'in-turn', 'limited', 'once'].flatMap(
      (name) => modes.map((mode) => [namesOf(mode).functionId(name), name] as const),
    ),
    ...overlaps.map((overlap) => [overlapFunction(overlap), 'overlap'] as const),
  ]);
  return runs.flatMap((run) => {
    const [name, event] = [names.get(run.functionId), byId.get(run.eventId)];
    if (name === undefined || event === undefined) return [];
    // The runs of a schedule are one group.
    const { group } = (event.data as Partial<EventData<Grouped>>).input ?? { group: 'of its times' };
    return [{ name, group: `${run.functionId} ${group}`, run, event }];
  });
}

interface Span {
  run: string;
  fromMs: number;
  toMs: number;
}

/**
 * As the functions saw it. Of a step that was called again, the first call was lost with its executor or worker: until that is noticed the
 * code of one run can be at work twice (docs/flow-control.md), so such steps are left out.
 */
function checkAtWork(grouped: readonly GroupedRun[], { ledger }: Facts): Violation[] {
  const spans = new Map<string, Span[]>();
  for (const lines of groupBy(ledger, ({ run, step }) => `${run} ${step}`).values()) {
    const begun = lines.filter(({ what }) => what === 'begun');
    const ended = lines.find(({ what }) => what === 'ended');
    if (begun.length !== 1 || ended === undefined) continue;
    const { run, atMs: fromMs } = begun[0]!;
    spans.set(run, [...(spans.get(run) ?? []), { run, fromMs, toMs: ended.atMs }]);
  }
  const spansOf = (of: readonly GroupedRun[]): Span[] => of.flatMap(({ run }) => spans.get(run.id) ?? []);
  const byGroup = [...groupBy(grouped, ({ group }) => group)].flatMap(([group, of]) =>
    beyond(spansOf(of), atWorkMax.ofGroup, group),
  );
  return [...byGroup, ...beyond(spansOf(grouped), atWorkMax.ofEnvironment, 'the environment')];
}

/** A run is there when the transaction that stores it is over, which began at its time. */
const storedWithinMs = 250;

/** From its first step to its end, however often it was called. */
function checkSingletons(grouped: readonly GroupedRun[], { ledger }: Facts): Violation[] {
  const firstMs = firstBegun(ledger);
  return [...groupBy(grouped, ({ group }) => group)].flatMap(([group, of]) =>
    beyond(
      of.map(({ run }) => ({
        run: run.id,
        fromMs: firstMs.get(run.id) ?? Infinity,
        toMs: run.endedAtMs ?? Infinity,
      })),
      1,
      group,
    ),
  );
}

function beyond(spans: readonly Span[], limit: number, of: string): Violation[] {
  const real = spans.filter(({ fromMs, toMs }) => fromMs + roundingMs < toMs);
  return real.flatMap(({ run, fromMs }) => {
    const atOnce = real.filter((other) => other.fromMs <= fromMs && fromMs + roundingMs < other.toMs);
    if (atOnce.length <= limit) return [];
    const runs = atOnce.map((other) => other.run).join(', ');
    const evidence = `${of}: ${atOnce.length} of ${limit} as ${run} began at ${fromMs}: ${runs}`;
    return [{ rule: 'more runs were at work than the limit', evidence }];
  });
}

/** Whoever is skipped for another run says which. */
function checkJoined(grouped: readonly GroupedRun[]): Violation[] {
  const groups = new Map(grouped.map(({ run, group }) => [run.id, group]));
  return grouped.flatMap(({ run, group }) => {
    if (run.status !== 'skipped') return [];
    if (run.joinedRunId !== null && groups.get(run.joinedRunId) === group) return [];
    const evidence = `${group} run ${run.id}, ${run.skipReason}: for ${run.joinedRunId}`;
    return [{ rule: 'a run was skipped for none of its group', evidence }];
  });
}

/**
 * The last event of each burst runs, and none that another follows within the period. What a fault kept from being routed until its own
 * time was over, or that of the one before it, may run by itself, and the one before it beside it or not.
 */
function checkDebounced(grouped: readonly GroupedRun[]): Violation[] {
  const dueAtMs = ({ event }: GroupedRun): number => event.receivedAtMs + debounceMs;
  return [...groupBy(grouped, ({ group }) => group).values()].flatMap((of) => {
    const inOrder = [...of].sort(
      (a, b) => a.event.receivedAtMs - b.event.receivedAtMs || (a.event.id < b.event.id ? -1 : 1),
    );
    return inOrder.flatMap((one, index) => {
      if (one.run.createdAtMs >= dueAtMs(one)) return [];
      const next = inOrder[index + 1];
      const isLast = next === undefined || next.event.receivedAtMs >= dueAtMs(one);
      if (!isLast && next.run.createdAtMs + storedWithinMs >= dueAtMs(one)) return [];
      const { run, group } = one;
      if ((run.status === 'completed') === isLast) return [];
      const evidence = `${group} run ${run.id} is ${run.status}, ${isLast ? 'the last' : 'not the last'}`;
      return [{ rule: 'a debounce did not run its last event', evidence }];
    });
  });
}

function checkBatched(grouped: readonly GroupedRun[]): Violation[] {
  const times = new Map<string, number>();
  for (const { run, group } of grouped) {
    if (run.status !== 'completed') continue;
    for (const key of run.output as string[]) {
      times.set(`${group} ${key}`, (times.get(`${group} ${key}`) ?? 0) + 1);
    }
  }
  return grouped.flatMap(({ group, event }) => {
    const { key } = event.data as EventData<Grouped>;
    const count = times.get(`${group} ${key}`) ?? 0;
    if (count === 1) return [];
    return [{ rule: 'an event is not in one batch', evidence: `${group} ${event.id} ${key}: in ${count}` }];
  });
}

function checkOnce(grouped: readonly GroupedRun[]): Violation[] {
  return [...groupBy(grouped, ({ group }) => group)].flatMap(([group, of]) => {
    const ran = of.filter(({ run }) => run.status === 'completed');
    if (ran.length === 1) return [];
    const runs = ran.map(({ run }) => run.id).join(', ');
    return [{ rule: 'an idempotency key did not have one run', evidence: `${group}: ${runs}` }];
  });
}
