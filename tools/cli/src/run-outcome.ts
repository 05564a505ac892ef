/** Whether what a command waited for went well: scripts go by the exit code, and a run that failed is no success. */
import { isTerminal } from '@ironflow/schema';
import type { Run } from '@ironflow/sdk';
import { printFailure } from './output.js';
import { ReportedFailure } from './reported-failure.js';
import type { Terminal } from './terminal.js';

type RunOutcome = Pick<Run, 'id' | 'status'>;

/** Called when the result has been printed; `undefined` when the wait ran out before the runs were known. */
export function requireSuccess(
  terminal: Terminal,
  runs: readonly RunOutcome[] | undefined,
  json: boolean,
): void {
  const problems =
    runs === undefined ? ['the wait ran out before the runs were known'] : runs.flatMap(problemsOf);
  if (problems.length === 0) return;
  printFailure(terminal, new Error(problems.join('; ')), json);
  throw new ReportedFailure();
}

/** A skipped run is none that went wrong. */
function problemsOf({ id, status }: RunOutcome): string[] {
  if (status === 'failed') return [`run ${id} failed`];
  if (status === 'cancelled') return [`run ${id} was cancelled`];
  return isTerminal(status) ? [] : [`run ${id} has not ended: it is ${status}`];
}
