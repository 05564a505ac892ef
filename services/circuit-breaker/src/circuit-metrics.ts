/** What the service counts. Endpoints and functions are no labels: there is no bound to them. */
import type { CircuitState } from '@ironflow/schema';
import type { Metrics, Observation } from '@ironflow/service';

type CountCircuits = (state: 'open' | 'half_open' | 'forced_open') => number;
type State = CircuitState['state'];

export interface CircuitMetrics {
  outcome(succeeded: boolean): void;
  unreadable(): void;
  transition(from: State, to: State): void;
  written(): void;
  conflict(): void;
  failedWrite(): void;
}

export function createCircuitMetrics(metrics: Metrics, count: CountCircuits): CircuitMetrics {
  const outcomes = metrics.counter(
    'circuit_outcomes_total',
    'Calls of functions that were counted, by outcome',
    ['outcome'],
  );
  const succeeded = outcomes.bind({ outcome: 'succeeded' });
  const failed = outcomes.bind({ outcome: 'failed' });
  const unreadable = outcomes.bind({ outcome: 'unreadable' });
  const transitions = metrics.counter(
    'circuit_transitions_total',
    'State changes that this replica wrote; executors make those from open to half_open',
    ['from', 'to'],
  );
  const writes = metrics.counter('circuit_writes_total', 'Writes of breakers to their bucket, by result', [
    'result',
  ]);
  const notClosed = (): Observation<'state'>[] => [
    { value: count('open'), labels: { state: 'open' } },
    { value: count('half_open'), labels: { state: 'half_open' } },
  ];
  metrics.gauge('circuits_not_closed', 'Circuit breakers that are not closed, by state', notClosed, [
    'state',
  ]);
  metrics.gauge('circuits_forced_open', 'Circuit breakers that operators hold open', () =>
    count('forced_open'),
  );
  return {
    outcome: (isSuccess) => (isSuccess ? succeeded : failed).add(),
    unreadable: () => unreadable.add(),
    transition: (from, to) => transitions.add(1, { from, to }),
    written: () => writes.add(1, { result: 'written' }),
    conflict: () => writes.add(1, { result: 'conflict' }),
    failedWrite: () => writes.add(1, { result: 'failed' }),
  };
}
