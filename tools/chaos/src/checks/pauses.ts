/** What an operator paused did not begin. Pure. */
import type { Facts, Violation } from '../facts.js';
import { firstBegun } from './begun.js';

/** A pass over the queue that had begun before may let go what came a moment after. */
const graceMs = 1_000;

/**
 * Of the runs of events that came while it was paused: one that came before may have been let go already and be on its way, for as long
 * as a fault keeps it there. That all of them begin afterwards is told by their ends.
 */
export function checkPaused({ operations, events, runs, ledger }: Facts): Violation[] {
  const begunMs = firstBegun(ledger);
  const receivedMs = new Map(events.map(({ id, receivedAtMs }) => [id, receivedAtMs]));
  const pauses = operations.filter(({ name }) => name === 'pause-function' || name === 'pause-environment');
  return pauses.flatMap(({ name, functionId: paused, fromMs, untilMs }) =>
    runs.flatMap(({ id, functionId, eventId }) => {
      if (paused !== undefined && paused !== functionId) return [];
      const cameMs = receivedMs.get(eventId) ?? 0;
      if (cameMs < fromMs + graceMs || (begunMs.get(id) ?? Infinity) >= untilMs) return [];
      const evidence = `${name} from ${fromMs} to ${untilMs}: ${functionId} run ${id} began at ${begunMs.get(id)}`;
      return [{ rule: 'a run began while it was paused', evidence }];
    }),
  );
}
