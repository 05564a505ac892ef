/**
 * What becomes of messages that Postgres did not accept at once, by where their run stands. Pure.
 *
 * - Up to the run's position: Postgres has them, or has passed them by. Their notice may have been lost.
 * - Reached from the position: the next to apply, in stream order.
 * - Not reached though their `prev` is beyond the position: something before them is missing here and is in the stream.
 * - Not reached with the whole journal at hand: a branch, which no chain of Postgres will ever come to.
 *
 * Where the stream went back, positions are numbers of its former life and say nothing of which came first: then only the
 * chain counts, followed through the whole journal that the stream has of the run.
 */
import { isTerminal } from '@ironflow/schema';
import type { AcceptedRun } from '@ironflow/database';
import { follow, inStreamOrder } from './progress.js';
import type { PlacedMessage } from './progress.js';

export type Disposition = 'present' | 'branch' | 'after_end' | 'without_run';

export interface Settlement {
  settled: { placed: PlacedMessage; disposition: Disposition }[];
  /** To apply next; may hold messages that were read from the journal. */
  chain: PlacedMessage[];
  /** The journal after the position has to be read before more can be said. */
  needsJournal: boolean;
}

export interface KnownJournal {
  /** The run's journal after its position; all of it where the stream went back. */
  tail: readonly PlacedMessage[];
  wentBack?: boolean;
}

/** `journal`: once it was read. */
export function settle(
  run: AcceptedRun | undefined,
  messages: readonly PlacedMessage[],
  journal?: KnownJournal,
): Settlement {
  const settled: Settlement['settled'] = [];
  const settleAs = (placed: PlacedMessage, disposition: Disposition): void => {
    settled.push({ placed, disposition });
  };
  const open: PlacedMessage[] = [];
  for (const placed of messages) {
    if (run === undefined || run.scope.environmentId !== placed.message.environmentId) {
      settleAs(placed, 'without_run');
    } else if (journal?.wentBack === true && !isTerminal(run.status)) open.push(placed);
    else if (placed.sequence <= run.journalSeq) settleAs(placed, 'present');
    else if (isTerminal(run.status)) settleAs(placed, 'after_end');
    else open.push(placed);
  }
  if (run === undefined || open.length === 0) return { settled, chain: [], needsJournal: false };
  const known = inStreamOrder([...(journal?.tail ?? []), ...open]).filter(
    ({ message }) => message.environmentId === run.scope.environmentId,
  );
  if (journal?.wentBack === true) {
    const { chain } = follow(run.journalSeq, known);
    // With a chain to apply, the others are judged after it.
    if (chain.length === 0) for (const placed of open) settleAs(placed, 'present');
    return { settled, chain, needsJournal: false };
  }
  const { chain, aside } = follow(
    run.journalSeq,
    known.filter(({ sequence }) => sequence > run.journalSeq),
  );
  const head = chain.at(-1)?.sequence ?? run.journalSeq;
  const ours = new Set(open.map(({ sequence }) => sequence));
  let needsJournal = false;
  for (const placed of aside) {
    if (!ours.has(placed.sequence)) continue;
    // What stands after the chain's end is judged once the chain is applied: it may end the run.
    if (chain.length > 0 && placed.sequence > head) continue;
    if (journal === undefined && placed.message.prev > run.journalSeq) needsJournal = true;
    else settleAs(placed, 'branch');
  }
  return { settled, chain, needsJournal };
}
