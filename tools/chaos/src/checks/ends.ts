/** What must not change or remain: ends are final (I5), an event answers one wait of a run, nothing is left over. Pure. */
import { isTerminal } from '@ironflow/schema';
import type { RunStatus } from '@ironflow/schema';
import type { Facts, Violation } from '../facts.js';

export function checkEndsAreFinal({ endsHeard, runs }: Facts): Violation[] {
  const statuses = new Map(runs.map(({ id, status }) => [id, status]));
  return endsHeard.flatMap(({ runId, status }) => {
    const now = statuses.get(runId);
    if (now === status) return [];
    return [
      { rule: 'an end was not final', evidence: `run ${runId} was ${status} and is ${now ?? 'not there'}` },
    ];
  });
}

/** A rule that was shown nothing finds nothing. */
export function checkObserved({
  runs,
  ledger,
  stored,
  journal,
  endsHeard,
  wipedUntilMs,
}: Facts): Violation[] {
  const ended = runs.filter(({ status }) => status === 'completed');
  const isYoung = ended.some(({ createdAtMs }) => createdAtMs > wipedUntilMs);
  const sources = {
    'the ledger': ended.length === 0 || ledger.length > 0,
    'the times of stored results': ended.length === 0 || stored.size > 0,
    "nats-server's own times": !isYoung || journal.size > 0,
    'the ends that were heard': ended.length === 0 || endsHeard.length > 0,
  };
  return Object.entries(sources)
    .filter(([, isThere]) => !isThere)
    .map(([source]) => ({
      rule: 'nothing was observed',
      evidence: `${source}: empty, though runs completed`,
    }));
}

export function checkTerminal({ runs }: Facts): Violation[] {
  return runs
    .filter(({ status }) => !isTerminal(status as RunStatus))
    .map(({ id, functionId, status }) => ({
      rule: 'a run has not ended',
      evidence: `${functionId} run ${id} is ${status}`,
    }));
}

export function checkWaitsShareNoEvent({ steps }: Facts): Violation[] {
  const taken = new Map<string, string>();
  return steps.flatMap(({ runId, stepId, awaitedEventId }) => {
    if (awaitedEventId === null) return [];
    const key = `${runId} ${awaitedEventId}`;
    const other = taken.get(key);
    taken.set(key, stepId);
    if (other === undefined || other === stepId) return [];
    const evidence = `run ${runId}: ${other} and ${stepId} by event ${awaitedEventId}`;
    return [{ rule: 'an event resolved two waits of a run', evidence }];
  });
}

/** Each failed run leaves one letter, and nothing else leaves any. */
export function checkDeadLetters({ deadLetters, runs }: Facts): Violation[] {
  const failed = new Set(runs.filter(({ status }) => status === 'failed').map(({ id }) => id));
  const violations: Violation[] = [];
  for (const { reason, detail, runId } of deadLetters) {
    if (reason === 'run_failed' && runId !== null && failed.delete(runId)) continue;
    violations.push({
      rule: 'a dead letter that should not be',
      evidence: `${reason} of run ${runId}: ${detail}`,
    });
  }
  return [
    ...violations,
    ...[...failed].map((id) => ({ rule: 'a failed run left no dead letter', evidence: `run ${id}` })),
  ];
}

export function checkNothingLeft({ leftovers }: Facts): Violation[] {
  return leftovers.map(({ what, count, examples }) => ({
    rule: 'something is left over',
    evidence: `${count} ${what} ${examples.join(', ')}`.trim(),
  }));
}

export function checkDeaths({ deaths }: Facts): Violation[] {
  return deaths.map((evidence) => ({ rule: 'a process ended by itself', evidence }));
}
