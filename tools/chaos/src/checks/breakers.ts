/** What an endpoint behind a breaker may be called, by its own notes and by what was told of the breaker. Pure. */
import { fragileFunction } from '../cases/breakers.js';
import type { Facts, Violation } from '../facts.js';
import { groupBy } from './group-by.js';

/** Every executor obeys within a second; on a machine with more to do than it can, it takes one more to hear of it. */
const obeyedWithinMs = 2_000;
/** From a decision until it is told of. */
const slackMs = 100;
/** Of faults that keep executors from hearing of a breaker, until they have caught up; what was forced is put back last. */
const settledWithinMs = { usually: 10_000, afterWipe: 45_000 };

/** In the times in which nothing kept executors from obeying. */
export function checkBreaker(facts: Facts): Violation[] {
  return [...checkWindows(facts), ...checkForced(facts), ...checkOpened(facts)];
}

/** From an opening to whatever comes next there is one call, the probe, and that not before its time. */
function checkWindows(facts: Facts): Violation[] {
  const changes = changesOf(facts);
  return changes.flatMap(({ change, atMs: fromMs }, index) => {
    const untilMs = changes[index + 1]?.atMs ?? Infinity;
    if (change !== 'opened' || !isCalm(facts, fromMs, untilMs)) return [];
    const calls = callsBetween(facts, fromMs + obeyedWithinMs, untilMs);
    const of = `opened at ${fromMs}, called at ${calls.join(', ')}, then ${changes[index + 1]?.change} at ${untilMs}`;
    const early = calls.filter((atMs) => atMs < fromMs + fragileFunction.openMs - slackMs);
    return [
      ...(early.length === 0 ? [] : [{ rule: 'an open breaker was called', evidence: of }]),
      ...(calls.length <= 1 ? [] : [{ rule: 'a breaker let through more than its probe', evidence: of }]),
    ];
  });
}

function checkForced(facts: Facts): Violation[] {
  return facts.operations.flatMap(({ name, fromMs, untilMs }) => {
    if (name !== 'force-open' || !isCalm(facts, fromMs, untilMs)) return [];
    const calls = callsBetween(facts, fromMs + obeyedWithinMs, untilMs);
    if (calls.length === 0) return [];
    const evidence = `forced open from ${fromMs} to ${untilMs}, called at ${calls.join(', ')}`;
    return [{ rule: 'a breaker that was forced open was called', evidence }];
  });
}

/** So many failed calls in a row open it. */
function checkOpened(facts: Facts): Violation[] {
  const changes = changesOf(facts);
  return facts.operations.flatMap(({ name, fromMs, untilMs }) => {
    if (name !== 'break-endpoint' || !isCalm(facts, fromMs, untilMs)) return [];
    const last = callsBetween(facts, fromMs, untilMs)[fragileFunction.failuresToOpen - 1] ?? Infinity;
    const hasOpened = changes.some(
      ({ change, atMs }) => change === 'opened' && atMs >= fromMs && atMs < untilMs,
    );
    if (last + obeyedWithinMs >= untilMs || hasOpened) return [];
    const evidence = `failed from ${fromMs} to ${untilMs}`;
    return [{ rule: 'a breaker did not open', evidence }];
  });
}

/** Each attempt that was used up was a call; what waits uses up none. */
export function checkAttempts({ runs, ledger }: Facts): Violation[] {
  const calls = groupBy(
    ledger.filter(({ what }) => what === 'called'),
    ({ run }) => run,
  );
  return runs.flatMap(({ id, functionId, failures, status }) => {
    if (functionId !== fragileFunction.id) return [];
    const count = calls.get(id)?.length ?? 0;
    if (failures + (status === 'completed' ? 1 : 0) <= count) return [];
    const evidence = `run ${id}, ${status}: ${failures} attempts failed, ${count} calls`;
    return [{ rule: 'a run used up attempts without having been called', evidence }];
  });
}

function changesOf({ breakerChanges }: Facts): Facts['breakerChanges'] {
  return breakerChanges
    .filter(({ functionId }) => functionId === fragileFunction.id)
    .sort((a, b) => a.atMs - b.atMs);
}

function callsBetween({ ledger }: Facts, fromMs: number, untilMs: number): number[] {
  const times = ledger.filter(({ what }) => what === 'called').map(({ atMs }) => atMs);
  return times.filter((atMs) => atMs >= fromMs && atMs < untilMs).sort((a, b) => a - b);
}

function isCalm({ faults }: Facts, fromMs: number, untilMs: number): boolean {
  return faults.every(({ name, startedAtMs, endedAtMs }) => {
    if (!/executor|circuit-breaker|nats|network/.test(name)) return true;
    const settledMs = settledWithinMs[name === 'wipe-nats' ? 'afterWipe' : 'usually'];
    return startedAtMs > untilMs || endedAtMs + settledMs < fromMs;
  });
}
