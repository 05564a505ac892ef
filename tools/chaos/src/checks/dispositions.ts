/** Events are neither lost nor doubled, and each has exactly the runs that it should have, with the right ends (I1, I2). Pure. */
import { isDeepStrictEqual } from 'node:util';
import { systemEventNames } from '@ironflow/schema';
import { namesOf } from '../case.js';
import type { EventData, ExpectedRun } from '../case.js';
import { caseOfEvent, caseOfFunction, failureFunctions } from '../cases.js';
import { runsOfFiring } from '../cases/schedules.js';
import type { EventFact, Facts, RunFact, Violation } from '../facts.js';
import { groupBy } from './group-by.js';

export function checkEvents({ accepted, events }: Facts): Violation[] {
  const violations: Violation[] = [];
  const byId = new Map(events.map((event) => [event.id, event]));
  for (const { id, key, name } of accepted.events) {
    const stored = byId.get(id);
    if (stored === undefined)
      violations.push({ rule: 'an accepted event is lost', evidence: `${id} ${name} ${key}` });
    else if (keyOf(stored) !== key) {
      violations.push({
        rule: 'an accepted event is another',
        evidence: `${id} has ${keyOf(stored)}, not ${key}`,
      });
    }
  }
  for (const { key, first, again } of accepted.repetitions) {
    if (first !== again) {
      violations.push({
        rule: 'a repeated request stored another event',
        evidence: `${key}: ${first}, ${again}`,
      });
    }
  }
  // A rerun's event carries what the first one did.
  const originals = events.filter(({ source }) => source !== 'rerun');
  for (const [key, same] of groupBy(originals, keyOf)) {
    if (key !== undefined && same.length > 1) {
      violations.push({ rule: 'an event is stored twice', evidence: `${key}: ${idsOf(same)}` });
    }
  }
  for (const [runId, reruns] of groupBy(events, ({ rerunOf }) => rerunOf)) {
    if (runId !== null && reruns.length > 1) {
      violations.push({ rule: 'a run was repeated twice', evidence: `run ${runId}: ${idsOf(reruns)}` });
    }
  }
  for (const { eventId } of accepted.reruns) {
    if (!byId.has(eventId))
      violations.push({ rule: 'an accepted event is lost', evidence: `${eventId}, a rerun` });
  }
  return [...violations, ...accepted.failures.map((evidence) => ({ rule: 'a request failed', evidence }))];
}

export function checkDispositions({ events, runs }: Facts): Violation[] {
  const violations: Violation[] = [];
  const byEvent = groupBy(runs, ({ eventId }) => eventId);
  for (const event of events) {
    const expected = expectedRuns(event);
    const left = [...(byEvent.get(event.id) ?? [])];
    for (const wanted of expected) {
      const index = left.findIndex(({ functionId }) => functionId === wanted.functionId);
      const [run] = index < 0 ? [] : left.splice(index, 1);
      violations.push(...compare(event, wanted, run));
    }
    for (const { id, functionId, status } of left) {
      const evidence = `${functionId} run ${id} (${status}) of ${event.id} ${event.name}`;
      violations.push({ rule: 'a run that should not be', evidence });
    }
  }
  const known = new Set(events.map(({ id }) => id));
  for (const { id, eventId } of runs) {
    if (!known.has(eventId))
      violations.push({ rule: 'a run without its event', evidence: `${id} of ${eventId}` });
  }
  return violations;
}

/** What runs send and invoke: as many as they should, none twice (that is seen by its key) and none missing. */
export function checkSent({ events, runs }: Facts): Violation[] {
  const sent = new Map<string, number>();
  for (const event of events) {
    if (event.source === 'rerun') continue;
    const [runId] = (keyOf(event) ?? '').split(' ');
    if (runId !== undefined) sent.set(runId, (sent.get(runId) ?? 0) + 1);
  }
  const byId = new Map(events.map((event) => [event.id, event]));
  const violations: Violation[] = [];
  for (const { id, functionId, eventId, status } of runs) {
    const { sends } = caseOfFunction(functionId)?.kind ?? {};
    if (sends === undefined || status !== 'completed') continue;
    const { input } = byId.get(eventId)!.data as EventData<unknown>;
    const wanted = typeof sends === 'number' ? sends : sends(input);
    const count = sent.get(id) ?? 0;
    if (count !== wanted) {
      const evidence = `${functionId} run ${id} sent ${count} events, not ${wanted}`;
      violations.push({ rule: 'what a run sent is lost or doubled', evidence });
    }
  }
  return violations;
}

/** By its name, the function it is for, and its data. */
export function expectedRuns(event: EventFact): ExpectedRun[] {
  if (event.name === systemEventNames.functionFailed) return runsOfFailure(event);
  const fired = runsOfFiring(event.name);
  if (fired !== undefined) return fired;
  const onlyFor = event.functionId ?? invokedBy(event.name);
  const found = onlyFor === undefined ? caseOfEvent(event.name) : caseOfFunction(onlyFor);
  if (found === undefined) return [];
  const { input } = event.data as EventData<unknown>;
  const expected = found.kind.expect(input, namesOf(found.mode));
  return onlyFor === undefined ? expected : expected.filter(({ functionId }) => functionId === onlyFor);
}

function invokedBy(eventName: string): string | undefined {
  const prefix = systemEventNames.invoke('');
  return eventName.startsWith(prefix) ? eventName.slice(prefix.length) : undefined;
}

function runsOfFailure({ data }: EventFact): ExpectedRun[] {
  const { run } = data as { run: { id: string; functionId: string } };
  const functionId = `${run.functionId}-on-failure`;
  return failureFunctions.has(functionId) ? [{ functionId, status: 'completed', output: run.id }] : [];
}

function compare(event: EventFact, wanted: ExpectedRun, run: RunFact | undefined): Violation[] {
  const of = `${wanted.functionId} of ${event.id} ${event.name}`;
  if (run === undefined) return [{ rule: 'an event has no run of a function that it matches', evidence: of }];
  if (wanted.or?.some((other) => hasBecome(run, other)) === true) return [];
  if (run.status !== wanted.status) {
    const evidence = `${of}: run ${run.id} is ${run.status}, not ${wanted.status} ${describeError(run)}`;
    return [{ rule: 'a run has ended otherwise than it should', evidence }];
  }
  if (wanted.skipReason !== undefined && !run.skipReason?.startsWith(wanted.skipReason)) {
    return [
      { rule: 'a run was skipped by another rule', evidence: `${of}: run ${run.id}, ${run.skipReason}` },
    ];
  }
  if (wanted.output !== undefined && !isDeepStrictEqual(run.output, wanted.output)) {
    const evidence = `${of}: run ${run.id} has ${shortened(run.output)}, not ${shortened(wanted.output)}`;
    return [{ rule: 'a run has another output than it should', evidence }];
  }
  return [];
}

function hasBecome(
  run: RunFact,
  { status, skipReason }: Pick<ExpectedRun, 'status' | 'skipReason'>,
): boolean {
  return run.status === status && run.skipReason === (skipReason ?? null);
}

function shortened(output: unknown): string {
  return JSON.stringify(output).slice(0, 200);
}

function describeError({ error }: RunFact): string {
  return error === null ? '' : `(${error.name}: ${error.message})`;
}

function keyOf({ data }: EventFact): string | undefined {
  const key = (data as { key?: unknown } | null)?.key;
  return typeof key === 'string' ? key : undefined;
}

function idsOf(items: readonly { id: string }[]): string {
  return items.map(({ id }) => id).join(', ');
}
