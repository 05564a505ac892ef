/** The body of an answer to emit-and-wait. Outputs are JSON text and go in as they are, never parsed on the way. */
import type { AwaitedRun } from './wait-state.js';

export function formatWaitAnswer(ids: readonly string[], runs: readonly AwaitedRun[]): string {
  return `{"ids":${JSON.stringify(ids)},"runs":[${runs.map(formatRun).join()}]}`;
}

function formatRun({ output, ...run }: AwaitedRun): string {
  const text = JSON.stringify({
    id: run.id,
    functionId: run.functionId,
    status: run.status,
    skipReason: run.skipReason,
    joinedRunId: run.joinedRunId,
    error: run.error,
  });
  return output === undefined ? text : `${text.slice(0, -1)},"output":${output}}`;
}
