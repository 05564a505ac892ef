/**
 * What stops undoes what it has done: all that was registered, the last first and one at a time, recorded once; and what
 * completes undoes nothing. Pure.
 */
import { attemptKey, stepKey } from '@ironflow/bench';
import type { LedgerLine } from '@ironflow/bench';
import type { EventData } from '../case.js';
import { caseOfFunction } from '../cases.js';
import { cannotBeUndone } from '../cases/sagas.js';
import type { Saga } from '../cases/sagas.js';
import type { Facts, RunFact, StepFact, Violation } from '../facts.js';
import { groupBy } from './group-by.js';
import { roundingMs } from './rounding.js';

interface SagaRun {
  run: RunFact;
  input: Saga;
  lines: LedgerLine[];
  steps: StepFact[];
  /** Nothing that it stands on was lost. */
  isYoung: boolean;
  journal: Facts['journal'];
}

export function checkSagas(facts: Facts): Violation[] {
  const lines = groupBy(facts.ledger, ({ run }) => run);
  const steps = groupBy(facts.steps, ({ runId }) => runId);
  const events = new Map(facts.events.map((event) => [event.id, event]));
  return facts.runs
    .filter(({ functionId }) => caseOfFunction(functionId)?.kind.name === 'saga')
    .flatMap((run) => {
      const { input } = events.get(run.eventId)!.data as EventData<Saga>;
      const saga: SagaRun = {
        run,
        input,
        lines: lines.get(run.id) ?? [],
        steps: steps.get(run.id) ?? [],
        isYoung: run.createdAtMs > facts.wipedUntilMs,
        journal: facts.journal,
      };
      const all = run.status === 'completed' ? checkNothingUndone(saga) : checkUndone(saga);
      return all.map(({ rule, evidence }) => ({
        rule,
        evidence: `run ${run.id} (${run.status}): ${evidence}`,
      }));
    });
}

function checkNothingUndone({ lines, steps, run }: SagaRun): Violation[] {
  const undone = [
    ...lines.filter(({ step }) => step.startsWith('compensate(')).map(({ step }) => step),
    ...steps.filter(({ type, attempt }) => type === 'compensate' && attempt > 0).map(({ stepId }) => stepId),
    ...run.notCompensated,
  ];
  return [...new Set(undone)].map((evidence) => ({ rule: 'a run that completed undid something', evidence }));
}

function checkUndone(saga: SagaRun): Violation[] {
  const registered = saga.steps
    .filter(({ type, attempt }) => type === 'compensate' && attempt === 0)
    .map(({ stepId }) => stepId);
  return [
    ...registered.flatMap((id) => checkOne(saga, id)),
    ...checkAllRegistered(saga, new Set(registered)),
    ...checkOrder(saga),
    ...saga.run.notCompensated
      .filter((id) => !cannotBeUndone(id))
      .map((evidence) => ({ rule: 'what can be undone was given up', evidence })),
  ];
}

function checkOne({ run, lines, steps }: SagaRun, id: string): Violation[] {
  const ended = steps.filter(({ stepId, attempt }) => stepId === id && attempt > 0);
  const count = (status: string): number => ended.filter((step) => step.status === status).length;
  if (cannotBeUndone(id)) {
    const isTold = count('failed') === 1 && count('completed') === 0 && run.notCompensated.includes(id);
    return isTold ? [] : [{ rule: 'what could not be undone is not listed', evidence: id }];
  }
  const happened = lines.some(({ what, step }) => what === 'ended' && step === id);
  if (happened && count('completed') === 1 && count('failed') === 0) return [];
  const evidence = `${id} ${happened ? 'was' : 'was not'} undone, and is recorded ${count('completed')} times`;
  return [{ rule: 'what was registered is not undone, or not recorded once', evidence }];
}

/** What has happened is registered: with its result, or, where it is registered before, before it begins. */
function checkAllRegistered(saga: SagaRun, registered: ReadonlySet<string>): Violation[] {
  const { run, input, lines, steps, isYoung, journal } = saga;
  const rule = 'an effect has nothing that undoes it';
  const compensation = (step: string): string => `compensate(${step})`;
  const isEffect = (step: string): boolean => !step.startsWith('compensate(');
  const missing = steps
    .filter(({ type, status, stepId }) => type === 'run' && status === 'completed' && isEffect(stepId))
    .filter(({ stepId }) => !registered.has(compensation(stepId)))
    .map(({ stepId }) => ({ rule, evidence: stepId }));
  if (input.registers === 'after' || !isYoung) return missing;
  const early = lines
    .filter(({ what, step }) => what === 'begun' && isEffect(step))
    .filter(({ step, atMs }) => {
      const storedAtMs = journal.get(attemptKey(run.id, compensation(step), 0));
      return storedAtMs === undefined || storedAtMs > atMs + roundingMs;
    })
    .map(({ step, atMs }) => ({ rule, evidence: `${step} began at ${atMs}, before that was stored` }));
  return [...missing, ...early];
}

/** The index of an effect is at the end of its name. */
function checkOrder({ run, lines, isYoung, journal }: SagaRun): Violation[] {
  if (!isYoung) return [];
  const begun = new Map<string, number>();
  for (const { what, step, atMs } of lines) {
    if (what !== 'begun' || !step.startsWith('compensate(')) continue;
    begun.set(step, Math.min(atMs, begun.get(step) ?? atMs));
  }
  const indexOf = (id: string): number => Number(/ (\d+)\)$/.exec(id)![1]);
  const inOrder = [...begun.keys()].sort((a, b) => indexOf(b) - indexOf(a));
  return inOrder.slice(1).flatMap((id, index) => {
    const before = inOrder[index]!;
    const storedAtMs = journal.get(stepKey(run.id, before)) ?? Number.POSITIVE_INFINITY;
    if (begun.get(id)! + roundingMs >= storedAtMs) return [];
    const evidence = `${id} began at ${begun.get(id)}, ${before} was over at ${storedAtMs}`;
    return [{ rule: 'something was undone before what came after it', evidence }];
  });
}
